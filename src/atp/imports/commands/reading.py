"""From plain chunks to lines, array elements and CSV rows, in memory bounded by the longest allowed line.

A bad line never takes a good one with it: readers find the next place where a line, element or row can
begin, and hand the stretch before it out with its fault. When the source itself ends in damage, what was
begun is handed out as cut off, and SourceUnreadable follows.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterator

import msgspec

from atp.imports.model import EVENT_BYTES_MAX, LINE_BYTES_MAX, Line, SourceUnreadable, Unmappable

_FIRST_KEY = re.compile(rb'\{\s*("(?:[^"\\]|\\.)*")\s*:', re.DOTALL)
_ARRAY_START = re.compile(rb'\s*(?:\{\s*"Records"\s*:\s*)?\[')
_TOKEN = re.compile(rb'"(?:[^"\\]|\\.)*"|[{}\[\]]', re.DOTALL)
_ARRAY_END = re.compile(rb"\]\s*\}?")
_BETWEEN = re.compile(rb"[\s,]*")
_BEGINNING_BYTES_MAX = 256
_CLOUDTRAIL_KEY = b'"eventVersion"'
_is_json = msgspec.json.Decoder(msgspec.Raw).decode

_TOO_LONG = Unmappable("LINE_TOO_LONG", f"Longer than {LINE_BYTES_MAX} bytes; an event may have 65536.")
_CUT_OFF = Unmappable("CUT_OFF", "The source ends inside it.")
_BROKEN = Unmappable(
    "NOT_JSON", "Not a JSON object; reading went on at the next place where a record begins."
)


def lines(part: str, chunks: Iterator[bytes]) -> Iterator[Line]:
    """Yield the lines that are not blank, each with its line break as it stands."""
    number = offset = 0
    tail, dropped = b"", 0
    damage: SourceUnreadable | None = None
    while True:
        try:
            chunk = next(chunks, b"")
        except SourceUnreadable as error:
            chunk, damage = b"", error
        if not chunk:
            break
        if dropped and b"\n" not in chunk:
            dropped += len(chunk)
            continue
        *whole, tail = (tail + chunk).split(b"\n")
        for piece in whole:
            number += 1
            size = len(piece) + dropped + 1
            if dropped or size > LINE_BYTES_MAX:
                yield Line(part, number, offset, piece[:LINE_BYTES_MAX], _TOO_LONG)
            elif piece and not piece.isspace():
                yield Line(part, number, offset, piece + b"\n")
            offset += size
            dropped = 0
        if len(tail) > LINE_BYTES_MAX:
            # Only the beginning is kept; the source still has the rest at this offset.
            dropped += len(tail) - LINE_BYTES_MAX
            tail = tail[:LINE_BYTES_MAX]
    if tail and not tail.isspace():
        fault = _TOO_LONG if dropped else _CUT_OFF if damage else None
        yield Line(part, number + 1, offset, tail, fault, ended=False)
    if damage:
        raise damage


def rows(part: str, chunks: Iterator[bytes], quote: bytes, fits: Callable[[bytes], bool]) -> Iterator[Line]:
    """Yield CSV rows: lines are joined while a quote is open, if the result then `fits`.

    If it does not, or no line within an event's size closes the quote, the quote is a stray one: its line
    stands alone and reading goes on right behind it, so that it cannot swallow its neighbours.
    """
    source = lines(part, chunks)
    ahead: deque[Line] = deque()
    while (first := ahead.popleft() if ahead else next(source, None)) is not None:
        joined, taken, size = [first], [first], len(first.raw)
        is_open = first.fault is None and first.raw.count(quote) % 2 == 1
        while is_open and (following := ahead.popleft() if ahead else next(source, None)) is not None:
            taken.append(following)
            size += len(following.raw)
            if following.fault is not None or size > EVENT_BYTES_MAX:
                break
            if following.raw.count(quote) % 2:
                joined, is_open = taken, False
        raw = b"".join(line.raw for line in joined)
        if len(joined) > 1 and fits(raw):
            yield Line(part, first.number, first.offset, raw, ended=joined[-1].ended)
        else:
            ahead.extendleft(reversed(taken[1:]))
            yield first


class _Window:
    """The stretch of a stream that is being looked at; `base` is the offset of its first byte."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self.bytes = b""
        self.base = 0
        self.damage: SourceUnreadable | None = None
        self.ended = False

    def fill(self, start: int) -> None:
        """Drop what lies before `start` and read until a whole record fits behind it, or to the end."""
        self.base += start
        pieces, size = [self.bytes[start:]], len(self.bytes) - start
        while size <= 2 * LINE_BYTES_MAX and not self.ended:
            try:
                piece = next(self._chunks, b"")
            except SourceUnreadable as error:
                self.damage, piece = error, b""
            self.ended = not piece
            pieces.append(piece)
            size += len(piece)
        self.bytes = b"".join(pieces)


def elements(part: str, chunks: Iterator[bytes]) -> Iterator[Line]:
    """Yield the objects of `{"Records": […]}` or `[…]`, also of several such texts behind each other."""
    window = _Window(chunks)
    number, place, inside = 0, 0, False
    restart = _beginning(_CLOUDTRAIL_KEY)
    while True:
        if len(window.bytes) - place <= LINE_BYTES_MAX and not window.ended:
            window.fill(place)
            place = 0
        text = window.bytes
        place = _skip(_BETWEEN, text, place)
        if place >= len(text):
            break
        if not inside and (opening := _ARRAY_START.match(text, place)):
            place, inside = opening.end(), True
            continue
        if inside and (closing := _ARRAY_END.match(text, place)):
            # Behind its records CloudTrail closes the envelope; another one may follow.
            place, inside = closing.end(), False
            continue
        number += 1
        end = _element_end(text, place) if inside and text.startswith(b"{", place) else None
        if end is not None and end - place <= LINE_BYTES_MAX and _valid(text[place:end]):
            if number == 1 and (key := _FIRST_KEY.match(text, place)):
                restart = _beginning(key[1])
            yield Line(part, number, window.base + place, text[place:end])
            place = end
            continue
        found = restart.search(text, place + 1)
        # The last bytes stay for the next look: a beginning may be cut in two there.
        end = found.start() if found else len(text) if window.ended else len(text) - _BEGINNING_BYTES_MAX
        fault = (
            _TOO_LONG if end - place > LINE_BYTES_MAX else _BROKEN if found or not window.ended else _CUT_OFF
        )
        yield Line(part, number, window.base + place, text[place : min(end, place + LINE_BYTES_MAX)], fault)
        place, inside = end, True
    if window.damage or inside:
        raise window.damage or SourceUnreadable(
            f"{part} ends before its list of records does: it was cut off."
        )


def _beginning(first_key: bytes) -> re.Pattern[bytes]:
    """Match where a record can begin again after a broken one: records share their first key."""
    return re.compile(rb"(?<=[\s,\[\]}])\{\s*" + re.escape(first_key) + rb"\s*:")


def _skip(pattern: re.Pattern[bytes], text: bytes, place: int) -> int:
    found = pattern.match(text, place)
    return found.end() if found else place


def _element_end(text: bytes, start: int) -> int | None:
    depth = 0
    for token in _TOKEN.finditer(text, start, start + 2 * LINE_BYTES_MAX):
        mark = token[0]
        if mark in {b"{", b"["}:
            depth += 1
        elif mark in {b"}", b"]"}:
            depth -= 1
        if depth <= 0:
            return token.end()
    return None


def _valid(raw: bytes) -> bool:
    try:
        _is_json(raw)
    except (msgspec.MsgspecError, RecursionError):
        return False
    return True
