"""Nothing is left half done: no stubs, no reminders, no dead files, no tests that look away."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterable
from typing import Any

from tests.tidy.source import ROOT, functions, imports, modules, program, strings

REMINDER = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b")


def test_nothing_is_left_for_later() -> None:
    """What is not done is an issue, not a comment; a stub that raises is a promise broken at run time."""
    bad = []
    for module in modules("src", "tests", "benchmarks", "sdks", "examples"):
        lines = enumerate(module.text.splitlines(), 1)
        bad += [f"{module.place}:{n} {line.strip()}" for n, line in lines if REMINDER.search(line)]
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Name) and node.id == "NotImplemented" + "Error":
                bad.append(f"{module.place}:{node.lineno} {node.id}")
    assert not bad, "\n".join(bad)


def test_every_module_is_reached_from_the_program() -> None:
    """A file that nobody imports is a file that nobody keeps right. Lazily loaded ones are named in a string."""
    everything = program()
    entry_points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"].values()
    reached = {name.split(":")[0] for name in entry_points}
    for module in everything:
        for name, _ in imports(module):
            reached |= {name, name.rpartition(".")[0]}
        reached |= {
            text.replace(":", ".").rpartition(".")[0]
            for text, _ in strings(module)
            if text.startswith("atp.")
        }
        reached |= {text for text, _ in strings(module) if text.startswith("atp.")}
    dead = [
        module.place
        for module in everything
        if module.name not in reached
        and module.path.name not in {"__init__.py", "__main__.py"}
        and "static" not in module.path.parts
    ]
    assert not dead, "\n".join(dead)


# The module is not always called as the distribution is.
IMPORT_NAMES = {
    "opentelemetry_api": "opentelemetry",
    "pyyaml": "yaml",
}
# uvicorn finds these by itself.
IMPLIED = {"httptools", "uvloop"}


def _import_names(requirements: Iterable[str]) -> set[str]:
    names = (re.split(r"[\[>=;~< ]", entry)[0].replace("-", "_") for entry in requirements)
    return {IMPORT_NAMES.get(name, name) for name in names}


def _pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def _imported(*tops: str) -> set[str]:
    return {name.split(".")[0] for module in modules(*tops) for name, _ in imports(module)}


def test_every_runtime_dependency_is_used() -> None:
    """A dependency nobody imports is attack surface for nothing."""
    declared = _import_names(_pyproject()["project"]["dependencies"])
    unused = sorted(declared - IMPLIED - _imported("src"))
    assert not unused, f"not imported anywhere under src: {', '.join(unused)}"


def test_every_import_is_a_declared_dependency() -> None:
    """What is only there because something else brought it along is gone the day that changes its mind."""
    runtime = _import_names(_pyproject()["project"]["dependencies"])
    undeclared = _imported("src") - runtime - sys.stdlib_module_names - {"atp"}
    assert not undeclared, f"imported under src, not in pyproject.toml: {', '.join(sorted(undeclared))}"

    dev = _import_names(entry for entry in _pyproject()["dependency-groups"]["dev"] if isinstance(entry, str))
    ours = {"atp", "tests", "benchmarks"}
    undeclared = _imported("tests", "benchmarks") - runtime - dev - sys.stdlib_module_names - ours
    assert not undeclared, f"imported by tests, not in the dev group: {', '.join(sorted(undeclared))}"


def test_a_test_that_does_not_run_says_so() -> None:
    """A skipped test is a promise nobody checks: only a missing toolchain excuses it, and it is named so.

    The reason begins with "Not run:", so that a reader of the report sees what was not shown. Expected
    failures and stand-ins for the real part are refused altogether.
    """
    bad = []
    for module in modules("tests"):
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Call):
                called = ast.unparse(node.func)
                if called in {"pytest.skip", "pytest.mark.skipif", "pytest.mark.skip"}:
                    reasons = [
                        a for a in ast.walk(node) if isinstance(a, ast.Constant) and isinstance(a.value, str)
                    ]
                    if not any(str(reason.value).startswith("Not run:") for reason in reasons):
                        bad.append(f"{module.place}:{node.lineno} {called} without “Not run: …”")
            elif isinstance(node, ast.Attribute) and ast.unparse(node) in {
                "pytest.mark.xfail",
                "pytest.xfail",
            }:
                bad.append(f"{module.place}:{node.lineno} expected failure")
        bad += [
            f"{module.place}:{line} mock"
            for name, line in imports(module)
            if name.startswith("unittest.mock")
        ]
    assert not bad, "\n".join(bad)


def test_tests_wait_for_things_and_not_for_time() -> None:
    """A sleep is too short on a loaded machine and too long on every other.

    Polling until something holds is fine, in a function that says so by its name: wait…, poll… or eventually….
    """
    bad = []
    for module in modules("tests"):
        waiting = [f for f in functions(module) if re.match(r"_?(wait|poll|eventually|until)", f.name)]
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {"time.sleep", "asyncio.sleep"}:
                inside = any(f.lineno <= node.lineno <= (f.end_lineno or 0) for f in waiting)
                yields = (
                    bool(node.args) and isinstance(node.args[0], ast.Constant) and node.args[0].value == 0
                )
                if not inside and not yields:
                    bad.append(f"{module.place}:{node.lineno} {ast.unparse(node)}")
    assert not bad, "\n".join(bad)
