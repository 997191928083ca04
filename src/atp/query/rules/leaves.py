"""Leaves of a search and the structured form: what the JSON `query` and the plain filters mean as a tree.

Pure: the language's terms, the body's objects and the list's parameters all become the same nodes, and nothing
of them ever becomes SQL.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from atp.kernel.clock import parse_rfc3339
from atp.query.model import (
    ALTERNATIVES_MAX,
    DEPTH_MAX,
    LEAVES_MAX,
    All,
    Compare,
    Node,
    Not,
    Operand,
    Some,
    Value,
    Words,
)
from atp.query.rules.fields import TIMES, invalid, path_of
from atp.query.rules.words import words

_FILTERS: Final = {
    "actor": ("actor", "id"),
    "actorType": ("actor", "type"),
    "category": ("action", "category"),
    "resourceType": ("resource", "type"),
    "resourceId": ("resource", "id"),
    "outcome": ("outcome",),
    "classification": ("classification", "level"),
    "stream": ("stream",),
    "kind": ("kind",),
    "traceId": ("correlation", "traceId"),
    "requestId": ("correlation", "requestId"),
}
_COMPARISONS: Final = ("eq", "ne", "in", "gt", "gte", "lt", "lte", "prefix", "contains", "exists")


def from_filters(parameters: Mapping[str, Any]) -> list[Node]:
    """Return a leaf for each plain filter that is given; times of recording are not among them."""
    leaves: list[Node] = [
        Compare(path, "eq", ((parameters[name],),))
        for name, path in _FILTERS.items()
        if parameters.get(name) is not None
    ]
    if (action := parameters.get("action")) is not None:
        if action.endswith("*"):
            leaves.append(Compare(("action", "name"), "prefix", ((action[:-1],),)))
        else:
            leaves.append(Compare(("action", "name"), "eq", ((action,),)))
    for name, comparison in (("occurredSince", "gte"), ("occurredUntil", "lt")):
        if (time := parameters.get(name)) is not None:
            leaves.append(
                Compare(("occurredAt",), comparison, (time_operand((time,), at=name),))  # type: ignore[arg-type]
            )
    return leaves


def from_json(query: Any) -> Node:
    """Return the tree of a structured query; QUERY_INVALID names the place in it."""
    return _Reader().node(query, "query", 0)


class _Reader:
    """Walks a structured query; counts its leaves."""

    def __init__(self) -> None:
        self._leaves = 0

    def node(self, query: Any, at: str, depth: int) -> Node:
        if depth > DEPTH_MAX:
            raise invalid(f"more than {DEPTH_MAX} levels", at)
        if not isinstance(query, dict):
            raise invalid("a query is an object", at)
        for name in ("and", "or", "not"):
            if name in query and len(query) == 1 and isinstance(query[name], list):
                parts = tuple(
                    self.node(part, f"{at}.{name}[{index}]", depth + 1)
                    for index, part in enumerate(query[name])
                )
                return All(parts) if name == "and" else Some(parts) if name == "or" else Not(Some(parts))
        self._leaves += 1
        if self._leaves > LEAVES_MAX:
            raise invalid(f"more than {LEAVES_MAX} comparisons", at)
        if isinstance(query.get("text"), str) and len(query) == 1:
            return All(tuple(text_leaf(word, at=at) for word in query["text"].split()))
        return _comparison(query, at)


def _comparison(query: Mapping[str, Any], at: str) -> Node:
    name = next((name for name in _COMPARISONS if name in query), None)
    if name is None or len(query) != 2 or not isinstance(query.get("field"), str):
        raise invalid("expected and, or, not, text, or a field and one comparison", at)
    path, value = path_of(query["field"], at=at), query[name]
    if name == "exists":
        if not isinstance(value, bool):
            raise invalid("exists is true or false", at)
        return exists(path) if value else Not(exists(path))
    values = value if name == "in" and isinstance(value, list) else [value]
    if not 1 <= len(values) <= ALTERNATIVES_MAX:
        raise invalid(f"one to {ALTERNATIVES_MAX} values", at)
    operands = tuple(_operand(path, one, at) for one in values)
    if name in ("prefix", "contains") and not isinstance(value, str):
        raise invalid(f"{name} takes a text", at)
    return Compare(path, name, operands)  # type: ignore[arg-type]


def _operand(path: tuple[str, ...], value: Any, at: str) -> Operand:
    if not isinstance(value, str | bool | int | float) or (
        isinstance(value, float) and not math.isfinite(value)
    ):
        raise invalid("a value is a text, a number or a boolean", at)
    return time_operand((value,), at=at) if path[0] in TIMES else (value,)


def exists(path: tuple[str, ...]) -> Compare:
    """Return the leaf that a field is present."""
    return Compare(path, "exists", ((True,),))


def time_operand(value: Operand, *, at: str) -> Operand:
    """Return a time written as text in microseconds; a date alone is its beginning in UTC."""
    text: Value = value[0]
    if not isinstance(text, str):
        raise invalid("a time is an RFC 3339 text", at)
    try:
        return (parse_rfc3339(text if len(text) > 10 else f"{text}T00:00:00Z"),)
    except ValueError:
        raise invalid("a time is RFC 3339, such as 2026-11-21T10:00:00Z", at) from None


def text_leaf(text: str, *, prefix: bool = False, at: str) -> Node:
    """Return the leaf that these words stand side by side in the record's text."""
    found = words(text)
    if not found:
        raise invalid(f"{text[:64]!r} holds no letter and no digit to look for", at)
    return Words(found, prefix)
