"""The source as the tidy checks see it: which files there are, parsed once, and what they import.

Only text is read; nothing of the program is imported here, so a check still speaks when the program is broken.
"""

import ast
import functools
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
SRC = ROOT / "src"

# The contexts of docs/architecture.md; everything else under src/atp is ground, edge or composition.
CONTEXTS = (
    "admin",
    "classification",
    "connectors",
    "exports",
    "imports",
    "ingestion",
    "integrity",
    "messaging",
    "policy",
    "projections",
    "query",
    "registry",
    "retention",
    "streams",
    "tenants",
    "webhooks",
)
ROLES = ("model", "rules", "events", "store", "queries", "commands", "handlers", "jobs", "api", "cli")


@dataclass(frozen=True)
class Module:
    """One Python file: where it lies, what it is called, what it says."""

    path: Path
    name: str
    text: str
    tree: ast.Module

    @property
    def place(self) -> str:
        """The path as a reader of a failure wants it."""
        return str(self.path.relative_to(ROOT))

    @property
    def context(self) -> str | None:
        """`atp.streams`, `atp.families.siem`, or None for what belongs to no context."""
        parts = self.name.split(".")
        if len(parts) > 1 and parts[1] in CONTEXTS:
            return ".".join(parts[:2])
        if len(parts) > 2 and parts[1] == "families":
            return ".".join(parts[:3])
        return None

    @property
    def role(self) -> str | None:
        """`store` for atp.streams.store and atp.streams.store.heads; None outside a context."""
        rest = self.name.removeprefix(self.context or "").split(".") if self.context else []
        return rest[1] if len(rest) > 1 else None


def _parse(path: Path) -> Module:
    inside = path.relative_to(SRC if path.is_relative_to(SRC) else ROOT).with_suffix("")
    parts = [part for part in inside.parts if part != "__init__"]
    text = path.read_text(encoding="utf-8")
    return Module(path=path, name=".".join(parts), text=text, tree=ast.parse(text, str(path)))


@functools.cache
def committed() -> tuple[Path, ...]:
    """Files git knows or would take in, as they stand in the checkout."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
    ).stdout.decode()
    return tuple(path for name in listed.split("\0") if name and (path := ROOT / name).is_file())


@functools.cache
def modules(*tops: str) -> tuple[Module, ...]:
    """Every Python file below the named directories, data samples and generated code apart."""
    return tuple(
        _parse(path)
        for path in committed()
        if path.suffix == ".py"
        and path.relative_to(ROOT).parts[0] in tops
        and "generated" not in path.parts
        and "_contracts" not in path.parts
    )


def program() -> tuple[Module, ...]:
    """The modules of the program itself."""
    return modules("src")


def imports(module: Module) -> Iterator[tuple[str, int]]:
    """Every dotted name a module imports, `from a import b` as `a.b`, with its line."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def functions(module: Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function and method of a module, nested ones too."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def strings(module: Module) -> Iterator[tuple[str, int]]:
    """Every string of a module with its line, docstrings included, pieces of f-strings not.

    A hole of an f-string that names a string of the module is filled with it, others are written `{…}`; a
    string that fills such a hole is a piece, and is not given by itself.
    """
    named = _named_strings(module)
    joined = [node for node in ast.walk(module.tree) if isinstance(node, ast.JoinedStr)]
    inner = {id(part) for node in joined for part in ast.walk(node) if part is not node}
    pieces = {
        id(named[hole.value.id])
        for node in joined
        for hole in node.values
        if isinstance(hole, ast.FormattedValue)
        and isinstance(hole.value, ast.Name)
        and hole.value.id in named
    }
    for node in ast.walk(module.tree):
        whole = id(node) not in inner and id(node) not in pieces
        if (
            whole
            and isinstance(node, ast.JoinedStr | ast.Constant)
            and (text := _filled(node, named)) is not None
        ):
            yield text, node.lineno


def _named_strings(module: Module) -> dict[str, ast.expr]:
    """The module's own constants that are strings or f-strings, by name."""
    return {
        target.id: node.value
        for node in module.tree.body
        if isinstance(node, ast.Assign | ast.AnnAssign)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name) and isinstance(node.value, ast.Constant | ast.JoinedStr)
    }


def _filled(node: ast.expr, named: dict[str, ast.expr]) -> str | None:
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.JoinedStr):
        return "".join(_filled(part, named) or "" for part in node.values)
    if isinstance(node, ast.FormattedValue) and isinstance(node.value, ast.Name) and node.value.id in named:
        return _filled(named[node.value.id], named)
    return "{…}"
