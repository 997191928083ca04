"""What the program can answer and what it can be told stands in the documentation, all of it and nothing else."""

import ast
import re

from atp.engine.settings import names
from tests.tidy import reference
from tests.tidy.source import modules, program


def test_every_error_code_is_documented() -> None:
    """docs/errors.md is what contracts/errors.yaml says; `make docs` renews it."""
    assert reference.ERRORS_PAGE.read_text() == reference.errors_page()


def test_every_setting_is_documented() -> None:
    """docs/settings.md is what the settings say of themselves, each with a meaning; `make docs` renews it."""
    page = reference.SETTINGS_PAGE.read_text()
    assert page == reference.settings_page()
    silent = [
        name for name in names() if not re.search(rf"^\| `{name}` \|.*\| \w[^|]+ \|$", page, re.MULTILINE)
    ]
    assert not silent, f"without a meaning: {', '.join(silent)}"


def test_every_code_raised_is_catalogued() -> None:
    """A code outside the catalogue has no status and no advice: its caller gets a bug instead of a refusal."""
    catalogue = reference.error_catalogue()
    bad = []
    for module in program():
        for node in ast.walk(module.tree):
            if (
                isinstance(node, ast.Call)
                and ast.unparse(node.func).split(".")[-1] == "Problem"
                and node.args
            ):
                code = node.args[0]
                if isinstance(code, ast.Constant) and code.value not in catalogue:
                    bad.append(f"{module.place}:{node.lineno} {code.value}")
    assert not bad, "\n".join(bad)


def test_every_catalogued_code_can_happen() -> None:
    """A code that nothing raises is a promise to callers who write code for it."""
    written = {
        node.value
        for module in modules("src")
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    idle = [code for code in reference.error_catalogue() if code not in written]
    assert not idle, f"catalogued but never raised: {', '.join(idle)}"
