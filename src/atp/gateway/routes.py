"""Finding the operation of a path: compiled once from the contract, a walk over a tree of segments.

Paths are matched as sent, segment by segment, and decoded only then, so that `%2F` inside a segment is not
a separator. A parameter marked `x-atp-path-rest` takes all segments up to the literal that follows it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar
from urllib.parse import unquote

from atp.kernel.errors import Problem

T = TypeVar("T")
_UNSAFE = frozenset({"POST", "PUT", "PATCH", "DELETE"})


class RouteConflict(Exception):
    """Two operations of the contract answer at the same method and path; rename one of them."""


@dataclass(slots=True)
class _Node(Generic[T]):
    literals: dict[str, _Node[T]] = field(default_factory=dict)
    single: _Node[T] | None = None
    rest: _Node[T] | None = None
    tail_max: int = 0
    """Literal segments that may follow a rest parameter; bounds the search on a path of a thousand slashes."""
    methods: dict[str, tuple[T, tuple[str, ...]]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Found(Generic[T]):
    """The route of a request, and its path parameters, decoded but not yet checked."""

    route: T
    path_parameters: dict[str, str]


class Routes(Generic[T]):
    """All routes; built at start, then only read."""

    def __init__(self) -> None:
        self._root: _Node[T] = _Node()
        # Paths without parameters, which are most requests, need one look-up.
        self._exact: dict[tuple[str, str], Found[T]] = {}

    def add(self, method: str, template: str, route: T, *, rest: Iterable[str] = ()) -> None:
        """Add a route; `rest` names the parameters that may hold slashes."""
        names: list[str] = []
        many = frozenset(rest)
        node = self._root
        segments = template.strip("/").split("/")
        for place, segment in enumerate(segments):
            if segment.startswith("{"):
                name = segment.strip("{}")
                names.append(name)
                node = _below(node, rest=name in many)
                node.tail_max = max(node.tail_max, len(segments) - place - 1)
            else:
                node = node.literals.setdefault(segment, _Node())
        if method in node.methods:
            raise RouteConflict(f"{method} {template}")
        node.methods[method] = (route, tuple(names))
        if not names:
            self._exact[method, template] = Found(route, {})

    def find(self, method: str, path: str) -> Found[T]:
        """Return the route of a raw (still percent-encoded) path; NOT_FOUND or METHOD_NOT_ALLOWED with Allow."""
        exact = self._exact.get((method, path))
        if exact is not None:
            return exact
        nodes = list(_walk(self._root, path[1:].split("/"), 0, ()))
        for node, values in nodes:
            found = node.methods.get(method) or (node.methods.get("GET") if method == "HEAD" else None)
            if found is not None:
                route, names = found
                return Found(route, dict(zip(names, map(_decoded, values), strict=True)))
        if not nodes:
            raise Problem("NOT_FOUND")
        raise not_allowed({name for node, _ in nodes for name in node.methods})


def not_allowed(methods: set[str]) -> Problem:
    """Return the Problem that names the methods of a path; the gateway turns `allow` into the header."""
    allowed = sorted(methods | ({"HEAD"} if "GET" in methods else set()))
    return Problem("METHOD_NOT_ALLOWED", f"Allowed here: {', '.join(allowed)}.", extra={"allow": allowed})


def changes_something(method: str) -> bool:
    """Tell whether a method may change state (RFC 9110 section 9.2.1)."""
    return method in _UNSAFE


def _below(node: _Node[T], *, rest: bool) -> _Node[T]:
    if rest:
        if node.rest is None:
            node.rest = _Node()
        return node.rest
    if node.single is None:
        node.single = _Node()
    return node.single


def _walk(
    node: _Node[T], segments: list[str], at: int, values: tuple[str, ...]
) -> Iterable[tuple[_Node[T], tuple[str, ...]]]:
    # Literals first, then one segment, then many, shortest tail last: `…/{stream}/seal` before `…/{stream}`.
    if at == len(segments):
        if node.methods:
            yield node, values
        return
    literal = node.literals.get(segments[at])
    if literal is not None:
        yield from _walk(literal, segments, at + 1, values)
    if node.single is not None and segments[at]:
        yield from _walk(node.single, segments, at + 1, (*values, segments[at]))
    if node.rest is not None and segments[at]:
        for end in range(max(at + 1, len(segments) - node.rest.tail_max), len(segments) + 1):
            taken = "/".join(segments[at:end])
            yield from _walk(node.rest, segments, end, (*values, taken))


def _decoded(value: str) -> str:
    try:
        return unquote(value, errors="strict")
    except UnicodeDecodeError:
        raise Problem("INVALID_UTF8", "The path is not valid UTF-8.") from None
