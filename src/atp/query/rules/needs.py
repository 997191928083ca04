"""What must be true of a record for a search to hold: the part of a tree that an index can answer.

All of it errs on one side only: what is returned holds for every record that matches, and perhaps for others,
which `matching` then refuses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from atp.kernel import canonical
from atp.query.model import (
    All,
    Both,
    Compare,
    Either,
    Node,
    Not,
    Phrase,
    Some,
    Times,
    Value,
    WordNeed,
    Words,
)
from atp.query.rules.fields import KEYED, OPEN, SHAPE
from atp.query.rules.matching import comparable, same
from atp.query.rules.words import begins_in_word, ends_in_word, words

NEEDED_WORDS_MAX: Final = 64
"""Phrases that are looked up for one search; further ones are left to the check on the record."""


def needed_values(node: Node, path: tuple[str, ...]) -> frozenset[str] | None:
    """Return the texts of which the field must be one, or None where it may be anything."""
    if isinstance(node, Compare) and node.path == path and node.comparison in ("eq", "in"):
        return frozenset(value for operand in node.operands for value in operand if isinstance(value, str))
    if isinstance(node, All):
        sets = [found for part in node.parts if (found := needed_values(part, path)) is not None]
        return frozenset.intersection(*sets) if sets else None
    if isinstance(node, Some):
        all_sets = [needed_values(part, path) for part in node.parts]
        known = [found for found in all_sets if found is not None]
        return frozenset().union(*known) if len(known) == len(all_sets) else None
    return None


def needed_range(node: Node, path: tuple[str, ...]) -> Times:
    """Return the half-open range in which a whole number (a time, a position) at this path must lie."""
    if isinstance(node, All):
        parts = [needed_range(part, path) for part in node.parts]
        starts = [part.start for part in parts if part.start is not None]
        ends = [part.end for part in parts if part.end is not None]
        return Times(max(starts, default=None), min(ends, default=None))
    if isinstance(node, Compare) and node.path == path and node.comparison in _EDGES:
        limit = node.operands[0][-1]
        if isinstance(limit, int) and not isinstance(limit, bool):
            return _EDGES[node.comparison](limit)
    return Times()


_EDGES: Final[Mapping[str, Callable[[int], Times]]] = {
    "gt": lambda limit: Times(start=limit + 1),
    "gte": lambda limit: Times(start=limit),
    "lt": lambda limit: Times(end=limit),
    "lte": lambda limit: Times(end=limit + 1),
    "eq": lambda limit: Times(limit, limit + 1),
}


def shape_possible(node: Node) -> Callable[[Sequence[str | None]], bool] | None:
    """Return the test whether records of a shape can match; None where the shape does not matter."""
    verdict = _shape_verdict(node)
    return None if verdict is None else lambda shape: verdict(shape) is not False


_Verdict = Callable[[Sequence[str | None]], bool | None]


def _shape_verdict(node: Node) -> _Verdict | None:
    """Evaluate with three values on the fields of a shape; None means: not known from the shape."""
    if isinstance(node, Compare):
        return _shape_leaf(node) if node.path in SHAPE else None
    if isinstance(node, Not):
        inner = _shape_verdict(node.part)
        if inner is None:
            return None
        return lambda shape: None if (known := inner(shape)) is None else not known
    if isinstance(node, Words):
        return None
    parts = [_shape_verdict(part) for part in node.parts]
    known = [part for part in parts if part is not None]
    if not known and parts:
        return None
    complete, deciding = len(known) == len(parts), isinstance(node, Some)

    def combine(shape: Sequence[str | None]) -> bool | None:
        verdicts = [part(shape) for part in known]
        if deciding in verdicts:
            return deciding
        return (not deciding) if complete and None not in verdicts else None

    return combine


def _shape_leaf(leaf: Compare) -> _Verdict:
    column, comparison = SHAPE.index(leaf.path), leaf.comparison
    alternatives = [value for operand in leaf.operands for value in operand]
    text: Any = leaf.operands[0][0]
    limit = leaf.operands[0][-1]
    tests: Mapping[str, Callable[[str], bool]] = {
        "exists": lambda _: True,
        "eq": lambda value: any(same(value, wanted) for wanted in alternatives),
        "in": lambda value: any(same(value, wanted) for wanted in alternatives),
        "ne": lambda value: not any(same(value, wanted) for wanted in alternatives),
        "prefix": lambda value: value.startswith(str(text)),
        "contains": lambda value: str(text) in value,
        "gt": lambda value: comparable(value, limit) and value > limit,  # type: ignore[operator]
        "gte": lambda value: comparable(value, limit) and value >= limit,  # type: ignore[operator]
        "lt": lambda value: comparable(value, limit) and value < limit,  # type: ignore[operator]
        "lte": lambda value: comparable(value, limit) and value <= limit,  # type: ignore[operator]
    }
    test = tests[comparison]
    return lambda shape: (value := shape[column]) is not None and test(value)


def needed_words(node: Node) -> WordNeed | None:
    """Return the words that the record's text must have, or None where it may have any."""
    if isinstance(node, Words):
        return Phrase(node.words, node.prefix)
    if isinstance(node, Compare):
        return _leaf_words(node)
    if isinstance(node, Not):
        return None
    needs = [needed_words(part) for part in node.parts[:NEEDED_WORDS_MAX]]
    known = tuple(need for need in needs if need is not None)
    if isinstance(node, Some):
        return Either(known) if known and len(known) == len(node.parts) else None
    return _both(known)


def _leaf_words(leaf: Compare) -> WordNeed | None:
    if leaf.path[0] not in OPEN or leaf.path in SHAPE:
        return None
    if leaf.path in KEYED and leaf.comparison in ("eq", "in"):
        return None  # Answered by an index of its own.
    # The last name only: those above it mostly come with it, and each costs a walk through its records.
    names = [Phrase(found) for name in leaf.path[1:] if not name.isdecimal() and (found := words(name))][-1:]
    value = _value_words(leaf)
    return _both((*names, value) if value else tuple(names))


def _value_words(leaf: Compare) -> WordNeed | None:
    if leaf.comparison in ("eq", "in"):
        spellings = [text for operand in leaf.operands for value in operand for text in _spellings(value)]
        phrases = [words(text) for text in spellings]
        if len(phrases) > NEEDED_WORDS_MAX or not all(phrases):
            return None
        return Either(tuple(Phrase(phrase) for phrase in dict.fromkeys(phrases)))
    text = leaf.operands[0][0]
    if not isinstance(text, str):
        return None
    found = words(text)
    if leaf.comparison == "prefix" and found:
        return Phrase(found, prefix=ends_in_word(text))
    if leaf.comparison == "contains":
        whole = found[begins_in_word(text) : len(found) - ends_in_word(text)]
        return Phrase(whole) if whole else None
    return None


def _spellings(value: Value) -> tuple[str, ...]:
    """Return how canonical JSON may have written a value equal to this one."""
    if isinstance(value, bool):
        return ("true" if value else "false",)
    if isinstance(value, str):
        return (value,)
    found = {canonical.encode(value).decode()}
    if isinstance(value, float) and value.is_integer():
        found.add(str(int(value)))
    elif isinstance(value, int) and abs(value) < 1 << 1000:
        found.add(canonical.encode(float(value)).decode())
    return tuple(found)


def _both(parts: tuple[WordNeed, ...]) -> WordNeed | None:
    unique = tuple(dict.fromkeys(parts))
    return None if not unique else unique[0] if len(unique) == 1 else Both(unique)
