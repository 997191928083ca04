"""Saying what exactly is wrong with a record that is not as it must be. Off the hot path: clear, not fast.

A header and what it should say go in, the differing fields by name come out; also whether a record that is
absent was purged with an explanation.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from atp.engine.codec import CorruptValue, unpack
from atp.engine.database import Connection
from atp.integrity.model import RECORD_FORMAT
from atp.integrity.store import evidence
from atp.kernel import canonical
from atp.kernel.clock import format_us, parse_rfc3339
from atp.kernel.hashing import b64u
from atp.kernel.ids import encode_ulid

EXPLAINS_RECORDS: Final = frozenset({"record.expired", "record.superseded"})
"""Types of platform records that explain the absence of whole records."""
_FIELDS: Final = frozenset(
    {
        "contentHash",
        "format",
        "id",
        "position",
        "previousHash",
        "recordedAt",
        "stream",
        "streamVersion",
        "tenant",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a record's header must say.

    `stream` None: no such stream. `previous` is JSON; None: the predecessor is gone, which is an alarm, or is
    explained, at its own position.
    """

    row: evidence.Row
    tenant_no: int
    tenant: str
    shard: int
    content_hash: bytes
    stream: str | None
    version: int | None
    previous: bytes | None


def differences(header: bytes, expected: Expected) -> Iterator[tuple[str, str]]:
    """Yield (kind, message) for everything in which a record differs from what it must be."""
    row = expected.row
    if row.indexed != row.position:
        yield "index", "The index finds it at another position than its row says."
    if row.tenant_no != expected.tenant_no:
        yield "tenant", "The row belongs to another tenant than the index says."
    if row.shard != expected.shard:
        yield "shard", "The row names another shard than its log's."
    fields = _fields(header)
    if fields is None:
        yield "header", "The header is not the canonical JSON of a record's header."
        return
    if expected.stream is None:
        yield "stream", "The stream's number and its name do not belong together."
    elif row.version != expected.version:
        yield "stream_version", "Its version does not follow the one before it in its stream."
    yield from _wrong_fields(fields, expected)


def _wrong_fields(fields: dict[str, Any], expected: Expected) -> Iterator[tuple[str, str]]:
    row = expected.row
    if fields["contentHash"] != b64u(expected.content_hash):
        yield "content_hash", "The content does not hash to the header's contentHash."
    if fields["format"] != RECORD_FORMAT:
        yield "format", "The header names another format."
    if fields["id"] != _ulid(row.id):
        yield "record_id", "The header's id is not the row's."
    if fields["position"] != row.position or fields["position"] != row.indexed:
        yield "position", "The header's position is not the row's."
    if fields["tenant"] != expected.tenant:
        yield "tenant", "The header names another tenant."
    if fields["streamVersion"] != row.version:
        yield "stream_version", "The header's stream version is not the row's."
    if expected.stream is not None and fields["stream"] != expected.stream:
        yield "stream", "The header names another stream than the row."
    if not _is_time(fields["recordedAt"]):
        yield "recorded_at", "The header's time is not one."
    follows = expected.previous is not None and row.version == expected.version
    if follows and fields["previousHash"] != msgspec.json.decode(expected.previous or b"null"):
        yield "previous_hash", "It does not carry the hash of the record before it in its stream."


def _fields(header: bytes) -> dict[str, Any] | None:
    try:
        fields = msgspec.json.decode(header)
        if isinstance(fields, dict) and fields.keys() == _FIELDS and canonical.encode(fields) == header:
            return fields
    except (ValueError, RecursionError):
        pass
    return None


def _ulid(id_: object) -> str | None:
    return encode_ulid(id_) if isinstance(id_, bytes) and len(id_) == 16 else None


def _is_time(text: object) -> bool:
    try:
        return isinstance(text, str) and format_us(parse_rfc3339(text)) == text
    except ValueError:
        return False


def time_of(us: int) -> bytes:
    """Return a stored time as headers write it, empty for a number that is no time."""
    try:
        return format_us(us).encode()
    except (OverflowError, ValueError):
        return b""


def stream_of(header: bytes) -> str | None:
    """Return the stream that a header names, None if it does not read."""
    try:
        name = msgspec.json.decode(header)["stream"]
        return name if "\0" not in name and name.encode() else None
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None


def absence_explained(connection: Connection, tenant_no: int, position: int) -> bool:
    """Tell whether a platform record explains that the record at `position` is gone."""
    explained_by = evidence.explanation(connection, tenant_no, f"record:{position}")
    return explained_by is not None and platform_type(connection, tenant_no, explained_by) in EXPLAINS_RECORDS


def platform_type(connection: Connection, tenant_no: int, position: int) -> str | None:
    """Return the type of the platform record at a position, None if there is none."""
    found = evidence.rows(connection, tenant_no, start=position, end=position + 1)
    try:
        content = msgspec.json.decode(unpack(found[0][9]))
        return str(content["type"]) if content["kind"] == "platform" else None
    except (LookupError, ValueError, TypeError, CorruptValue):
        return None
