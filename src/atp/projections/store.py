"""Checkpoints of projections and the records they could not take, in the database of the projection itself.

The checkpoint moves in the transaction that writes the rows, so that a crash repeats a batch whole or not at
all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from atp.engine.database import Connection
from atp.projections.model import Overtaken, Parked

SCHEMA = (
    """CREATE TABLE IF NOT EXISTS projection_heads(
        name TEXT NOT NULL, shard BIGINT NOT NULL, next_sequence BIGINT NOT NULL, PRIMARY KEY (name, shard))""",
    """CREATE TABLE IF NOT EXISTS projection_reached(
        name TEXT NOT NULL, tenant_no BIGINT NOT NULL, position BIGINT NOT NULL, PRIMARY KEY (name, tenant_no))""",
    """CREATE TABLE IF NOT EXISTS projection_parked(
        name TEXT NOT NULL, shard BIGINT NOT NULL, sequence BIGINT NOT NULL, tenant_no BIGINT NOT NULL,
        position BIGINT NOT NULL, reason TEXT NOT NULL, PRIMARY KEY (name, shard, sequence))""",
)


def next_sequence(connection: Connection, name: str, shard: int) -> int:
    """Return the first sequence that was not projected yet."""
    row = connection.row(
        "SELECT next_sequence FROM projection_heads WHERE name = $1 AND shard = $2", (name, shard)
    )
    return int(row[0]) if row else 0


def advance(connection: Connection, name: str, shard: int, *, start: int, end: int) -> None:
    """Move the checkpoint from `start` to `end`; raises Overtaken when it is not at `start`.

    First statement of the transaction: on PostgreSQL the row is thereby locked, so of two processes with
    the same batch the second does no work.
    """
    connection.execute(
        """INSERT INTO projection_heads(name, shard, next_sequence) VALUES ($1, $2, 0)
           ON CONFLICT DO NOTHING""",
        (name, shard),
    )
    changed = connection.execute(
        """UPDATE projection_heads SET next_sequence = $1
           WHERE name = $2 AND shard = $3 AND next_sequence = $4""",
        (end, name, shard, start),
    )
    if changed != 1:
        raise Overtaken


def reach(connection: Connection, name: str, positions: Mapping[int, int]) -> None:
    """Note the last position seen of each tenant, projected or parked."""
    connection.many(
        """INSERT INTO projection_reached(name, tenant_no, position) VALUES ($1, $2, $3)
           ON CONFLICT (name, tenant_no) DO UPDATE SET position = excluded.position""",
        [(name, tenant_no, position) for tenant_no, position in positions.items()],
    )


def reached(connection: Connection, name: str, tenant_no: int) -> int | None:
    """Return the last position of the tenant that was seen, None before the first."""
    row = connection.row(
        "SELECT position FROM projection_reached WHERE name = $1 AND tenant_no = $2", (name, tenant_no)
    )
    return int(row[0]) if row else None


def park(connection: Connection, name: str, shard: int, parked: Sequence[Parked]) -> None:
    """Keep what could not be projected, so that it can be looked into and tried again."""
    connection.many(
        """INSERT INTO projection_parked(name, shard, sequence, tenant_no, position, reason)
           VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING""",
        [(name, shard, item.sequence, item.tenant_no, item.position, item.reason) for item in parked],
    )


def parked(connection: Connection, name: str, shard: int, limit: int) -> list[Parked]:
    """Return parked records in feed order, of all tenants."""
    rows = connection.rows(
        """/* every tenant: it is the operator who looks at what was parked */
           SELECT sequence, tenant_no, position, reason FROM projection_parked
           WHERE name = $1 AND shard = $2 ORDER BY sequence LIMIT $3""",
        (name, shard, limit),
    )
    return [Parked(*row) for row in rows]
