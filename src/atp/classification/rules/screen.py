"""One look at an event's bytes that says whether a walk could find anything in it at all.

Most events hold nothing personal outside the places the profile always protects. They are recognised by one
scan of their JSON, encoded anew without those places, so that it is free of white space between tokens and of
needless escapes. The scan may suspect too much, never too little; the argument stands at each part, and the
tests compare its verdict with the walk's.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import msgspec

from atp.classification.model import Facts
from atp.classification.rules.decisions import Decider
from atp.classification.rules.detectors import TRIGGERS, Sighting
from atp.classification.rules.field_names import PLAIN_NAMES, RULES
from atp.classification.rules.pointers import DEPTH_MAX
from atp.classification.rules.scan import Automaton

# Words in one pattern: fewer make it scan faster, more make it compile faster.
NAMES_PER_PATTERN = 5

# What detectors say of a text.
Sightings = dict[str, list[Sighting]]

_all_plain = PLAIN_NAMES.issuperset
_encode = msgspec.json.Encoder().encode
# In JSON without backslashes a quote ends every string, so what reaches `":` is a key.
_exotic_key = re.compile(rb'[\x80-\xff][^"]*":').search
_BACKSLASH = ord("\\")  # As a number it is found five times as fast as in bytes.
# Smaller numbers are not read (`walk.BIG_INTEGER_MIN`).
_big_numbers = re.compile(r"[0-9]{13,}").findall


class Glance(msgspec.Struct, frozen=True, gc=False):
    """What the look learnt.

    `filled` tells which of the profile's places are filled, `bare` is the event without those that no
    detector reads. `sighted` holds every text that a detector knows and what it says of it, or None where the
    event could not be judged this way and is to be walked and scanned. `facts` are there where nothing else
    asks for a walk.
    """

    filled: int
    bare: dict[str, Any]
    facts: Facts | None = None
    sighted: Sightings | None = None


def glance(event: dict[str, Any], verdict: Decider) -> Glance:
    """Looks at one event as decoded from JSON.

    A backslash would mean an escape that the patterns do not know: quote, NUL, line end. Such an event is
    walked and scanned, as is one whose keys are not ASCII or that cannot be encoded (half of a surrogate
    pair, depth). So is one whose payload has a telling name, or one never met, at its top: it would be walked in
    the end, and logs that are imported are full of them.
    """
    payload = event.get("payload")
    if type(payload) is dict and not _all_plain(payload):
        return Glance(0, event)
    filled, bare = _without_places(event, verdict)
    try:
        blob = _encode(bare)
    except (UnicodeEncodeError, RecursionError):
        return Glance(filled, bare)
    if _BACKSLASH in blob or not (blob.isascii() or _exotic_key(blob) is None):
        return Glance(filled, bare)
    # Brackets inside strings count too, so this is the depth or more.
    depth = blob.count(b"{") + blob.count(b"[")
    if depth > DEPTH_MAX and (depth := _depth(event)) > DEPTH_MAX:
        return Glance(filled, bare)
    hits = (_screen or screen()).hits(blob)
    sighted: Sightings = {}
    has_float = False
    if hits:
        keys_known = _sight(blob, hits, sighted)
        if keys_known or any(_FLOAT < number < _FIRST_VALUE for _, number in hits):
            return Glance(filled, bare, None, sighted)
        # What is left of hits are floats and values.
        has_float = any(number == _FLOAT for _, number in hits)
    facts = Facts(blob.count(b'":'), has_float, has_exotic_key=False, max_depth=depth)
    return Glance(filled, bare, facts, sighted)


def _without_places(event: dict[str, Any], verdict: Decider) -> tuple[int, dict[str, Any]]:
    """Which of the profile's places are filled, and the event with null for what no detector reads there.

    As in the walk, that is a text free of odd characters whose name announces it (`email`, `ip`). A null
    says nothing to any rule, and leaves the number of keys as it was.
    """
    filled, bare = 0, event
    for top, members in verdict.tops:
        parent = event.get(top)
        if not parent:
            continue
        copy: dict[str, Any] | None = None
        for key, bit, announced in members:
            value = parent.get(key)
            if value:
                filled |= bit
                if announced and type(value) is str and value.isascii() and "\0" not in value:
                    copy = copy or parent.copy()
                    copy[key] = None
        if copy is not None:
            bare = bare if bare is not event else event.copy()
            bare[top] = copy
    return filled, bare


def _sight(blob: bytes, hits: list[tuple[int, int]], sighted: Sightings) -> bool:
    """Lets the readers judge each string, or number outside strings, that a trigger fired in.

    Hits come in order of their ends, so each string is cut out, and the quotes before it counted, once.
    Returns whether a key was among what the readers know.
    """
    keys_known = False
    done: set[tuple[str, object]] = set()
    texts: list[str] = []
    stop, quotes, counted = -1, 0, 0
    for end, number in hits:
        if number < _FIRST_VALUE:
            continue
        last = end - 1  # Of a match; it may be the quote after its string, never the one before.
        if last > stop:
            quotes += blob.count(b'"', counted, last)
            counted = last
            start, stop = blob.rfind(b'"', 0, last) + 1, blob.find(b'"', last)
            part = blob[start:stop].decode()
            texts = [part] if quotes & 1 else _big_numbers(part)
        reader = TRIGGERS[number - _FIRST_VALUE].reader
        for text in texts:
            if (text, reader) not in done:
                done.add((text, reader))
                found = list(reader(text))
                if found:
                    sighted.setdefault(text, []).extend(found)
        if not keys_known and blob.startswith(b":", stop + 1):
            keys_known = any(text in sighted for text in texts)
    return keys_known


def _depth(event: Any) -> int:
    """How deep an event is nested, level by level; no more than one past the limit."""
    level, depth = [event], 0
    while level and depth <= DEPTH_MAX:
        depth += 1
        level = [
            child
            for node in level
            for child in (node.values() if type(node) is dict else node)
            if type(child) is dict or type(child) is list
        ]
    return depth


# The pattern whose hit is a fact and no suspicion: a number with a fraction or an exponent after a key.
_FLOAT = 0
_FLOAT_MEMBER = r'":-?[0-9]+[.e]'
# In an array it cannot be told from text, so it is one more suspicion.
_FLOAT_ELEMENT = r"[\[,]-?[0-9]+[.e]"
_RESERVED = '"~'
# A string that begins with a colon would be taken for the end of a key.
_LEADING_COLON = r'[:\[,{]":'
# null, true, false and objects have nothing that a test of a value could pass.
_VALUE = r'[^A-Za-z0-9"]*":["0-9\[-]'


def _name_patterns() -> Iterator[tuple[str, bool]]:
    """Keys that end in a listed ending and have a value worth testing, and whether their case is free.

    A word of a name is written low, HIGH or Capitalised, and begins where no word that is written so can be
    under way (see `field_names.words`). Endings of several words are told by those alone.
    """
    endings: defaultdict[str, list[str]] = defaultdict(list)
    words: list[str] = []
    for *before, last in RULES:
        if before:
            endings[last].append('[^A-Za-z0-9"]*'.join(before))
        else:
            words.append(last)
    for last, befores in endings.items():
        yield rf'(?:{"|".join(befores)})[^A-Za-z0-9"]*{last}(?:s|es)?{_VALUE}', True
    for start in range(0, len(words), NAMES_PER_PATTERN):
        some = words[start : start + NAMES_PER_PATTERN]
        yield rf"[^A-Za-z](?:{'|'.join(some)})(?:s|es)?{_VALUE}", False
        yield rf"[^A-Z](?:{'|'.join(map(str.upper, some))})(?:S|ES)?{_VALUE}", False
        yield rf"(?:{'|'.join(map(str.capitalize, some))})(?:s|es)?{_VALUE}", False


def _value_patterns() -> Iterator[tuple[str, bool]]:
    """The triggers for strings between quotes instead of NULs; a quote inside a string has a backslash.

    Keys are read as well: whatever a key is found for has a trigger that fires on it.
    """
    for trigger in TRIGGERS:
        yield trigger.pattern.replace(r"[\"']?", "'?").replace(r"\x00", '"'), trigger.caseless


# Numbered in this order: the float, the rest that only a walk can judge, the triggers.
_STRUCTURE = (
    (_FLOAT_MEMBER, False),
    (_FLOAT_ELEMENT, False),
    (_RESERVED, False),
    (_LEADING_COLON, False),
    *_name_patterns(),
)
_FIRST_VALUE = len(_STRUCTURE)

# The process's screen, compiled on first use, under the same rule as `findings.automaton`.
_screen: Automaton | None = None


def screen() -> Automaton:
    """The compiled screen; about 0.4 s the first time, with the interpreter lock released."""
    global _screen  # noqa: PLW0603 - compiled once per process, see above.
    if _screen is None:
        _screen = Automaton([*_STRUCTURE, *_value_patterns()], once=_FIRST_VALUE)
    return _screen
