"""Binds a format to a reader and to a function from a line to a serialized event.

Gives idempotency keys to events without ids of their own, and holds the limit of an event's size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Any

import msgspec

from atp.imports.commands import reading
from atp.imports.model import EVENT_BYTES_MAX, Line, SourceUnreadable, Unmappable
from atp.imports.rules import cloudtrail, csv_rows, detect, jsonl, windows
from atp.imports.rules.csv_rows import CsvMapper, CsvMapping, MappingFault

_encode = msgspec.json.Encoder().encode
_NAMED: dict[str, Callable[[bytes], dict[str, Any]]] = {
    cloudtrail.FORMAT: cloudtrail.map_line,
    windows.FORMAT: windows.map_line,
}


class Mapper:
    """Maps the lines of one source: `read` yields them, `event` maps one.

    State: the CSV header of the current part.
    """

    def __init__(
        self, format_name: str, head_digest: str, *, mapping: CsvMapping | None, stream: str | None
    ) -> None:
        self._format = format_name
        self._head = head_digest
        self._mapping = mapping
        self._stream = stream
        self._csv: CsvMapper | None = None

    def read(self, part: str, chunks: Iterator[bytes]) -> Iterator[Line]:
        """Yield the part's lines, elements or rows."""
        if self._mapping is not None:
            return self._rows(part, chunks, self._mapping)
        first = next(chunks, b"")
        again = _before(first, chunks)
        return reading.elements(part, again) if detect.is_array(first) else reading.lines(part, again)

    def event(self, line: Line, ordinal: int) -> bytes:
        """Return the event of the source's line number `ordinal`; Unmappable where it gives none."""
        if line.fault is not None:
            raise line.fault
        raw = line.raw.strip()
        if self._format in _NAMED:
            mapped = _NAMED[self._format](raw)
            if "idempotencyKey" not in mapped:
                mapped["idempotencyKey"] = self._key(raw, ordinal)
        elif self._csv is not None:
            mapped = self._csv.map_line(line.raw, self._key(raw, ordinal))
        else:
            return _bounded(jsonl.map_line(raw, self._key(raw, ordinal)))
        if self._stream is not None:
            mapped["stream"] = self._stream
        return _bounded(_encode(mapped))

    def _key(self, raw: bytes, ordinal: int) -> str:
        """Return a key for a line that has no id: from the source's head, the line's number and its content.

        It survives renaming, moving, compressing and growing of the source, an interruption at any point
        and a lost checkpoint. The number keeps two equal lines apart, which two equal log lines may well
        be two events; the head keeps equal lines of different files apart (two exports with the same header);
        the content makes a line that was edited a new event instead of a conflict. It does not survive
        lines inserted or removed further up: those after them are then stored again, which is the harmless
        side to err on. Counting equal contents instead would survive that, but needs all digests in memory.
        """
        digest = sha256(f"{self._head}:{ordinal}:".encode() + raw).hexdigest()[:40]
        return f"{self._format}:{digest}"

    def _rows(self, part: str, chunks: Iterator[bytes], mapping: CsvMapping) -> Iterator[Line]:
        columns = mapping.columns
        rows = reading.rows(part, chunks, mapping.quote.encode(), self._fits)
        if columns is None:
            header = next(rows, None)
            if header is None:
                return
            try:
                columns = csv_rows.parse_row(header.raw, mapping)
            except Unmappable as error:
                raise SourceUnreadable(f"{part}: the header line cannot be read. {error}") from None
        try:
            self._csv = CsvMapper(mapping, columns)
        except MappingFault as error:
            raise SourceUnreadable(f"The mapping does not fit {part}. {error}") from None
        yield from rows

    def _fits(self, raw: bytes) -> bool:
        assert self._mapping is not None
        try:
            found = len(csv_rows.parse_row(raw, self._mapping))
        except Unmappable:
            return False
        return self._csv is None or found == self._csv.width


def _before(first: bytes, chunks: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from chunks


def _bounded(event: bytes) -> bytes:
    if len(event) > EVENT_BYTES_MAX:
        raise Unmappable(
            "EVENT_TOO_LARGE", f"The event would have {len(event)} bytes; the limit is {EVENT_BYTES_MAX}."
        )
    return event
