"""Reading records: by identifier, by position, by stream, in the order of the feed.

Rows are unpacked into `StoredRecord`; whether the bytes are right is not asked here but by verification.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from atp.engine.codec import unpack, unpack_many
from atp.engine.database import Connection
from atp.streams.model import LogEntry, StoredRecord
from atp.streams.store.matching import matching

_RECORD = "SELECT sequence, tenant_no, position, stream_no, version, id, header, content FROM records"


def to_record(row: tuple[Any, ...]) -> StoredRecord:
    """Return a row as a record; raises CorruptValue when its stored bytes do not decode."""
    sequence, tenant_no, position, stream_no, version, id_, header, content = row
    return StoredRecord(
        sequence, tenant_no, position, stream_no, version, id_, unpack(header), unpack(content)
    )


def to_records(rows: Sequence[tuple[Any, ...]]) -> list[StoredRecord]:
    """Return many rows as records; raises CorruptValue when the bytes of one do not decode."""
    headers = unpack_many([row[6] for row in rows])
    contents = unpack_many([row[7] for row in rows])
    return [
        StoredRecord(row[0], row[1], row[2], row[3], row[4], row[5], header, content)
        for row, header, content in zip(rows, headers, contents, strict=True)
    ]


def feed_entries(connection: Connection, shard: int, sequence: int, limit: int) -> list[LogEntry]:
    """Return the log entries from `sequence` on, in feed order; raises CorruptValue as `to_records` does."""
    rows = connection.rows(
        """SELECT sequence, tenant_no, position, header FROM records
           WHERE shard = $1 AND sequence >= $2 ORDER BY sequence LIMIT $3 /* every tenant: the shard's feed */""",
        (shard, sequence, limit),
    )
    headers = unpack_many([row[3] for row in rows])
    return [LogEntry(row[0], row[1], row[2], header) for row, header in zip(rows, headers, strict=True)]


def record_by_id(connection: Connection, tenant_no: int, id_: bytes) -> StoredRecord | None:
    row = connection.row(f"{_RECORD} WHERE tenant_no = $1 AND id = $2", (tenant_no, id_))
    return to_record(row) if row else None


def record_at(connection: Connection, tenant_no: int, position: int) -> StoredRecord | None:
    row = connection.row(f"{_RECORD} WHERE tenant_no = $1 AND position = $2", (tenant_no, position))
    return to_record(row) if row else None


def records_at(connection: Connection, tenant_no: int, positions: Sequence[int]) -> dict[int, StoredRecord]:
    found: dict[int, StoredRecord] = {}
    for condition, parameters in matching(connection, positions):
        for row in connection.rows(
            f"{_RECORD} WHERE tenant_no = $1 AND position {condition}", (tenant_no, *parameters)
        ):
            found[row[2]] = to_record(row)
    return found


def log_records(
    connection: Connection, tenant_no: int, *, start: int, end: int, limit: int, backward: bool
) -> list[StoredRecord]:
    """Return records with start <= position < end in log order, or from the end when `backward`."""
    order = "DESC" if backward else "ASC"
    rows = connection.rows(
        f"{_RECORD} WHERE tenant_no = $1 AND position >= $2 AND position < $3 ORDER BY position {order} LIMIT $4",
        (tenant_no, start, end, limit),
    )
    return [to_record(row) for row in rows]


def stream_records(
    connection: Connection,
    tenant_no: int,
    stream_no: int,
    *,
    start: int,
    end: int,
    limit: int,
    backward: bool,
) -> list[StoredRecord]:
    """Return records of one stream with start <= version < end."""
    order = "DESC" if backward else "ASC"
    rows = connection.rows(
        f"""{_RECORD} WHERE tenant_no = $1 AND stream_no = $2 AND version >= $3 AND version < $4
            ORDER BY version {order} LIMIT $5""",
        (tenant_no, stream_no, start, end, limit),
    )
    return [to_record(row) for row in rows]


def every_stream_record(connection: Connection, tenant_no: int, stream_no: int) -> Iterator[StoredRecord]:
    """Yield a whole stream in order, one record in memory at a time."""
    return map(
        to_record,
        connection.stream(
            f"{_RECORD} WHERE tenant_no = $1 AND stream_no = $2 ORDER BY version", (tenant_no, stream_no)
        ),
    )


def feed_rows(connection: Connection, shard: int, sequence: int, limit: int) -> list[tuple[Any, ...]]:
    """Return the raw rows (compressed header and content last) from `sequence` on, in feed order."""
    return connection.rows(
        f"{_RECORD} /* every tenant: the feed is the shard's */ WHERE shard = $1 AND sequence >= $2 ORDER BY sequence LIMIT $3",
        (shard, sequence, limit),
    )


def stream_row(connection: Connection, tenant_no: int, name: str) -> tuple[Any, ...] | None:
    return connection.row(
        "SELECT stream_no, name, state, created_us FROM streams WHERE tenant_no = $1 AND name = $2",
        (tenant_no, name),
    )
