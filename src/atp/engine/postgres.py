"""The server engine: PostgreSQL through psycopg 3, for any number of processes on one database.

Each process has one writer thread with one connection; order between processes comes from the row lock that a
write takes first (`streams.store.lock_shard`), so READ COMMITTED is enough. Readers have connections of their
own, read-only, one snapshot a call. Settings that acknowledge before the disk does are refused at start.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from struct import Struct
from typing import Any, Final, NoReturn

import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import Dumper
from psycopg.conninfo import conninfo_to_dict
from psycopg.pq import Format
from psycopg.types.numeric import Int8BinaryDumper, NumericBinaryLoader
from psycopg.types.string import BytesBinaryDumper

from atp.engine.database import (
    CommitUncertain,
    Connection,
    Dialect,
    SqlValue,
    StorageUnavailable,
    T,
    UnsafeDatabase,
    WriteRefused,
)
from atp.engine.readers import Readers
from atp.engine.writer import Writer

READERS: Final = 4
"""Reader threads, each with its connection: as in the embedded engine, and few beside a server's usual 100."""
VERSION_MIN: Final = 140_000
"""PostgreSQL 14, the oldest release with CREATE OR REPLACE TRIGGER."""
STATEMENT_SECONDS: Final = 30
"""A statement that runs longer is cancelled, so that no request waits for ever."""
LOCK_SECONDS: Final = 10
"""Longest wait for the shard's lock; behind a writer that hangs, refusing is better than queueing."""
IDLE_TRANSACTION_SECONDS: Final = 60
"""A writer that stops inside a transaction (a suspended process) loses its locks after this time."""
CONNECT_SECONDS: Final = 5
STREAM_ROWS: Final = 500
"""Rows fetched at a time while streaming."""
SCHEMA_LOCK: Final = 0x6174_7073_6368
"""Advisory lock under which one process at a time creates tables; the number spells `atpsch`."""

