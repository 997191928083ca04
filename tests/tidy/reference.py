"""Reference pages made from what the program reads itself; `make docs` writes them, a check compares them.

docs/errors.md comes from contracts/errors.yaml, docs/settings.md from atp.engine.settings.
"""

from typing import Any

import yaml

from tests.tidy.source import ROOT

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
        "Every answer that is not a success is RFC 9457 problem details, with the same facts under `error`. Decide by",
        "`code`; the status only sorts, and the message is for people.",
        "",
        "| Code | Status | Again? | What it means, and what to do |",
        "|---|--:|---|---|",
    ]
    for code, entry in error_catalogue().items():
        again = "yes" if entry["retryable"] else "no"
        advice = " ".join(str(entry["description"]).split()).replace("|", "\\|")
        lines.append(f"| `{code}` | {entry['status']} | {again} | **{entry['title']}.** {advice} |")
    return "\n".join(lines) + "\n"


def settings_page() -> str:
    """Every setting with its default and meaning, as the settings say of themselves."""
    from atp.engine.settings import reference

    return reference().rstrip() + "\n"


def main() -> None:
    """Write both pages."""
    ERRORS_PAGE.write_text(errors_page())
    SETTINGS_PAGE.write_text(settings_page())


if __name__ == "__main__":
    main()
