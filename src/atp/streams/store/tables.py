"""The tables of the record store, as both engines create them.

Rows hold the compressed forms of engine.codec. The tenant comes first in every key, so that a distributed
PostgreSQL can place whole tenants (STR-09).
"""

from __future__ import annotations

from typing import Final

from atp.engine.database import Dialect
from atp.streams.store.triggers import POSTGRES_TRIGGERS, SQLITE_TRIGGERS

RECORD_COLUMNS = (
    "shard",
    "sequence",
    "tenant_no",
    "position",
    "stream_no",
    "version",
    "id",
    "header",
    "content",
)
DISCLOSURE_COLUMNS = ("tenant_no", "position", "key_id", "box")
IDEMPOTENCY_COLUMNS = ("tenant_no", "key", "fingerprint", "position")
STREAM_COLUMNS = ("tenant_no", "stream_no", "name", "state", "created_us")
SUBJECT_KEY_COLUMNS = ("tenant_no", "key_id", "ref", "wrapped")

_COMMON: Final = (
    """CREATE TABLE IF NOT EXISTS shards(
        shard BIGINT PRIMARY KEY, next_sequence BIGINT NOT NULL, next_stream BIGINT NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS logs(
        tenant_no BIGINT PRIMARY KEY, tenant TEXT NOT NULL UNIQUE, shard BIGINT NOT NULL, size BIGINT NOT NULL,
        recorded_us BIGINT NOT NULL, log_id TEXT NOT NULL UNIQUE, origin TEXT NOT NULL UNIQUE)""",
    """CREATE TABLE IF NOT EXISTS dictionaries(
        codec BIGINT PRIMARY KEY, dictionary BYTEA NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS tenant_keys(
        tenant_no BIGINT NOT NULL, purpose TEXT NOT NULL, version BIGINT NOT NULL, wrapped BYTEA NOT NULL,
        created_us BIGINT NOT NULL, PRIMARY KEY (tenant_no, purpose, version))""",
    """CREATE TABLE IF NOT EXISTS explanations(
        tenant_no BIGINT NOT NULL, target TEXT NOT NULL, explained_by BIGINT NOT NULL,
        PRIMARY KEY (tenant_no, target))""",
)

_TABLES: Final = (
    """CREATE TABLE IF NOT EXISTS streams(
        tenant_no BIGINT NOT NULL, stream_no BIGINT NOT NULL, name TEXT NOT NULL, state TEXT NOT NULL,
        created_us BIGINT NOT NULL, PRIMARY KEY (tenant_no, name)){clustered}""",
    """CREATE TABLE IF NOT EXISTS records(
        shard BIGINT NOT NULL, sequence BIGINT NOT NULL{rowid}, tenant_no BIGINT NOT NULL,
        position BIGINT NOT NULL, stream_no BIGINT NOT NULL, version BIGINT NOT NULL,
        id BYTEA NOT NULL, header BYTEA NOT NULL, content BYTEA NOT NULL{key})""",
    "CREATE UNIQUE INDEX IF NOT EXISTS records_id ON records(tenant_no, id)",
    "CREATE UNIQUE INDEX IF NOT EXISTS records_stream ON records(tenant_no, stream_no, version)",
    """CREATE TABLE IF NOT EXISTS disclosures(
        tenant_no BIGINT NOT NULL, position BIGINT NOT NULL, key_id BIGINT NOT NULL, box BYTEA NOT NULL,
        PRIMARY KEY (tenant_no, position, key_id)){clustered}""",
    """CREATE TABLE IF NOT EXISTS subject_keys(
        tenant_no BIGINT NOT NULL, key_id BIGINT NOT NULL, ref BYTEA NOT NULL, wrapped BYTEA NOT NULL,
        PRIMARY KEY (tenant_no, key_id)){clustered}""",
    "CREATE INDEX IF NOT EXISTS subject_keys_ref ON subject_keys(tenant_no, ref)",
    """CREATE TABLE IF NOT EXISTS idempotency(
        tenant_no BIGINT NOT NULL, key BYTEA NOT NULL, fingerprint BYTEA NOT NULL, position BIGINT NOT NULL,
        PRIMARY KEY (tenant_no, key)){clustered}""",
)


_SQLITE_INDEXES: Final = (
    "CREATE UNIQUE INDEX IF NOT EXISTS records_position ON records(tenant_no, position)",
)
_POSTGRES_INDEXES: Final = ("CREATE UNIQUE INDEX IF NOT EXISTS records_feed ON records(shard, sequence)",)


def schema(dialect: Dialect) -> list[str]:
    """Return the statements that create what is not there yet, in order."""
    if dialect == "sqlite":
        parts = {"clustered": " STRICT, WITHOUT ROWID", "rowid": " PRIMARY KEY", "key": ""}
        own = (*_SQLITE_INDEXES, *SQLITE_TRIGGERS)
    else:
        parts = {"clustered": "", "rowid": "", "key": ", PRIMARY KEY (tenant_no, position)"}
        own = (*_POSTGRES_INDEXES, *POSTGRES_TRIGGERS)
    return [*_COMMON, *(table.format(**parts) for table in _TABLES), *own]