_CONNECTION_DEFAULTS: Final = {
    "connect_timeout": CONNECT_SECONDS,
    "application_name": "atp",
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
_SESSION = f"""
    SET statement_timeout = '{STATEMENT_SECONDS}s';
    SET lock_timeout = '{LOCK_SECONDS}s';
    SET idle_in_transaction_session_timeout = '{IDLE_TRANSACTION_SECONDS}s';
    SET client_encoding = 'UTF8';
    SET jit = off;
"""
_DURABLE = """RESET synchronous_commit;
    SELECT set_config('synchronous_commit', 'on', false)
        WHERE current_setting('synchronous_commit') <> 'remote_apply';
"""
_WRITER_SESSION = f"""{_SESSION}
    SET default_transaction_isolation = 'read committed';
    {_DURABLE}
    /* Every look-up of a writer is by key; statistics of a table that was empty a moment ago say otherwise. */
    SET enable_seqscan = off;
"""
_READER_SESSION = f"""{_SESSION}
    SET default_transaction_isolation = 'repeatable read';
    SET default_transaction_read_only = on;
"""
_SAFETY = """SELECT current_setting('server_version_num')::int8, current_setting('server_encoding'),
    current_setting('fsync'), current_setting('full_page_writes'), current_setting('synchronous_commit'),
    current_setting('transaction_read_only')"""


class _PlainNumberLoader(NumericBinaryLoader):
    """Returns int or float where PostgreSQL widens a sum to numeric, so that both engines give the same types."""

    def load(self, data: Buffer) -> Any:
        value = super().load(data)
        return int(value) if value == value.to_integral_value() else float(value)


class _Array(bytes):
    """A one-dimensional array in PostgreSQL's binary form; a list of a thousand keys costs psycopg 6 µs a key."""


class _BigintArray(_Array):
    oid = 1016
    element_oid = 20


class _ByteaArray(_Array):
    oid = 1001
    element_oid = 17


class _TextArray(_Array):
    oid = 1009
    element_oid = 25


class _ArrayDumper(Dumper):
    format = Format.BINARY

    def __init__(self, cls: type[_BigintArray | _ByteaArray | _TextArray], context: Any = None) -> None:
        super().__init__(cls, context)
        self.oid = cls.oid

    def dump(self, obj: bytes) -> bytes:
        return obj


_ARRAY_HEAD = Struct("!iiIii")
"""Dimensions, has nulls, element type, length, lower bound (src/include/utils/array.h, array_send)."""
_LENGTH = Struct("!i")
_BIGINT = Struct("!iq")


def _array(values: Sequence[Any]) -> _Array:
    """Return keys, all of one type, as an array parameter."""
    if isinstance(values[0], int):
        kind: type[_BigintArray | _ByteaArray | _TextArray] = _BigintArray
        parts = [_BIGINT.pack(8, value) for value in values]
    else:
        kind = _TextArray if isinstance(values[0], str) else _ByteaArray
        raws = [value.encode() for value in values] if kind is _TextArray else values
        parts = [part for raw in raws for part in (_LENGTH.pack(len(raw)), raw)]
    return kind(_ARRAY_HEAD.pack(1, 0, kind.element_oid, len(values), 1) + b"".join(parts))


class PostgresConnection:
    """A `Connection` over psycopg; used by one thread at a time."""

    dialect: Dialect = "postgresql"

    def __init__(self, raw: psycopg.Connection[tuple[Any, ...]]) -> None:
        self.raw = raw
        self._column_types: dict[tuple[str, tuple[str, ...]], list[int]] = {}
        self._cursor_numbers = itertools.count()

    def rows(self, sql: str, params: Sequence[SqlValue] = ()) -> list[tuple[Any, ...]]:
        return self._run(sql, params).fetchall()

    def row(self, sql: str, params: Sequence[SqlValue] = ()) -> tuple[Any, ...] | None:
        return self._run(sql, params).fetchone()

    def stream(self, sql: str, params: Sequence[SqlValue] = ()) -> Iterator[tuple[Any, ...]]:
        """Yield rows through a server-side cursor; one left unfinished ends with its transaction."""
        name = f"atp_stream_{next(self._cursor_numbers)}"
        self._run(f"DECLARE {name} NO SCROLL CURSOR FOR {sql}", params)
        while rows := self._run(f"FETCH {STREAM_ROWS} FROM {name}").fetchall():
            yield from rows
        self._run(f"CLOSE {name}")

    def execute(self, sql: str, params: Sequence[SqlValue] = ()) -> int:
        return max(0, self._run(sql, params).rowcount)

    def many(self, sql: str, rows: Iterable[Sequence[SqlValue]]) -> None:
        self.raw.cursor().executemany(sql.encode(), rows)

    def insert(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[SqlValue]]) -> None:
        """Insert rows by a binary COPY."""
        if not rows:
            return
        names = tuple(columns)
        types = self._types(table, names)
        statement = f"COPY {table}({','.join(names)}) FROM STDIN (FORMAT BINARY)"
        with self.raw.cursor().copy(statement.encode()) as copy:
            copy.set_types(types)
            for row in rows:
                copy.write_row(row)

    def _run(self, sql: str, params: Sequence[Any] = ()) -> psycopg.Cursor[tuple[Any, ...]]:
        values = [_array(value) if isinstance(value, list) else value for value in params]
        return self.raw.execute(sql.encode(), values, binary=True)

    def _types(self, table: str, columns: tuple[str, ...]) -> list[int]:
        """Return the columns' type oids, which a binary COPY must hit exactly."""
        types = self._column_types.get((table, columns))
        if types is None:
            known = dict(
                self.rows(
                    "SELECT attname::text, atttypid::int8 FROM pg_attribute WHERE attrelid = $1::text::regclass",
                    (table,),
                )
            )
            types = self._column_types[table, columns] = [known[column] for column in columns]
        return types


