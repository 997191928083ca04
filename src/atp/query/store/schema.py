"""The search model's tables: one narrow row per record, shapes, and the index of words.

Strings of few values are one number, the *shape*; identifiers are keys (short digests), so a row has no text
at all and each index answers a search alone. Words lie in the engine's own full-text index.
"""

from __future__ import annotations

from typing import Final

from atp.engine.database import Dialect
from atp.kernel.hashing import sha256

POSITION_BITS: Final = 40
"""SQLite's full-text index knows rows by one number: the tenant's number above, the position below."""
KEY_BITS: Final = 47
"""Bits of an identifier's key: six bytes on disk. Two identifiers with one key cost a check, never a result."""

EVENT_COLUMNS: Final = ("tenant_no", "position", "shape", "actor", "resource", "stream_no", "occurred_us")

_TABLES = (
    """CREATE TABLE IF NOT EXISTS shapes(
        tenant_no BIGINT NOT NULL, shape BIGINT NOT NULL, digest BYTEA NOT NULL, records BIGINT NOT NULL,
        kind TEXT NOT NULL, type TEXT NOT NULL, actor_type TEXT NOT NULL, action TEXT NOT NULL,
        category TEXT, resource_type TEXT NOT NULL, outcome TEXT NOT NULL, level TEXT NOT NULL,
        PRIMARY KEY (tenant_no, shape), UNIQUE (tenant_no, digest))""",
    """CREATE TABLE IF NOT EXISTS events(
        tenant_no BIGINT NOT NULL, position BIGINT NOT NULL, shape BIGINT NOT NULL, actor BIGINT NOT NULL,
        resource BIGINT NOT NULL, stream_no BIGINT NOT NULL, occurred_us BIGINT NOT NULL,
        PRIMARY KEY (tenant_no, position)){clustered}""",
    # Times of recording never decrease, so the first position of each is all that a range of them needs.
    """CREATE TABLE IF NOT EXISTS moments(
        tenant_no BIGINT NOT NULL, recorded_us BIGINT NOT NULL, position BIGINT NOT NULL,
        PRIMARY KEY (tenant_no, recorded_us)){clustered}""",
    # Each index begins with what it finds, goes on with the order, and ends with what else may be asked,
    # so that a range of it is a whole search.
    "CREATE INDEX IF NOT EXISTS events_shape ON events(tenant_no, shape, position, actor, resource)",
    "CREATE INDEX IF NOT EXISTS events_actor ON events(tenant_no, actor, position, shape, resource)",
    "CREATE INDEX IF NOT EXISTS events_resource ON events(tenant_no, resource, position, shape, actor)",
    "CREATE INDEX IF NOT EXISTS events_stream ON events(tenant_no, stream_no, position)",
    """CREATE INDEX IF NOT EXISTS events_occurred
        ON events(tenant_no, occurred_us, position, shape, actor, resource)""",
)
# Contentless: the index alone, the text is in the record. detail=full keeps places, for words side by side.
_SQLITE_WORDS = (
    """CREATE VIRTUAL TABLE IF NOT EXISTS words
        USING fts5(text, content='', columnsize=0, detail=full, tokenize='ascii')""",
    # Wider pages and rarer merges halve what a word costs to insert; a search opens a few more segments for it.
    "INSERT INTO words(words, rank) VALUES ('pgsz', 8000)",
    "INSERT INTO words(words, rank) VALUES ('crisismerge', 32)",
    "INSERT INTO words(words, rank) VALUES ('automerge', 16)",
)
_POSTGRES_WORDS = (
    """CREATE TABLE IF NOT EXISTS words(
        tenant_no BIGINT NOT NULL, position BIGINT NOT NULL, words TSVECTOR NOT NULL,
        PRIMARY KEY (tenant_no, position))""",
    "CREATE INDEX IF NOT EXISTS words_words ON words USING gin(words)",
)


def schema(dialect: Dialect) -> list[str]:
    """Return the statements that create what is not there yet, in order."""
    if dialect == "sqlite":
        return [*(table.format(clustered=" STRICT, WITHOUT ROWID") for table in _TABLES), *_SQLITE_WORDS]
    return [*(table.format(clustered="") for table in _TABLES), *_POSTGRES_WORDS]


def key(identifier: str) -> int:
    """Return the key under which an identifier is indexed."""
    return int.from_bytes(sha256(identifier.encode())[:6], "big") >> (48 - KEY_BITS)
