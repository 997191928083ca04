"""The heads of shards, logs and streams, and what an append looks up and writes under the shard's lock.

Heads are the only rows that change; what was appended never does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from atp.engine.codec import dictionary, unpack
from atp.engine.database import Connection
from atp.kernel.hashing import sha256
from atp.kernel.ids import TenantId
from atp.streams.model import LogHead, StreamHead
from atp.streams.store.matching import matching


def ensure_shard(connection: Connection, shard: int) -> None:
    """Create the shard's head and store the codec's dictionary, once."""
    connection.execute(
        "INSERT INTO shards(shard, next_sequence, next_stream) VALUES ($1, 0, 0) ON CONFLICT DO NOTHING",
        (shard,),
    )
    connection.execute(
        "INSERT INTO dictionaries(codec, dictionary) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        (1, dictionary()),
    )


def lock_shard(connection: Connection, shard: int) -> tuple[int, int]:
    """Take the shard's lock for this transaction; return (next sequence, next stream number)."""
    suffix = " FOR UPDATE" if connection.dialect == "postgresql" else ""
    row = connection.row(f"SELECT next_sequence, next_stream FROM shards WHERE shard = $1{suffix}", (shard,))
    if row is None:
        raise LookupError(f"shard {shard} does not exist")
    return row[0], row[1]


def advance_shard(connection: Connection, shard: int, sequence: int, stream: int) -> None:
    connection.execute(
        "UPDATE shards SET next_sequence = $1, next_stream = $2 WHERE shard = $3", (sequence, stream, shard)
    )


_LOG = "SELECT tenant_no, tenant, shard, size, recorded_us, log_id, origin FROM logs"


def log_head(connection: Connection, tenant: TenantId) -> LogHead | None:
    row = connection.row(f"{_LOG} WHERE tenant = $1", (tenant,))
    return LogHead(*row) if row else None


def log_by_id(connection: Connection, log_id: str) -> LogHead | None:
    row = connection.row(f"{_LOG} /* every tenant: the id names one */ WHERE log_id = $1", (log_id,))
    return LogHead(*row) if row else None


def log_heads(connection: Connection) -> list[LogHead]:
    return [
        LogHead(*row)
        for row in connection.rows(f"{_LOG} /* every tenant: jobs serve all logs */ ORDER BY tenant_no")
    ]


def create_log(connection: Connection, *, tenant: TenantId, shard: int, log_id: str, origin: str) -> int:
    """Insert an empty log and return its number; numbers are dense from 1."""
    row = connection.row(
        "SELECT coalesce(max(tenant_no), 0) + 1 /* every tenant: the next number */ FROM logs"
    )
    number = int(row[0]) if row else 1
    connection.execute(
        """INSERT INTO logs(tenant_no, tenant, shard, size, recorded_us, log_id, origin)
           VALUES ($1, $2, $3, 0, 0, $4, $5)""",
        (number, tenant, shard, log_id, origin),
    )
    return number


def advance_log(connection: Connection, tenant_no: int, size: int, recorded_us: int) -> None:
    connection.execute(
        "UPDATE logs SET size = $1, recorded_us = $2 WHERE tenant_no = $3", (size, recorded_us, tenant_no)
    )


def last_record_id(connection: Connection, shard: int) -> bytes | None:
    """Return the greatest identifier given out in the shard, so that new ones follow it."""
    row = connection.row(
        "SELECT id /* every tenant: the shard's last */ FROM records WHERE shard = $1 ORDER BY sequence DESC LIMIT 1",
        (shard,),
    )
    return row[0] if row else None


_LAST_RECORD: Final = {
    "sqlite": """LEFT JOIN records r ON r.tenant_no = s.tenant_no AND r.stream_no = s.stream_no
         AND r.version = (SELECT max(x.version) FROM records x
                          WHERE x.tenant_no = s.tenant_no AND x.stream_no = s.stream_no)""",
    # One descent of the index instead of two: a third less time, and with several writers every group asks.
    "postgresql": """LEFT JOIN LATERAL (SELECT x.version, x.header FROM records x
         WHERE x.tenant_no = s.tenant_no AND x.stream_no = s.stream_no
         ORDER BY x.version DESC LIMIT 1) r ON true""",
}


def stream_heads(connection: Connection, tenant_no: int, names: Sequence[str]) -> dict[str, StreamHead]:
    """Return the heads of those named streams that exist; a head's hash comes from its last record's bytes."""
    heads: dict[str, StreamHead] = {}
    for condition, parameters in matching(connection, names):
        for stream_no, name, state, version, header in connection.rows(
            f"""SELECT s.stream_no, s.name, s.state, r.version, r.header FROM streams s
                {_LAST_RECORD[connection.dialect]}
                WHERE s.tenant_no = $1 AND s.name {condition}""",
            (tenant_no, *parameters),
        ):
            last_hash = None if header is None else sha256(unpack(header))
            heads[name] = StreamHead(stream_no, name, version or 0, last_hash, state)
    return heads


def idempotent_positions(
    connection: Connection, tenant_no: int, keys: Sequence[bytes]
) -> dict[bytes, tuple[bytes, int]]:
    """Return {key: (fingerprint, position)} for the keys already used."""
    found: dict[bytes, tuple[bytes, int]] = {}
    for condition, parameters in matching(connection, keys):
        for key, fingerprint, position in connection.rows(
            f"""SELECT key, fingerprint, position FROM idempotency
                WHERE tenant_no = $1 AND key {condition}""",
            (tenant_no, *parameters),
        ):
            found[key] = (fingerprint, position)
    return found


def set_stream_state(connection: Connection, tenant_no: int, name: str, state: str) -> None:
    connection.execute(
        "UPDATE streams SET state = $1 WHERE tenant_no = $2 AND name = $3", (state, tenant_no, name)
    )


def explain(connection: Connection, tenant_no: int, target: str, position: int) -> None:
    """Note that the record at `position` explains the absence of `target` (`record:<n>`, `subject:<hex>`)."""
    connection.execute(
        "INSERT INTO explanations(tenant_no, target, explained_by) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        (tenant_no, target, position),
    )


def explanations(connection: Connection, tenant_no: int, targets: Sequence[str]) -> dict[str, int]:
    """Return {target: position of the record that explains its absence} of those targets that are explained."""
    found: dict[str, int] = {}
    for target in targets:
        row = connection.row(
            "SELECT explained_by FROM explanations WHERE tenant_no = $1 AND target = $2", (tenant_no, target)
        )
        if row is not None:
            found[target] = row[0]
    return found
