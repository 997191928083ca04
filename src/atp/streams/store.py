"""The tables of the record store and every statement that touches them.

Write-once is enforced by the database itself: triggers refuse UPDATE, DELETE and REPLACE of records unless a
record that explains the absence exists (STR-04). Rows hold the compressed forms of engine.codec.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from atp.engine.codec import dictionary, unpack
from atp.engine.database import Connection, Dialect
from atp.kernel.hashing import sha256
from atp.kernel.ids import TenantId
from atp.streams.model import LogHead, StoredRecord, StreamHead

IN_CHUNK = 256
"""Names or keys looked up by one statement; padded to this size so that few statements are ever prepared."""

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

_COMMON = (
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

_TABLES = (
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

_EXPLAINED = """EXISTS (SELECT 1 FROM explanations e
        JOIN records r ON r.tenant_no = e.tenant_no AND r.position = e.explained_by
        WHERE e.tenant_no = OLD.tenant_no AND e.target = {target})"""
_RECORD_TARGET = "'record:' || CAST(OLD.position AS TEXT)"

_SQLITE_TRIGGERS = (
    "CREATE UNIQUE INDEX IF NOT EXISTS records_position ON records(tenant_no, position)",
    """CREATE TRIGGER IF NOT EXISTS records_keep BEFORE UPDATE ON records
        BEGIN SELECT RAISE(ABORT, 'records are write-once'); END""",
    f"""CREATE TRIGGER IF NOT EXISTS records_stay BEFORE DELETE ON records
        WHEN NOT {_EXPLAINED.format(target=_RECORD_TARGET)}
        BEGIN SELECT RAISE(ABORT, 'a record goes only after the record that explains it'); END""",
    """CREATE TRIGGER IF NOT EXISTS records_append BEFORE INSERT ON records
        WHEN NEW.sequence <= (SELECT max(sequence) FROM records)
          OR EXISTS (SELECT 1 FROM records WHERE tenant_no = NEW.tenant_no AND position = NEW.position)
          OR EXISTS (SELECT 1 FROM records WHERE tenant_no = NEW.tenant_no AND id = NEW.id)
          OR EXISTS (SELECT 1 FROM records
                     WHERE tenant_no = NEW.tenant_no AND stream_no = NEW.stream_no AND version = NEW.version)
        BEGIN SELECT RAISE(ABORT, 'records are appended, never replaced'); END""",
    """CREATE TRIGGER IF NOT EXISTS disclosures_keep BEFORE UPDATE ON disclosures
        BEGIN SELECT RAISE(ABORT, 'disclosures are write-once'); END""",
    f"""CREATE TRIGGER IF NOT EXISTS disclosures_stay BEFORE DELETE ON disclosures
        WHEN NOT {_EXPLAINED.format(target=_RECORD_TARGET)}
         AND EXISTS (SELECT 1 FROM subject_keys k WHERE k.tenant_no = OLD.tenant_no AND k.key_id = OLD.key_id)
        BEGIN SELECT RAISE(ABORT, 'a disclosure goes only after the record that explains it'); END""",
    f"""CREATE TRIGGER IF NOT EXISTS subject_keys_stay BEFORE DELETE ON subject_keys
        WHEN NOT {_EXPLAINED.format(target="'subject:' || lower(hex(OLD.ref))")}
        BEGIN SELECT RAISE(ABORT, 'a key is destroyed only after the record that explains it'); END""",
)

_POSTGRES_TRIGGERS = (
    "CREATE UNIQUE INDEX IF NOT EXISTS records_feed ON records(shard, sequence)",
    """CREATE OR REPLACE FUNCTION atp_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN RAISE EXCEPTION 'records are write-once'; END $$""",
    f"""CREATE OR REPLACE FUNCTION atp_record_explained() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
          IF NOT {_EXPLAINED.format(target=_RECORD_TARGET)} THEN
            RAISE EXCEPTION 'a record goes only after the record that explains it';
          END IF;
          RETURN OLD;
        END $$""",
    f"""CREATE OR REPLACE FUNCTION atp_disclosure_explained() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
          IF NOT {_EXPLAINED.format(target=_RECORD_TARGET)} AND EXISTS (
              SELECT 1 FROM subject_keys k WHERE k.tenant_no = OLD.tenant_no AND k.key_id = OLD.key_id) THEN
            RAISE EXCEPTION 'a disclosure goes only after the record that explains it';
          END IF;
          RETURN OLD;
        END $$""",
    f"""CREATE OR REPLACE FUNCTION atp_subject_explained() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
          IF NOT {_EXPLAINED.format(target="'subject:' || encode(OLD.ref, 'hex')")} THEN
            RAISE EXCEPTION 'a key is destroyed only after the record that explains it';
          END IF;
          RETURN OLD;
        END $$""",
    *(
        f"""CREATE OR REPLACE TRIGGER {table}_{name} BEFORE {event} ON {table} FOR EACH {each} EXECUTE FUNCTION {does}()"""
        for table, name, event, each, does in (
            ("records", "keep", "UPDATE", "ROW", "atp_refuse"),
            ("records", "whole", "TRUNCATE", "STATEMENT", "atp_refuse"),
            ("records", "stay", "DELETE", "ROW", "atp_record_explained"),
            ("disclosures", "keep", "UPDATE", "ROW", "atp_refuse"),
            ("disclosures", "whole", "TRUNCATE", "STATEMENT", "atp_refuse"),
            ("disclosures", "stay", "DELETE", "ROW", "atp_disclosure_explained"),
            ("subject_keys", "whole", "TRUNCATE", "STATEMENT", "atp_refuse"),
            ("subject_keys", "stay", "DELETE", "ROW", "atp_subject_explained"),
        )
    ),
)


def schema(dialect: Dialect) -> list[str]:
    """Return the statements that create what is not there yet, in order."""
    if dialect == "sqlite":
        parts = {"clustered": " STRICT, WITHOUT ROWID", "rowid": " PRIMARY KEY", "key": ""}
        own: Sequence[str] = _SQLITE_TRIGGERS
    else:
        parts = {"clustered": "", "rowid": "", "key": ", PRIMARY KEY (tenant_no, position)"}
        own = _POSTGRES_TRIGGERS
    return [*_COMMON, *(table.format(**parts) for table in _TABLES), *own]


# -- heads: read under the shard's lock --------------------------------------------------------------------


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
    row = connection.row(f"{_LOG} WHERE log_id = $1", (log_id,))
    return LogHead(*row) if row else None


def log_heads(connection: Connection) -> list[LogHead]:
    return [LogHead(*row) for row in connection.rows(f"{_LOG} ORDER BY tenant_no")]


def create_log(connection: Connection, *, tenant: TenantId, shard: int, log_id: str, origin: str) -> int:
    """Insert an empty log and return its number; numbers are dense from 1."""
    row = connection.row("SELECT coalesce(max(tenant_no), 0) + 1 FROM logs")
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
    row = connection.row("SELECT id FROM records WHERE shard = $1 ORDER BY sequence DESC LIMIT 1", (shard,))
    return row[0] if row else None


def _padded(values: Sequence[Any]) -> Iterator[list[Any]]:
    """Cut values into chunks of IN_CHUNK (or one), the last one filled up with repeats."""
    if len(values) == 1:
        yield list(values)
        return
    for start in range(0, len(values), IN_CHUNK):
        chunk = list(values[start : start + IN_CHUNK])
        yield chunk + [chunk[-1]] * (IN_CHUNK - len(chunk))


def _marks(first: int, count: int) -> str:
    return ",".join(f"${number}" for number in range(first, first + count))


def stream_heads(connection: Connection, tenant_no: int, names: Sequence[str]) -> dict[str, StreamHead]:
    """Return the heads of those named streams that exist; a head's hash comes from its last record's bytes."""
    heads: dict[str, StreamHead] = {}
    for chunk in _padded(names):
        for stream_no, name, state, version, header in connection.rows(
            f"""SELECT s.stream_no, s.name, s.state, r.version, r.header FROM streams s
                LEFT JOIN records r ON r.tenant_no = s.tenant_no AND r.stream_no = s.stream_no
                 AND r.version = (SELECT max(x.version) FROM records x
                                  WHERE x.tenant_no = s.tenant_no AND x.stream_no = s.stream_no)
                WHERE s.tenant_no = $1 AND s.name IN ({_marks(2, len(chunk))})""",
            (tenant_no, *chunk),
        ):
            last_hash = None if header is None else sha256(unpack(header))
            heads[name] = StreamHead(stream_no, name, version or 0, last_hash, state)
    return heads


def idempotent_positions(
    connection: Connection, tenant_no: int, keys: Sequence[bytes]
) -> dict[bytes, tuple[bytes, int]]:
    """Return {key: (fingerprint, position)} for the keys already used."""
    found: dict[bytes, tuple[bytes, int]] = {}
    for chunk in _padded(keys):
        for key, fingerprint, position in connection.rows(
            f"""SELECT key, fingerprint, position FROM idempotency
                WHERE tenant_no = $1 AND key IN ({_marks(2, len(chunk))})""",
            (tenant_no, *chunk),
        ):
            found[key] = (fingerprint, position)
    return found


def insert_subject_keys(connection: Connection, rows: Sequence[tuple[int, int, bytes, bytes]]) -> None:
    """Store subject keys that are not there yet; a key id is random, so the same id is the same key."""
    connection.many(
        "INSERT INTO subject_keys(tenant_no, key_id, ref, wrapped) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
        rows,
    )


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


# -- reading -----------------------------------------------------------------------------------------------

_RECORD = "SELECT sequence, tenant_no, position, stream_no, version, id, header, content FROM records"


def to_record(row: tuple[Any, ...]) -> StoredRecord:
    """Return a row as a record; raises CorruptValue when its stored bytes do not decode."""
    sequence, tenant_no, position, stream_no, version, id_, header, content = row
    return StoredRecord(
        sequence, tenant_no, position, stream_no, version, id_, unpack(header), unpack(content)
    )


def record_by_id(connection: Connection, tenant_no: int, id_: bytes) -> StoredRecord | None:
    row = connection.row(f"{_RECORD} WHERE tenant_no = $1 AND id = $2", (tenant_no, id_))
    return to_record(row) if row else None


def record_at(connection: Connection, tenant_no: int, position: int) -> StoredRecord | None:
    row = connection.row(f"{_RECORD} WHERE tenant_no = $1 AND position = $2", (tenant_no, position))
    return to_record(row) if row else None


def records_at(connection: Connection, tenant_no: int, positions: Sequence[int]) -> dict[int, StoredRecord]:
    found: dict[int, StoredRecord] = {}
    for chunk in _padded(positions) if positions else ():
        for row in connection.rows(
            f"{_RECORD} WHERE tenant_no = $1 AND position IN ({_marks(2, len(chunk))})", (tenant_no, *chunk)
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
        f"{_RECORD} WHERE shard = $1 AND sequence >= $2 ORDER BY sequence LIMIT $3", (shard, sequence, limit)
    )


def stream_row(connection: Connection, tenant_no: int, name: str) -> tuple[Any, ...] | None:
    return connection.row(
        "SELECT stream_no, name, state, created_us FROM streams WHERE tenant_no = $1 AND name = $2",
        (tenant_no, name),
    )


def boxes(connection: Connection, tenant_no: int, positions: Sequence[int]) -> list[tuple[int, int, bytes]]:
    """Return (position, key id, box) of the disclosures of those records."""
    found: list[tuple[int, int, bytes]] = []
    for chunk in _padded(positions) if positions else ():
        found += connection.rows(
            f"""SELECT position, key_id, box FROM disclosures
                WHERE tenant_no = $1 AND position IN ({_marks(2, len(chunk))})""",
            (tenant_no, *chunk),
        )
    return found


def subject_keys(
    connection: Connection, tenant_no: int, key_ids: Sequence[int]
) -> dict[int, tuple[bytes, bytes]]:
    """Return {key id: (subject ref, wrapped key)}."""
    found: dict[int, tuple[bytes, bytes]] = {}
    for chunk in _padded(key_ids) if key_ids else ():
        for key_id, ref, wrapped in connection.rows(
            f"""SELECT key_id, ref, wrapped FROM subject_keys
                WHERE tenant_no = $1 AND key_id IN ({_marks(2, len(chunk))})""",
            (tenant_no, *chunk),
        ):
            found[key_id] = (ref, wrapped)
    return found


def keys_of_subjects(
    connection: Connection, tenant_no: int, refs: Sequence[bytes]
) -> dict[bytes, tuple[int, bytes]]:
    """Return {subject ref: (key id, wrapped key)}, one key where a subject has several."""
    found: dict[bytes, tuple[int, bytes]] = {}
    for chunk in _padded(refs) if refs else ():
        for ref, key_id, wrapped in connection.rows(
            f"SELECT ref, key_id, wrapped FROM subject_keys WHERE tenant_no = $1 AND ref IN ({_marks(2, len(chunk))})",
            (tenant_no, *chunk),
        ):
            found[ref] = (key_id, wrapped)
    return found


def subject_keys_after(
    connection: Connection, tenant_no: int, key_id: int, limit: int
) -> list[tuple[int, bytes, bytes]]:
    """Return (key id, subject ref, wrapped key) in order of key id."""
    return connection.rows(
        """SELECT key_id, ref, wrapped FROM subject_keys
           WHERE tenant_no = $1 AND key_id > $2 ORDER BY key_id LIMIT $3""",
        (tenant_no, key_id, limit),
    )


def replace_subject_key(connection: Connection, tenant_no: int, key_id: int, wrapped: bytes) -> None:
    """Store a subject key under another wrapping; the key itself stays the same."""
    connection.execute(
        "UPDATE subject_keys SET wrapped = $1 WHERE tenant_no = $2 AND key_id = $3",
        (wrapped, tenant_no, key_id),
    )


def destroy_subject(connection: Connection, tenant_no: int, ref: bytes) -> int:
    """Delete a subject's keys and the disclosures under them; the explaining record must exist already."""
    keys = connection.execute("DELETE FROM subject_keys WHERE tenant_no = $1 AND ref = $2", (tenant_no, ref))
    return keys


def tenant_keys(connection: Connection, tenant_no: int) -> list[tuple[str, int, bytes]]:
    return connection.rows(
        "SELECT purpose, version, wrapped FROM tenant_keys WHERE tenant_no = $1 ORDER BY purpose, version",
        (tenant_no,),
    )


def insert_tenant_key(
    connection: Connection, tenant_no: int, purpose: str, version: int, wrapped: bytes, created_us: int
) -> None:
    connection.execute(
        """INSERT INTO tenant_keys(tenant_no, purpose, version, wrapped, created_us) VALUES ($1, $2, $3, $4, $5)""",
        (tenant_no, purpose, version, wrapped, created_us),
    )


def replace_tenant_key(
    connection: Connection, tenant_no: int, purpose: str, version: int, wrapped: bytes
) -> None:
    """Store a tenant key under another wrapping; the key itself stays the same."""
    connection.execute(
        "UPDATE tenant_keys SET wrapped = $1 WHERE tenant_no = $2 AND purpose = $3 AND version = $4",
        (wrapped, tenant_no, purpose, version),
    )
