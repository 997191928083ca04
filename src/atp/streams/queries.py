"""Reading the record store: a record, a stream, a log, the feed, and the disclosures a caller may see.

Every function takes a connection inside a snapshot and, where rows are a tenant's, the tenant: it is what keeps
tenants apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from atp.engine.codec import CorruptValue
from atp.engine.database import Connection
from atp.engine.keys import KeyUnavailable
from atp.kernel.clock import parse_rfc3339
from atp.kernel.errors import Problem
from atp.kernel.hashing import sha256, unb64u
from atp.kernel.ids import TenantId, decode_ulid
from atp.streams import store
from atp.streams.model import LogEntry, LogHead, StoredRecord, StreamState
from atp.streams.store.opened import TenantVault, open_box

PAGE_MAX: Final = 1_000
"""Records of one page; a caller continues from the last position or version."""
END: Final = 1 << 62
"""Beyond every position and version."""


@dataclass(frozen=True, slots=True)
class StreamStatus:
    """A stream's state: its name, life-cycle state, last version and when it began (microseconds)."""

    stream_no: int
    name: str
    state: StreamState
    version: int
    created_us: int
    record_hash: bytes | None


@dataclass(frozen=True, slots=True)
class Opened:
    """The disclosures of one record: [salt, pointer, value] arrays, and the subjects whose keys are gone."""

    values: list[list[Any]]
    missing_keys: int = 0
    damaged: int = 0


@dataclass(frozen=True, slots=True)
class DamagedRow:
    """A row of the feed whose stored bytes do not decode; verification names its position."""

    sequence: int
    tenant_no: int
    position: int
    reason: str


def log(connection: Connection, tenant: TenantId) -> LogHead:
    """Return the head of a tenant's log; raises LookupError for an unknown tenant."""
    head = store.log_head(connection, tenant)
    if head is None:
        raise LookupError(f"tenant {tenant} has no log")
    return head


def logs(connection: Connection) -> list[LogHead]:
    """Return the heads of all logs, for jobs that serve every tenant."""
    return store.log_heads(connection)


def log_by_id(connection: Connection, log_id: str) -> LogHead | None:
    """Return the log with that public identifier."""
    return store.log_by_id(connection, log_id)


def record(connection: Connection, tenant: TenantId, ulid: str) -> StoredRecord:
    """Return a record by its id; raises EVENT_NOT_FOUND, also for what is not a ULID."""
    try:
        id_ = decode_ulid(ulid)
    except ValueError:
        raise Problem("EVENT_NOT_FOUND") from None
    found = store.record_by_id(connection, log(connection, tenant).tenant_no, id_)
    if found is None:
        raise Problem("EVENT_NOT_FOUND")
    return found


def records_at(connection: Connection, tenant: TenantId, positions: Sequence[int]) -> dict[int, StoredRecord]:
    """Return {position: record} of those positions that exist."""
    return store.records_at(connection, log(connection, tenant).tenant_no, positions)


def read_log(
    connection: Connection,
    tenant: TenantId,
    *,
    start: int = 0,
    end: int = END,
    limit: int = PAGE_MAX,
    backward: bool = False,
) -> list[StoredRecord]:
    """Return records with start <= position < end, oldest first or, `backward`, newest first (STR-05)."""
    number = log(connection, tenant).tenant_no
    return store.log_records(
        connection, number, start=start, end=end, limit=min(limit, PAGE_MAX), backward=backward
    )


def position_at(connection: Connection, tenant: TenantId, recorded_us: int) -> int:
    """Return the first position recorded at or after a time, by bisection: recorded times never decrease."""
    head = log(connection, tenant)
    low, high = 0, head.size
    while low < high:
        middle = (low + high) // 2
        found = store.log_records(connection, head.tenant_no, start=middle, end=high, limit=1, backward=False)
        if not found:
            high = middle
        elif parse_rfc3339(found[0].header_json["recordedAt"]) < recorded_us:
            low = found[0].position + 1
        else:
            high = middle
    return low


