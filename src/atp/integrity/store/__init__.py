"""The tables of integrity and every statement that touches them."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from atp.engine.database import Connection
from atp.integrity.model import Checkpoint, LogKey, TreeState, Verification

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Verification).decode

SCHEMA: Sequence[str] = (
    """CREATE TABLE IF NOT EXISTS integration(
        shard BIGINT PRIMARY KEY, next_sequence BIGINT NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS trees(
        tenant_no BIGINT PRIMARY KEY, size BIGINT NOT NULL, root BYTEA NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS tiles(
        tenant_no BIGINT NOT NULL, level BIGINT NOT NULL, idx BIGINT NOT NULL, hashes BYTEA NOT NULL,
        PRIMARY KEY (tenant_no, level, idx))""",
    """CREATE TABLE IF NOT EXISTS checkpoints(
        tenant_no BIGINT PRIMARY KEY, size BIGINT NOT NULL, root BYTEA NOT NULL, signed_us BIGINT NOT NULL,
        note BYTEA NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS log_keys(
        tenant_no BIGINT NOT NULL, key_id TEXT NOT NULL, algorithm TEXT NOT NULL, public BYTEA NOT NULL,
        wrapped BYTEA NOT NULL, valid_from_us BIGINT NOT NULL, valid_until_us BIGINT,
        PRIMARY KEY (tenant_no, key_id))""",
    """CREATE TABLE IF NOT EXISTS verifications(
        tenant_no BIGINT NOT NULL, id TEXT NOT NULL, status TEXT NOT NULL, updated_us BIGINT NOT NULL,
        state BYTEA NOT NULL, PRIMARY KEY (tenant_no, id))""",
    """CREATE INDEX IF NOT EXISTS verifications_open ON verifications(status)
        WHERE status IN ('queued', 'running')""",
)


def next_sequence(connection: Connection, shard: int) -> int:
    """Return the first sequence that is not in the trees yet."""
    row = connection.row("SELECT next_sequence FROM integration WHERE shard = $1", (shard,))
    return row[0] if row else 0


def advance(connection: Connection, shard: int, expected: int, sequence: int) -> bool:
    """Move the integration's cursor if it still stands at `expected`; tell whether it did."""
    connection.execute(
        "INSERT INTO integration(shard, next_sequence) VALUES ($1, 0) ON CONFLICT DO NOTHING", (shard,)
    )
    return (
        connection.execute(
            "UPDATE integration SET next_sequence = $1 WHERE shard = $2 AND next_sequence = $3",
            (sequence, shard, expected),
        )
        == 1
    )


def tree(connection: Connection, tenant_no: int) -> TreeState | None:
    row = connection.row("SELECT size, root FROM trees WHERE tenant_no = $1", (tenant_no,))
    return TreeState(*row) if row else None


def put_tree(connection: Connection, tenant_no: int, state: TreeState) -> None:
    connection.execute(
        """INSERT INTO trees(tenant_no, size, root) VALUES ($1, $2, $3)
           ON CONFLICT (tenant_no) DO UPDATE SET size = excluded.size, root = excluded.root""",
        (tenant_no, state.size, state.root),
    )


def tile(connection: Connection, tenant_no: int, level: int, index: int) -> bytes | None:
    """Return a tile's hashes (a bundle's entries under level -1), full or as far as it goes."""
    row = connection.row(
        "SELECT hashes FROM tiles WHERE tenant_no = $1 AND level = $2 AND idx = $3", (tenant_no, level, index)
    )
    return row[0] if row else None


def put_tiles(connection: Connection, tenant_no: int, tiles: dict[tuple[int, int], bytes]) -> None:
    connection.many(
        """INSERT INTO tiles(tenant_no, level, idx, hashes) VALUES ($1, $2, $3, $4)
           ON CONFLICT (tenant_no, level, idx) DO UPDATE SET hashes = excluded.hashes""",
        [(tenant_no, level, index, hashes) for (level, index), hashes in tiles.items()],
    )


def checkpoint(connection: Connection, tenant_no: int) -> Checkpoint | None:
    """Return the latest signed checkpoint of a log."""
    row = connection.row(
        "SELECT size, root, signed_us, note FROM checkpoints WHERE tenant_no = $1", (tenant_no,)
    )
    return Checkpoint(*row) if row else None


def put_checkpoint(connection: Connection, tenant_no: int, new: Checkpoint) -> bool:
    """Store a checkpoint unless one of the same or a larger size is there; tell whether it was stored.

    The condition is the compare-and-set of design section 6: two roots for one size cannot both be stored. A
    new signature over the same size and root (after a key rotation) is let through.
    """
    return (
        connection.execute(
            """INSERT INTO checkpoints(tenant_no, size, root, signed_us, note) VALUES ($1, $2, $3, $4, $5)
           ON CONFLICT (tenant_no) DO UPDATE
             SET size = excluded.size, root = excluded.root, signed_us = excluded.signed_us, note = excluded.note
           WHERE checkpoints.size < excluded.size
              OR (checkpoints.size = excluded.size AND checkpoints.root = excluded.root)""",
            (tenant_no, new.size, new.root, new.signed_us, new.note),
        )
        == 1
    )


_KEY = "SELECT key_id, algorithm, public, wrapped, valid_from_us, valid_until_us FROM log_keys"


def keys(connection: Connection, tenant_no: int) -> list[LogKey]:
    """Return all keys a log ever had, newest first."""
    return [
        LogKey(*row)
        for row in connection.rows(
            f"{_KEY} WHERE tenant_no = $1 ORDER BY valid_from_us DESC, algorithm", (tenant_no,)
        )
    ]


def insert_key(connection: Connection, tenant_no: int, key: LogKey) -> None:
    connection.execute(
        """INSERT INTO log_keys(tenant_no, key_id, algorithm, public, wrapped, valid_from_us, valid_until_us)
           VALUES ($1, $2, $3, $4, $5, $6, $7)""",
        (
            tenant_no,
            key.key_id,
            key.algorithm,
            key.public,
            key.wrapped,
            key.valid_from_us,
            key.valid_until_us,
        ),
    )


def retire_keys(connection: Connection, tenant_no: int, until_us: int) -> None:
    """Let the keys in use end at `until_us`."""
    connection.execute(
        "UPDATE log_keys SET valid_until_us = $1 WHERE tenant_no = $2 AND valid_until_us IS NULL",
        (until_us, tenant_no),
    )


def lock_keys(connection: Connection, shard: int) -> None:
    """Let one transaction at a time make or rotate keys; a single writer needs no lock."""
    if connection.dialect == "postgresql":
        connection.execute(
            "INSERT INTO integration(shard, next_sequence) VALUES ($1, 0) ON CONFLICT DO NOTHING", (shard,)
        )
        connection.row("SELECT next_sequence FROM integration WHERE shard = $1 FOR UPDATE", (shard,))


def put_verification(
    connection: Connection, tenant_no: int, verification: Verification, updated_us: int
) -> None:
    """Store a verification; `updated_us` is its sign of life."""
    connection.execute(
        """INSERT INTO verifications(tenant_no, id, status, updated_us, state) VALUES ($1, $2, $3, $4, $5)
           ON CONFLICT (tenant_no, id) DO UPDATE
             SET status = excluded.status, updated_us = excluded.updated_us, state = excluded.state""",
        (tenant_no, verification.id, verification.status, updated_us, _encode(verification)),
    )


def claim_verification(connection: Connection, tenant_no: int, id_: str, updated_us: int) -> bool:
    """Mark a queued verification as running; tell whether it was still queued."""
    return (
        connection.execute(
            """UPDATE verifications SET status = 'running', updated_us = $1
           WHERE tenant_no = $2 AND id = $3 AND status = 'queued'""",
            (updated_us, tenant_no, id_),
        )
        == 1
    )


def open_verifications(connection: Connection) -> list[tuple[int, Verification, int]]:
    """Return (tenant number, verification, last sign of life) of those that have not ended, oldest first."""
    return [
        (tenant_no, _decode(state), updated_us)
        for tenant_no, state, updated_us in connection.rows(
            """SELECT /* every tenant: one runner serves all */ tenant_no, state, updated_us FROM verifications
               WHERE status IN ('queued', 'running') ORDER BY id"""
        )
    ]


def verification(connection: Connection, tenant_no: int, id_: str) -> Verification | None:
    row = connection.row("SELECT state FROM verifications WHERE tenant_no = $1 AND id = $2", (tenant_no, id_))
    return _decode(row[0]) if row else None


def verifications(connection: Connection, tenant_no: int, *, before: str, limit: int) -> list[Verification]:
    """Return verifications, newest first, with an id below `before`."""
    return [
        _decode(row[0])
        for row in connection.rows(
            "SELECT state FROM verifications WHERE tenant_no = $1 AND id < $2 ORDER BY id DESC LIMIT $3",
            (tenant_no, before, limit),
        )
    ]


def last_ended(connection: Connection, tenant_no: int) -> Verification | None:
    """Return the latest verification that came to a result."""
    row = connection.row(
        """SELECT state FROM verifications WHERE tenant_no = $1 AND status IN ('verified', 'failed')
           ORDER BY id DESC LIMIT 1""",
        (tenant_no,),
    )
    return _decode(row[0]) if row else None


def last_of_log(connection: Connection, tenant_no: int) -> Verification | None:
    """Return the latest verification of the whole log, however it ended."""
    for row in connection.stream(
        "SELECT state FROM verifications WHERE tenant_no = $1 ORDER BY id DESC", (tenant_no,)
    ):
        found = _decode(row[0])
        if found.target.scope == "log":
            return found
    return None
