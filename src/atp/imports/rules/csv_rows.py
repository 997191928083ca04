"""CSV with a mapping: which column, constant or template makes which field of the event.

The whole row travels in `payload.original`: `columns` keeps the order, `row` holds each value under its
column's name, so that detectors and searches see it; a repeated name gets its number.
"""

from __future__ import annotations

import codecs
import csv
import difflib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal, InvalidOperation
from string import Formatter
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from atp.imports.model import LINE_BYTES_MAX, Unmappable
from atp.imports.rules.fields import (
    ACTION_CHARS_MAX,
    NAME_CHARS_MAX,
    PATH_CHARS_MAX,
    bounded,
    idempotency_key,
    identifier,
    label,
    utc_time,
)
from atp.kernel.clock import SECOND_US, format_us

FORMAT = "csv"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS = {"unix": SECOND_US, "unix-ms": 1_000, "unix-us": 1}

_BOUNDS: Mapping[str, Callable[[str], str]] = {
    # Every field that a mapping may fill, and how its value is brought inside the contract's bounds.
    "occurredAt": str,
    "observedAt": str,
    "effectiveAt": str,
    "actor.type": label,
    "actor.id": identifier,
    "actor.name": lambda value: bounded(value, NAME_CHARS_MAX),
    "actor.email": lambda value: bounded(value, 320),
    "action.name": lambda value: bounded(value, ACTION_CHARS_MAX),
    "action.category": label,
    "resource.type": label,
    "resource.id": identifier,
    "resource.path": lambda value: bounded(value, PATH_CHARS_MAX),
    "resource.name": lambda value: bounded(value, NAME_CHARS_MAX),
    "outcome": str,
    "context.ip": lambda value: bounded(value, 255),
    "context.userAgent": lambda value: bounded(value, PATH_CHARS_MAX),
    "context.sessionId": lambda value: bounded(value, NAME_CHARS_MAX),
    "correlation.traceId": lambda value: bounded(value, 128),
    "correlation.requestId": lambda value: bounded(value, 128),
    "stream": str,
    "idempotencyKey": idempotency_key,
}
_REQUIRED = ("occurredAt", "actor.type", "actor.id", "action.name", "resource.type", "resource.id")
_TIMES = ("occurredAt", "observedAt", "effectiveAt")
_OUTCOMES = ("success", "failure", "denied", "unknown")


class MappingFault(Exception):
    """The mapping file cannot be used: the message names the place and what to write there."""