def stream(connection: Connection, tenant: TenantId, name: str) -> StreamStatus:
    """Return a stream's state; raises STREAM_NOT_FOUND."""
    number = log(connection, tenant).tenant_no
    row = store.stream_row(connection, number, name)
    if row is None:
        raise Problem("STREAM_NOT_FOUND")
    head = store.stream_heads(connection, number, [name])[name]
    return StreamStatus(row[0], row[1], row[2], head.version, row[3], head.record_hash)


def read_stream(
    connection: Connection,
    tenant: TenantId,
    name: str,
    *,
    start: int = 1,
    end: int = END,
    limit: int = PAGE_MAX,
    backward: bool = False,
) -> list[StoredRecord]:
    """Return a stream's records with start <= version < end, in order or backward (STR-05)."""
    info = stream(connection, tenant, name)
    number = log(connection, tenant).tenant_no
    return store.stream_records(
        connection,
        number,
        info.stream_no,
        start=start,
        end=end,
        limit=min(limit, PAGE_MAX),
        backward=backward,
    )


def feed(connection: Connection, shard: int, sequence: int, limit: int) -> list[StoredRecord]:
    """Return the shard's records from `sequence` on. Gapless: what is behind the last one returned was seen.

    Raises CorruptValue for a damaged row; use `feed_tolerant` to step over it.
    """
    return store.to_records(store.feed_rows(connection, shard, sequence, limit))


def feed_entries(connection: Connection, shard: int, sequence: int, limit: int) -> list[LogEntry]:
    """As `feed`, with only what goes into the trees, recomputed from the stored headers."""
    return store.feed_entries(connection, shard, sequence, limit)


def feed_tolerant(
    connection: Connection, shard: int, sequence: int, limit: int
) -> Iterator[StoredRecord | DamagedRow]:
    """As `feed`, with a `DamagedRow` where the stored bytes do not decode."""
    for row in store.feed_rows(connection, shard, sequence, limit):
        try:
            yield store.to_record(row)
        except CorruptValue as error:
            yield DamagedRow(row[0], row[1], row[2], str(error))


def disclosures(
    connection: Connection, vault: TenantVault, records: Sequence[StoredRecord]
) -> dict[int, Opened]:
    """Return {position: opened disclosures} for records of the vault's tenant that have any.

    Who may see them is the caller's decision, and the caller records the access (SEC-04).
    """
    boxes = store.boxes(connection, vault.tenant_no, [record.position for record in records])
    rows = store.subject_keys(connection, vault.tenant_no, list({key_id for _, key_id, _ in boxes}))
    ciphers: dict[int, Any] = {}
    hashes = {record.position: sha256(record.content) for record in records}
    opened: dict[int, Opened] = {}
    for position, key_id, box in boxes:
        entry = opened.get(position) or Opened([])
        if key_id not in rows:
            entry = Opened(entry.values, entry.missing_keys + 1, entry.damaged)
        else:
            try:
                if key_id not in ciphers:
                    ciphers[key_id] = vault.open_subject(key_id, *rows[key_id])
                plain = open_box(ciphers[key_id], box, hashes[position])
                entry = Opened(entry.values + msgspec.json.decode(plain), entry.missing_keys, entry.damaged)
            except KeyUnavailable:
                entry = Opened(entry.values, entry.missing_keys, entry.damaged + 1)
        opened[position] = entry
    return opened


def erasures(connection: Connection, vault: TenantVault, records: Sequence[StoredRecord]) -> dict[str, int]:
    """Return {subject reference: position of the record of its erasure} for those subjects of records that are erased.

    References are as records hold them, in `classification.subject` (INT-09).
    """
    refs = {
        subject
        for record in records
        if (subject := record.content_json["classification"].get("subject")) is not None
    }
    targets = {f"subject:{unb64u(ref).hex()}": ref for ref in refs}
    found = store.explanations(connection, vault.tenant_no, list(targets))
    return {targets[target]: position for target, position in found.items()}