class PostgresDatabase:
    """A `Database` on a PostgreSQL server.

    State: `_connection` and `_warning` belong to the writer thread.

    A connection lost before COMMIT was sent has committed nothing: the work fails with StorageUnavailable. One
    lost while COMMIT was under way raises CommitUncertain: the caller must look (by idempotency key) before it
    repeats. Neither is retried here, because only the caller knows whether repeating is safe.
    """

    dialect: Dialect = "postgresql"

    def __init__(self, url: str, *, schema: Sequence[str] = ()) -> None:
        """Connect and apply `schema`; raises UnsafeDatabase and StorageUnavailable."""
        self._parameters = {**_CONNECTION_DEFAULTS, **conninfo_to_dict(url)}
        self._warning: str | None = None
        self._connection: PostgresConnection | None = None
        try:
            self._connection = self._open_writer()
            _apply(self._connection, schema)
            check_safety(self._connection)
        except psycopg.Error as error:
            self._drop_writer()
            raise StorageUnavailable(f"cannot use the PostgreSQL server: {_name(error)}") from error
        except BaseException:
            self._drop_writer()
            raise
        self._readers = Readers(
            READERS,
            lambda: self._open(_READER_SESSION),
            errors=psycopg.Error,
            fail=lambda error: _raise(error, "read"),
        )
        self._writer = Writer("atp-write-postgres", self._transact, self._drop_writer)

    def _open(self, session: str) -> PostgresConnection:
        raw = psycopg.Connection.connect(
            **self._parameters,  # type: ignore[arg-type]
            autocommit=True,
            cursor_factory=psycopg.RawCursor,
        )
        try:
            raw.adapters.register_dumper(int, Int8BinaryDumper)
            raw.adapters.register_dumper(bytes, BytesBinaryDumper)  # Last, so that COPY takes it for bytea.
            for kind in (_BigintArray, _ByteaArray, _TextArray):
                raw.adapters.register_dumper(kind, _ArrayDumper)
            raw.adapters.register_loader("numeric", _PlainNumberLoader)
            raw.execute(session.encode(), None)
        except BaseException:
            raw.close()
            raise
        return PostgresConnection(raw)

    def _open_writer(self) -> PostgresConnection:
        connection = self._open(_WRITER_SESSION)
        try:
            check_safety(connection)
        except BaseException:
            connection.raw.close()
            raise
        connection.raw.add_notice_handler(self._noticed)
        return connection

    def _noticed(self, diagnostic: psycopg.errors.Diagnostic) -> None:
        if diagnostic.severity_nonlocalized == "WARNING":
            self._warning = diagnostic.message_primary

    def _drop_writer(self) -> None:
        if self._connection is not None:
            self._connection.raw.close()
            self._connection = None

    # -- writing: one thread, one transaction per piece of work --------------------------------------------

    def write(self, work: Callable[[Connection], T]) -> Future[T]:
        return self._writer.submit(work)

    def write_now(self, work: Callable[[Connection], T]) -> T:
        return self._writer.submit_and_wait(work)

    def _transact(self, work: Callable[[Connection], Any]) -> Any:
        """Run `work` between BEGIN and COMMIT.

        Crash argument: the server makes the commit record durable (fsync, synchronous_commit=on, both checked
        when the connection was opened) before it answers COMMIT, and the future resolves only afterwards. A
        process that dies earlier has its transaction rolled back by the server.
        """
        try:
            connection = self._begin()
            result = work(connection)
            self._commit(connection)
        except BaseException as error:
            self._roll_back()
            if isinstance(error, psycopg.Error):
                _raise(error, "write")
            raise
        return result

    def _begin(self) -> PostgresConnection:
        """Begin on the connection there is, or on a new one if the server went away since the last write."""
        if self._connection is not None:
            try:
                self._connection.raw.execute(b"BEGIN", None)
                return self._connection
            except psycopg.OperationalError:
                self._drop_writer()  # Nothing was done on it yet, so beginning again elsewhere is safe.
        self._connection = self._open_writer()
        self._connection.raw.execute(b"BEGIN", None)
        return self._connection

    def _commit(self, connection: PostgresConnection) -> None:
        self._warning = None
        try:
            answer = connection.raw.execute(b"COMMIT", None).statusmessage
        except psycopg.Error as error:
            if connection.raw.closed:
                raise CommitUncertain("the connection was lost while committing") from error
            raise
        if answer != "COMMIT":
            # PostgreSQL answers the COMMIT of a transaction in which a statement failed with ROLLBACK, not with
            # an error; without this check a caller that swallowed the failure would acknowledge nothing.
            raise StorageUnavailable("the transaction had failed and was rolled back")
        if self._warning is not None:
            # A cancelled wait for a synchronous standby is only a warning: committed here, not yet there.
            raise CommitUncertain("the server committed with a warning")

    def _roll_back(self) -> None:
        """Leave the connection outside any transaction, or without one if that fails."""
        if (connection := self._connection) is None:
            return
        try:
            if not connection.raw.closed:
                connection.raw.execute(b"ROLLBACK", None)
                return
        except psycopg.Error:
            pass
        self._drop_writer()

    # -- reading: a snapshot per call ----------------------------------------------------------------------

    def read(self, work: Callable[[Connection], T]) -> Future[T]:
        return self._readers.submit(work)

    def read_now(self, work: Callable[[Connection], T]) -> T:
        return self._readers.run(work)

    def close(self) -> None:
        self._readers.close()
        self._writer.close()


