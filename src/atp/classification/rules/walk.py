"""One walk over an event: its strings for the automaton, what its field names say, and its facts.

The walk keeps only texts. Where a text stands is worked out for the few that a detector fires in, by a
second look at the one member of the event that holds it. An object whose keys are all known to be plain
costs one set comparison; one that holds nothing but strings is taken in one step.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Container, Iterable
from itertools import islice
from typing import Any

import msgspec

from atp.classification.model import Confidence
from atp.classification.rules.field_names import KNOWN_NAMES, PLAIN, PLAIN_NAMES, FieldRule, key_facts
from atp.classification.rules.pointers import escape

# Smaller numbers than this are never payment cards; most numbers in logs are smaller.
BIG_INTEGER_MIN = 10**12
# Containers below this depth are not entered: the event is refused anyway (the wire allows 32).
DEPTH_MAX = 64

_all_strings = frozenset({str}).issuperset
_all_plain = PLAIN_NAMES.issuperset


class Walk(msgspec.Struct, gc=False):
    """The outcome of one walk; belongs to the thread that made it and is dropped after one classification.

    `texts` are the strings in document order after an empty one, `starts` the number of the first text of
    each member of the event, `fields` the places (pointer, type, confidence, rule) whose field name and value
    agree, `keyed` the objects that have somebody's data for a key. Strings at `places`
    (pointers) that a telling name announces are somebody else's business; an empty text stands for them, as
    for those whose name and value already settled what they are.
    """

    event: dict[str, Any]
    places: frozenset[str]
    texts: list[str]
    starts: list[int]
    fields: list[tuple[str, str, Confidence, str]]
    keyed: list[str]
    keys: int = 0
    depth: int = 1
    has_float: bool = False
    has_exotic_key: bool = False
    problem: tuple[str, str] | None = None

    def locate(self, number: int) -> str:
        """Where the text with this number stands."""
        member = bisect_right(self.starts, number) - 1
        key = next(islice(self.event, member, None))
        value, left = self.event[key], number - self.starts[member]
        if type(value) is dict or type(value) is list:
            below, _ = _descend(value, left)
            return f"/{escape(key)}{below}"
        return "/" + escape(key)


def walk(event: dict[str, Any], places: frozenset[str] = frozenset()) -> Walk:
    """Walks one event as decoded from JSON."""
    texts, starts = [""], list[int]()
    result = Walk(event, places, texts, starts, [], [], len(event))
    covered = () if _all_plain(event) else _named(result, "", event)
    for key, value in event.items():
        starts.append(len(texts))
        kind = type(value)
        if kind is str:
            texts.append("" if key in covered else value)
        elif kind is dict or kind is list:
            if kind is dict and value and _all_plain(value) and _all_strings(map(type, value.values())):
                # What most members are; the same as _collect would do, without the call.
                result.keys += len(value)
                result.depth = result.depth if result.depth > 2 else 2  # noqa: FURB136 - max() costs a call.
                texts.extend(value.values())
            else:
                _collect(result, value, f"/{escape(key)}", 2)
        elif kind is float:
            result.has_float = True
        elif kind is int and value >= BIG_INTEGER_MIN:
            texts.append(str(value))
    return result


def _collect(result: Walk, node: Any, base: str, depth: int) -> None:
    """Takes in one container and those below it."""
    if depth > result.depth:  # noqa: PLR1730 - max() costs a call on the hottest path.
        result.depth = depth
    texts = result.texts
    covered: Container[Any] = ()
    items: Iterable[tuple[Any, Any]]
    if type(node) is dict:
        result.keys += len(node)
        if not _all_plain(node):
            covered = _named(result, base, node)
        elif _all_strings(map(type, node.values())):
            texts.extend(node.values())
            return
        items = node.items()
    else:
        if _all_strings(map(type, node)):
            texts.extend(node)
            return
        items = enumerate(node)
    for key, value in items:
        kind = type(value)
        if kind is str:
            texts.append("" if key in covered else value)
        elif kind is dict or kind is list:
            if depth < DEPTH_MAX:
                _collect(result, value, f"{base}/{escape(key) if type(key) is str else key}", depth + 1)
            else:
                result.depth = DEPTH_MAX + 1
        elif kind is int:
            if value >= BIG_INTEGER_MIN:
                texts.append(str(value))
        elif kind is float:
            result.has_float = True


def spots(event: dict[str, Any], texts: Container[str]) -> list[tuple[str, str]]:
    """The pointers and texts of an event's strings (and big integers) that are among some texts, in order."""
    found: list[tuple[str, str]] = []
    _spot(event, "", texts, found)
    return found


def _spot(node: Any, base: str, texts: Container[str], found: list[tuple[str, str]]) -> None:
    for key, value in node.items() if type(node) is dict else enumerate(node):
        kind = type(value)
        if kind is str:
            if value in texts:
                found.append((f"{base}/{escape(key) if type(key) is str else key}", value))
        elif kind is dict or kind is list:
            _spot(value, f"{base}/{escape(key) if type(key) is str else key}", texts, found)
        elif kind is int and value >= BIG_INTEGER_MIN and str(value) in texts:
            found.append((f"{base}/{escape(key) if type(key) is str else key}", str(value)))


def _descend(node: Any, left: int, depth: int = 2) -> tuple[str, int]:
    """The pointer from a container down to its text number `left`; "" and how many are left if not there."""
    for key, value in node.items() if type(node) is dict else enumerate(node):
        kind = type(value)
        if kind is str or (kind is int and value >= BIG_INTEGER_MIN):
            if left == 0:
                return f"/{escape(key) if type(key) is str else key}", 0
            left -= 1
        elif (kind is dict or kind is list) and depth < DEPTH_MAX:
            below, left = _descend(value, left, depth + 1)
            if below:
                return f"/{escape(key) if type(key) is str else key}{below}", 0
    return "", left


def _named(result: Walk, base: str, node: dict[str, Any]) -> list[str]:
    """Looks at the keys that say something; returns those whose strings no detector need read."""
    covered: list[str] = []
    for key, value in node.items():
        if key in PLAIN_NAMES:
            continue
        facts = KNOWN_NAMES.get(key) or key_facts(key)
        if facts is PLAIN:
            continue
        if facts.exotic:
            result.has_exotic_key = True
        if facts.problem and result.problem is None:
            result.problem = (facts.problem, base)
        if facts.personal is not None:
            result.fields.append((base, facts.personal[0], "high", facts.personal[1]))
            result.keyed.append(base + "/")
        if facts.rule is not None and _judge(result, f"{base}/{escape(key)}", facts.rule, value):
            covered.append(key)
    return covered


def _judge(result: Walk, pointer: str, rule: FieldRule, value: Any) -> bool:
    """Whether field name (or profile) and value settle what this is, so that no detector need read it."""
    if type(value) is list:
        for place, item in enumerate(value):
            found = rule.judge(item)
            if found is not None:
                result.fields.append((f"{pointer}/{place}", found.type, found.confidence, found.rule))
        return False
    # Whatever is not read below must still be free of NUL and of lone surrogates.
    clean = type(value) is str and value.isascii() and "\0" not in value
    if clean and pointer in result.places:
        return True
    found = rule.judge(value)
    if found is None:
        return False
    result.fields.append((pointer, found.type, found.confidence, found.rule))
    return found.covers and clean