class Rule(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Where a field's value comes from: exactly one of `column`, `constant` and `template`.

    `values` translates it, `default` replaces an empty one or one that `values` does not know. For times:
    `format` (rfc3339, unix, unix-ms, unix-us or strptime's) and `zone` (an IANA name or ±HH:MM).
    """

    column: str | None = None
    constant: str | None = None
    template: str | None = None
    values: dict[str, str] | None = None
    default: str | None = None
    format: str = "rfc3339"
    zone: str | None = None


class CsvMapping(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """A mapping file: the dialect of the CSV, and a rule for each field of the event."""

    fields: dict[str, Rule]
    delimiter: str = ","
    quote: str = '"'
    encoding: str = "utf-8"
    columns: list[str] | None = None
    """Names of the columns where the file has no header line."""


Row = Mapping[str, str]
_Filler = Callable[[Row], str]


def read_mapping(document: object) -> CsvMapping:
    """Return the mapping of a parsed YAML document; MappingFault names the first thing that is wrong."""
    try:
        mapping = msgspec.convert(document, CsvMapping)
    except msgspec.ValidationError as error:
        raise MappingFault(f"The mapping does not fit: {error}.") from None
    for name in mapping.fields:
        if name not in _BOUNDS and not name.startswith(("actor.", "context.", "payload.")):
            near = difflib.get_close_matches(name, _BOUNDS, n=1)
            raise MappingFault(
                f"fields.{name} is no field of an event{f'; did you mean {near[0]}?' if near else '.'}"
            )
        if name.startswith(("payload.original", "payload.import")):
            raise MappingFault(f"fields.{name} is where the importer keeps the row; choose another name.")
    if missing := [name for name in _REQUIRED if name not in mapping.fields]:
        raise MappingFault(f"The mapping has no rule for {', '.join(missing)}.")
    if len(mapping.delimiter) != 1 or len(mapping.quote) != 1:
        raise MappingFault("delimiter and quote are one character each.")
    try:
        codecs.lookup(mapping.encoding)
    except LookupError:
        raise MappingFault(
            f"encoding: {mapping.encoding} is not known; utf-8, utf-16, cp1252 and iso-8859-1 are."
        ) from None
    return mapping


class CsvMapper:
    """Maps the rows of one file whose header line is known."""

    def __init__(self, mapping: CsvMapping, header: Sequence[str]) -> None:
        self._mapping = mapping
        self._columns = _distinct(header)
        self.width = len(self._columns)
        self._fields = [(name, _filler(name, rule, self._columns)) for name, rule in mapping.fields.items()]

    def map_line(self, raw: bytes, key: str) -> dict[str, Any]:
        """Return the event of one row; `key` is its idempotency key unless the mapping fills it."""
        values = parse_row(raw, self._mapping)
        if len(values) != len(self._columns):
            raise Unmappable(
                "COLUMN_COUNT", f"{len(values)} columns where the header has {len(self._columns)}."
            )
        row = dict(zip(self._columns, values, strict=True))
        event: dict[str, Any] = {"idempotencyKey": key}
        for name, fill in self._fields:
            if value := fill(row):
                parent, _, child = name.partition(".")
                if child:
                    event.setdefault(parent, {})[child] = value
                else:
                    event[parent] = value
            elif name in _REQUIRED:
                raise Unmappable("FIELD_MISSING", f"The row has no value for {name}.")
        payload = event.setdefault("payload", {})
        payload["original"] = {"columns": self._columns, "row": row}
        payload["import"] = {"format": FORMAT}
        return event


def parse_row(raw: bytes, mapping: CsvMapping) -> list[str]:
    """Return the values of one row (RFC 4180, with the mapping's delimiter and quote)."""
    try:
        text = raw.decode()
    except UnicodeDecodeError as bad:
        raise Unmappable("NOT_UTF8", f"Byte {bad.start} of the row does not fit the encoding.") from None
    if "\0" in text:
        raise Unmappable(
            "INVALID_CHARACTER", "The row holds NUL; if the file is UTF-16, say so as `encoding`."
        )
    csv.field_size_limit(LINE_BYTES_MAX)
    try:
        rows = list(csv.reader([text], delimiter=mapping.delimiter, quotechar=mapping.quote, strict=True))
    except csv.Error as error:
        raise Unmappable("NOT_CSV", f"Not CSV: {error}.") from None
    return rows[0] if rows else []


def _distinct(header: Sequence[str]) -> list[str]:
    names: list[str] = []
    for place, given in enumerate(header, 1):
        # A leading tilde is reserved in events; a name in front of it frees the column.
        name = f"column {given}" if given.startswith("~") else given.strip() or f"column {place}"
        repeat = 2
        unique = name
        while unique in names:
            unique, repeat = f"{name} ({repeat})", repeat + 1
        names.append(unique)
    return names


def _filler(name: str, rule: Rule, columns: Sequence[str]) -> _Filler:
    """Compile a rule; MappingFault where it cannot work with these columns."""
    take = _taker(name, rule, columns)
    values, default = rule.values, rule.default
    bound = _BOUNDS.get(name, str)
    if name in _TIMES:
        return _timed(name, rule, take)
    if name == "outcome" and (odd := set((values or {}).values()) | {default or "unknown"}) - set(_OUTCOMES):
        raise MappingFault(f"fields.outcome: {odd - set(_OUTCOMES)} is none of {', '.join(_OUTCOMES)}.")

    def fill(row: Row) -> str:
        value = take(row)
        if values is not None:
            value = values.get(value, "" if default is not None else value)
        value = value or default or ""
        if name == "outcome" and value and value not in _OUTCOMES:
            raise Unmappable(
                "OUTCOME_UNKNOWN", f"No rule says which outcome {value[:40]!r} means; add it to `values`."
            )
        return bound(value) if value else ""

    return fill


def _taker(name: str, rule: Rule, columns: Sequence[str]) -> _Filler:
    if sum(source is not None for source in (rule.column, rule.constant, rule.template)) != 1:
        raise MappingFault(f"fields.{name}: give one of column, constant and template.")
    if (constant := rule.constant) is not None:
        return lambda _row: constant
    template = rule.template
    wanted = (
        [rule.column or ""] if template is None else [part[1] for part in _pieces(name, template) if part[1]]
    )
    for column in wanted:
        if column not in columns:
            near = difflib.get_close_matches(column, columns, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(columns)}."
            raise MappingFault(f"fields.{name}: there is no column {column!r}{hint}")
    if template is None:
        return lambda row: row[wanted[0]].strip()
    pieces = _pieces(name, template)
    return lambda row: "".join(text + (row[column].strip() if column else "") for text, column in pieces)


def _pieces(name: str, template: str) -> list[tuple[str, str | None]]:
    try:
        return [(text, column) for text, column, _, _ in Formatter().parse(template)]
    except ValueError as error:
        raise MappingFault(f"fields.{name}: the template is not closed: {error}.") from None


def _timed(name: str, rule: Rule, take: _Filler) -> _Filler:
    zone = _zone(name, rule.zone)

    def fill(row: Row) -> str:
        value = take(row) or rule.default or ""
        if not value:
            return ""
        text = _read_time(value, rule.format, zone)
        if text is None:
            raise Unmappable("TIME_INVALID", f"{name} is not a time of the form {rule.format}.")
        return text

    return fill


def _zone(name: str, zone: str | None) -> Any:
    if zone is None:
        return UTC
    if zone[0] in "+-" and len(zone) == 6 and zone[1:3].isdigit() and zone[4:].isdigit():
        offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[4:]))
        return timezone(-offset if zone[0] == "-" else offset)
    try:
        return ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise MappingFault(
            f"fields.{name}: {zone!r} is no time zone such as Europe/Berlin or +02:00."
        ) from None


def _read_time(value: str, form: str, zone: Any) -> str | None:
    if form == "rfc3339":
        return utc_time(value)
    try:
        if unit := _UNITS.get(form):
            us = int(Decimal(value) * unit)
        else:
            # A local time that a change of the clocks makes ambiguous is taken as the first of the two.
            moment = datetime.strptime(value, form)  # noqa: DTZ007 (the mapping's zone is added next)
            us = ((moment if moment.tzinfo else moment.replace(tzinfo=zone)) - _EPOCH) // timedelta(
                microseconds=1
            )
        return utc_time(format_us(us))
    except (ValueError, OverflowError, InvalidOperation):
        return None