def check_safety(connection: PostgresConnection) -> None:
    """Raise UnsafeDatabase when the server could lose what it acknowledged, or cannot hold our text (MSG-12)."""
    row = connection.row(_SAFETY)
    assert row is not None
    version, encoding, fsync, full_pages, synchronous, read_only = row
    if version < VERSION_MIN:
        raise UnsafeDatabase(f"PostgreSQL {version // 10_000} is too old; 14 or newer is needed")
    if encoding != "UTF8":
        raise UnsafeDatabase(f"the database's encoding is {encoding}; create it with ENCODING 'UTF8'")
    for name, value in (("fsync", fsync), ("full_page_writes", full_pages)):
        if value != "on":
            raise UnsafeDatabase(
                f"the server runs with {name}={value}; a power cut would lose records; turn it on"
            )
    if synchronous not in {"on", "remote_apply"}:
        raise UnsafeDatabase(f"synchronous_commit stays {synchronous} in spite of SET; it must be on")
    if read_only != "off":
        raise StorageUnavailable("the server is a read-only standby")


def _apply(connection: PostgresConnection, schema: Sequence[str]) -> None:
    """Run idempotent statements, one process at a time.

    Each is a transaction of its own: one that locked several busy tables at once could deadlock with another
    process's appends. Crash argument: none of them waits for the disk, but the server's log is one sequence,
    so no later commit is durable without them; what a crash loses is done again by the next start.
    """
    connection.execute("SELECT pg_advisory_lock($1)", (SCHEMA_LOCK,))
    try:
        connection.raw.execute(b"SET synchronous_commit = off", None)
        for statement in schema:
            connection.raw.execute(statement.encode(), None)
    finally:
        connection.raw.execute(_DURABLE.encode(), None)
        connection.execute("SELECT pg_advisory_unlock($1)", (SCHEMA_LOCK,))


def _raise(error: psycopg.Error, verb: str) -> NoReturn:
    """Raise what the caller knows: the server failed, a rule of the database refused, or our statement is wrong."""
    if isinstance(error, psycopg.errors.IntegrityError):
        raise WriteRefused(error.diag.message_primary or _name(error)) from error
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError | psycopg.InternalError):
        raise StorageUnavailable(f"the database refused the {verb}: {_name(error)}") from error
    raise error


def _name(error: psycopg.Error) -> str:
    """Name an error without its text, which can hold values and credentials."""
    return f"{type(error).__name__}{f' {error.sqlstate}' if error.sqlstate else ''}"
