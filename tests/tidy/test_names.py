"""What things may be called, and what every module has to say about itself."""

import ast
import re

from tests.tidy.source import ROLES, modules, program

# Words that say nothing about what a thing is: a file of that name takes in everything and owns nothing.
BANNED_WORDS = {
    "base",
    "common",
    "data",
    "helper",
    "helpers",
    "impl",
    "info",
    "manager",
    "misc",
    "processor",
    "util",
    "utils",
}
BANNED_CLASS = re.compile(r"(Service|UseCase|DTO|Dto)$|^I(?!Pv)[A-Z][a-z]")


def _words(name: str) -> set[str]:
    return {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)}


def test_a_context_holds_only_the_files_every_context_holds() -> None:
    """Who knows one context knows all: the same ten names, each with one meaning, and no `service.py`."""
    strangers = [
        f"{module.place}: not one of {', '.join(ROLES)} (a file or a package of that name)"
        for module in program()
        if module.context and module.name != module.context and module.role not in ROLES
    ]
    assert not strangers, "\n".join(strangers)


def test_no_file_has_a_name_that_means_nothing() -> None:
    """`utils` and its kin grow without end, because everything fits in."""
    bad = [
        f"{module.place}: {', '.join(found)}"
        for module in modules("src", "tests", "benchmarks")
        if (found := {word for part in module.name.split(".") for word in _words(part)} & BANNED_WORDS)
    ]
    assert not bad, "\n".join(bad)


def test_no_class_has_a_name_that_means_nothing() -> None:
    """A class is named for the thing it is, not for the pattern it follows."""
    bad = [
        f"{module.place}:{node.lineno} {node.name}"
        for module in program()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ClassDef)
        and (_words(node.name) & BANNED_WORDS or BANNED_CLASS.search(node.name))
    ]
    assert not bad, "\n".join(bad)


def test_every_module_says_what_it_owns() -> None:
    """Two to six lines at the top: what it owns, what flows in, what flows out, in sentences.

    The `__init__` of a package may do with one line.
    """
    bad = []
    for module in program():
        docstring = ast.get_docstring(module.tree)
        lines = len(docstring.splitlines()) if docstring else 0
        least = 1 if module.path.name == "__init__.py" else 2
        if not docstring:
            bad.append(f"{module.place}: no docstring")
        elif not least <= lines <= 6 and module.path.name != "verify.py":
            bad.append(f"{module.place}: docstring of {lines} lines, wanted {least} to 6")
        elif docstring.rstrip()[-1] not in ".:`)":
            bad.append(f"{module.place}: docstring does not end as a sentence")
    assert not bad, "\n".join(bad)
