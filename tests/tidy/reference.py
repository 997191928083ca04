"""Reference pages made from what the program reads itself; `make docs` writes them, a check compares them.

docs/errors.md comes from contracts/errors.yaml, docs/settings.md from the fields of atp.engine.settings.Settings.
"""

import ast
import itertools
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import msgspec
import yaml

from tests.tidy.source import ROOT, program

ERRORS_PAGE = ROOT / "docs" / "errors.md"
SETTINGS_PAGE = ROOT / "docs" / "settings.md"
MADE = "Made by `make docs`; do not edit.\n"


def error_catalogue() -> dict[str, dict[str, Any]]:
    """Code to its entry in the catalogue."""
    catalogue = yaml.safe_load((ROOT / "contracts" / "errors.yaml").read_text())
    errors: dict[str, dict[str, Any]] = catalogue["errors"]
    return errors


def errors_page() -> str:
    """Every code with status, advice and whether repeating helps, in the order of the catalogue."""
    lines = [
        "# Errors",
        "",
        MADE,
        "Every answer that is not a success has this body, which is RFC 9457 problem details with the same facts",
        "under `error`. Decide by `code`; the status only sorts, and the message is for people.",
        "",
        "| Code | Status | Again? | What it means, and what to do |",
        "|---|--:|---|---|",
    ]
    for code, entry in error_catalogue().items():
        again = "yes" if entry["retryable"] else "no"
        advice = " ".join(str(entry["description"]).split()).replace("|", "\\|")
        lines.append(f"| `{code}` | {entry['status']} | {again} | **{entry['title']}.** {advice} |")
    return "\n".join(lines) + "\n"


def setting_fields() -> list[tuple[str, str, str, str]]:
    """Name in the environment, type, default and description of each setting."""
    from atp.engine.settings import Settings

    sentences = _sentences_under_fields("atp.engine.settings", "Settings")
    hints = get_type_hints(Settings, include_extras=True)
    rows = []
    for field in msgspec.structs.fields(Settings):
        hint = hints[field.name]
        notes = (
            [a for a in get_args(hint)[1:] if isinstance(a, msgspec.Meta)]
            if get_origin(hint) is Annotated
            else []
        )
        plain = get_args(hint)[0] if notes else hint
        default = "required" if field.required else _shown(field.default)
        if field.default is msgspec.NODEFAULT and field.default_factory is not msgspec.NODEFAULT:
            default = _shown(field.default_factory())
        described = [note.description for note in notes if note.description] or [
            sentences.get(field.name, "")
        ]
        description = " ".join(" ".join(described).split()).replace("|", "\\|")
        rows.append((f"ATP_{field.name.upper()}", _type_name(plain), default, description))
    return rows


def _sentences_under_fields(module_name: str, class_name: str) -> dict[str, str]:
    """The string written under each field of a class, as an attribute's docstring."""
    (module,) = (module for module in program() if module.name == module_name)
    (found,) = (n for n in ast.walk(module.tree) if isinstance(n, ast.ClassDef) and n.name == class_name)
    sentences = {}
    for field, below in itertools.pairwise(found.body):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(below, ast.Expr)
        ):
            text = ast.literal_eval(below.value) if isinstance(below.value, ast.Constant) else ""
            sentences[field.target.id] = str(text)
    return sentences


def settings_page() -> str:
    """Every setting with type, default and what it does, in the order of the struct."""
    lines = [
        "# Settings",
        "",
        MADE,
        "Settings are read once, at start, from the environment; an unknown `ATP_` name stops the start with the",
        "nearest name that exists. What is in force is printed at start, secrets blacked out.",
        "",
        "| Name | Type | Default | What it does |",
        "|---|---|---|---|",
    ]
    lines += [f"| `{name}` | {kind} | {default} | {text} |" for name, kind, default, text in setting_fields()]
    return "\n".join(lines) + "\n"


def _type_name(hint: object) -> str:
    return (hint.__name__ if isinstance(hint, type) else str(hint)).replace("typing.", "").replace("|", "or")


def _shown(value: object) -> str:
    if value is None or value in ("", (), frozenset()):
        return "none"
    return f"`{msgspec.json.encode(value).decode()}`" if not isinstance(value, str | Path) else f"`{value}`"


def main() -> None:
    """Write both pages."""
    ERRORS_PAGE.write_text(errors_page())
    SETTINGS_PAGE.write_text(settings_page())


if __name__ == "__main__":
    main()
