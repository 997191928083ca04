"""What a search means: the tree evaluated on one record. Whatever an index proposes is checked here.

A field may hold several values: members of arrays count each, and a dot may be part of a member's name.
Sealed values equal nothing and contain nothing; they are only present.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from atp.kernel.clock import parse_rfc3339
from atp.query.model import All, Compare, Node, Not, Operand, Some, Value, Words
from atp.query.rules.fields import TIMES, is_pseudonymous
from atp.query.rules.words import holds, text_of


class Document:
    """A record as a search sees it: its members with sealed values sealed, and its words, made when asked for."""

    __slots__ = ("_content", "_text", "members")

    def __init__(self, members: Mapping[str, Any], content: bytes) -> None:
        self.members = members
        self._content = content
        self._text: str | None = None

    @property
    def text(self) -> str:
        """The folded words."""
        if self._text is None:
            self._text = text_of(self._content)
        return self._text


Matcher = Callable[[Document], bool]
Pseudonym = Callable[[str], str]
"""Returns the tenant's stand-in of an identifier."""

_ORDERED: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "gt": lambda have, want: bool(have > want),
    "gte": lambda have, want: bool(have >= want),
    "lt": lambda have, want: bool(have < want),
    "lte": lambda have, want: bool(have <= want),
}


def resolved(node: Node, pseudonym: Pseudonym) -> Node:
    """Return the tree in which identifiers are looked for as they are and as their pseudonyms."""
    if isinstance(node, All):
        return All(tuple(resolved(part, pseudonym) for part in node.parts))
    if isinstance(node, Some):
        return Some(tuple(resolved(part, pseudonym) for part in node.parts))
    if isinstance(node, Not):
        return Not(resolved(node.part, pseudonym))
    if isinstance(node, Compare) and node.comparison in ("eq", "ne", "in") and is_pseudonymous(node.path):
        operands = tuple(_with_pseudonym(operand, pseudonym) for operand in node.operands)
        return Compare(node.path, node.comparison, operands)
    return node


def _with_pseudonym(operand: Operand, pseudonym: Pseudonym) -> Operand:
    text = operand[0]
    return (*operand, pseudonym(text)) if isinstance(text, str) else operand


def matcher(node: Node) -> Matcher:
    """Return the function that decides whether a record is found."""
    if isinstance(node, Words):
        wanted, prefix = node.words, node.prefix
        return lambda document: holds(document.text, wanted, prefix=prefix)
    if isinstance(node, Compare):
        return _comparer(node)
    if isinstance(node, Not):
        inner = matcher(node.part)
        return lambda document: not inner(document)
    parts = tuple(matcher(part) for part in node.parts)
    if isinstance(node, All):
        return lambda document: all(part(document) for part in parts)
    return lambda document: any(part(document) for part in parts)


def _comparer(leaf: Compare) -> Matcher:
    path, test = leaf.path, _test(leaf)
    if leaf.comparison == "ne":

        def differs(document: Document) -> bool:
            found = list(values_at(document.members, path))
            return bool(found) and not any(test(value) for value in found)

        return differs
    if path[0] in TIMES:
        return lambda document: any(test(parse_rfc3339(value)) for value in values_at(document.members, path))
    return lambda document: any(test(value) for value in values_at(document.members, path))


def _test(leaf: Compare) -> Callable[[Any], bool]:
    comparison, operands = leaf.comparison, leaf.operands
    if comparison == "exists":
        return lambda _: True
    if comparison in ("eq", "ne", "in"):
        alternatives = [value for operand in operands for value in operand]
        return lambda value: any(same(value, wanted) for wanted in alternatives)
    text = operands[0][0]
    if comparison == "prefix":
        return lambda value: isinstance(value, str) and value.startswith(str(text))
    if comparison == "contains":
        return lambda value: isinstance(value, str) and str(text) in value
    ordered, limit = _ORDERED[comparison], operands[0][-1]  # A number, where the text is one.
    return lambda value: comparable(value, limit) and ordered(value, limit)


def same(value: Any, wanted: Value) -> bool:
    """Tell whether two values are equal as JSON: true is not 1, and 1.0 is 1."""
    if isinstance(value, bool) or isinstance(wanted, bool):
        return value is wanted
    return type(value) in (str, int, float) and bool(value == wanted)


def comparable(value: Any, limit: Value) -> bool:
    """Tell whether two values have an order: numbers with numbers, texts with texts."""
    if isinstance(value, bool) or isinstance(limit, bool):
        return False
    if isinstance(limit, str):
        return isinstance(value, str)
    return isinstance(value, int | float)


def values_at(node: Any, path: tuple[str, ...]) -> Iterator[Any]:
    """Yield every value at a path; arrays stand for each of their members, or for the one a number names."""
    if not path:
        yield from _flat(node)
    elif isinstance(node, Mapping):
        for length in range(1, len(path) + 1):
            name = ".".join(path[:length])
            if name in node:
                yield from values_at(node[name], path[length:])
    elif isinstance(node, list):
        if path[0].isdecimal() and path[0].isascii() and int(path[0]) < len(node):
            yield from values_at(node[int(path[0])], path[1:])
        for member in node:
            if isinstance(member, Mapping | list):
                yield from values_at(member, path)


def _flat(node: Any) -> Iterator[Any]:
    if isinstance(node, list):
        yield node
        for member in node:
            yield from _flat(member)
    else:
        yield node
