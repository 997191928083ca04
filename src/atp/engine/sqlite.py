"""The embedded engine: one SQLite file in WAL mode through apsw.

Owns the file: a lock beside it keeps a second server out. One writer thread runs transactions in the order
submitted; readers have connections of their own. Many rows go in by one multi-row statement, because each
step of SQLite gives up and takes back the interpreter's lock.
"""

from __future__ import annotations

import fcntl
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Final

import apsw

from atp.engine.database import Connection, Dialect, SqlValue, StorageUnavailable, T

READERS: Final = 4
"""Reader threads: two per core keeps a slow query from blocking quick ones on a small machine."""
WRITER_CACHE_KIB: Final = 32 * 1024
"""Page cache of the writer; the hot right edges of all indexes of a few million rows fit."""
READER_CACHE_KIB: Final = 4 * 1024
"""Page cache of each reader."""
BUSY_MS: Final = 5_000
"""How long a connection waits for another process (a verifier, a backup) before it reports a busy file."""
CHECKPOINT_PAGES: Final = 8_000
"""Write-ahead log pages (32 MiB) between checkpoints: fewer, larger, more sequential page writes."""
CHUNK: Final = 256
"""Rows of one multi-row INSERT; larger gains nothing and falls out of apsw's statement cache."""

_UNAVAILABLE = (
    apsw.FullError,
    apsw.IOError,
    apsw.ReadOnlyError,
    apsw.CantOpenError,
    apsw.BusyError,
    apsw.CorruptError,
    apsw.NotADBError,
    apsw.NoMemError,
)


class DatabaseInUse(Exception):
    """Another ATP server has this database open; stop it, or give this one another ATP_DATA."""


def ddl(statement: str) -> str:
    """Return a CREATE statement, written with PostgreSQL's types, as SQLite's strict form."""
    statement = re.sub(r"\bBYTEA\b", "BLOB", re.sub(r"\b(BIGINT|INTEGER)\b", "INTEGER", statement)).strip()
    if re.match(r"CREATE TABLE", statement) and "STRICT" not in statement:
        statement += " STRICT"
    return statement


@lru_cache(maxsize=256)
def _insert_sql(table: str, columns: tuple[str, ...], count: int) -> str:
    row = "(" + ",".join("?" * len(columns)) + ")"
    return f"INSERT INTO {table}({','.join(columns)}) VALUES {','.join([row] * count)}"


class SqliteConnection:
    """A `Connection` over apsw; used by one thread at a time."""

    dialect: Dialect = "sqlite"

    def __init__(self, raw: apsw.Connection) -> None:
        self.raw = raw

    def rows(self, sql: str, params: Sequence[SqlValue] = ()) -> list[tuple[Any, ...]]:
        return self.raw.execute(sql, tuple(params)).fetchall()

    def row(self, sql: str, params: Sequence[SqlValue] = ()) -> tuple[Any, ...] | None:
        return self.raw.execute(sql, tuple(params)).fetchone()

    def stream(self, sql: str, params: Sequence[SqlValue] = ()) -> Iterator[tuple[Any, ...]]:
        return iter(self.raw.execute(sql, tuple(params)))

    def execute(self, sql: str, params: Sequence[SqlValue] = ()) -> int:
        before = self.raw.total_changes()
        self.raw.execute(sql, tuple(params)).fetchall()
        return self.raw.total_changes() - before

    def many(self, sql: str, rows: Iterable[Sequence[SqlValue]]) -> None:
        self.raw.executemany(sql, [tuple(row) for row in rows])

    def insert(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[SqlValue]]) -> None:
        names = tuple(columns)
        start, size = 0, CHUNK
        while start < len(rows):
            while size > len(rows) - start:
                size //= 2
            chunk = rows[start : start + size]
            self.raw.execute(_insert_sql(table, names, size), [value for row in chunk for value in row])
            start += size


class SqliteDatabase:
    """A `Database` on one file. State: `_writer` belongs to the writer thread, `_local` to each reader thread."""

    dialect: Dialect = "sqlite"

    def __init__(self, path: Path, *, schema: Sequence[str] = (), vfs: str | None = None) -> None:
        """Open or create `path` and apply `schema`; raises DatabaseInUse and StorageUnavailable."""
        self.path = path
        self._vfs = vfs
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock_file = _lock(path.with_name(path.name + ".lock"))
        self._closed = False
        self._local = threading.local()
        self._reader_connections: list[apsw.Connection] = []
        self._submitting = threading.Lock()
        self._work: SimpleQueue[tuple[Callable[[Connection], Any], Future[Any]] | None] = SimpleQueue()
        try:
            self._writer = SqliteConnection(self._open_writer(schema))
        except apsw.Error as error:
            os.close(self._lock_file)
            raise StorageUnavailable(f"cannot open {path.name}: {type(error).__name__}") from error
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="atp-read")
        self._thread = threading.Thread(target=self._run, name=f"atp-write-{path.stem}", daemon=True)
        self._thread.start()

    def _open_writer(self, schema: Sequence[str]) -> apsw.Connection:
        raw = apsw.Connection(str(self.path), vfs=self._vfs, statementcachesize=200)
        raw.set_busy_timeout(BUSY_MS)
        raw.pragma("page_size", 4096)
        raw.pragma("journal_mode", "wal")
        raw.pragma("synchronous", "full")
        raw.pragma("foreign_keys", 1)
        raw.pragma("cache_size", -WRITER_CACHE_KIB)
        raw.wal_autocheckpoint(CHECKPOINT_PAGES)
        if raw.pragma("synchronous") != 2 or raw.pragma("journal_mode") != "wal":
            raise StorageUnavailable("this SQLite does not keep synchronous=FULL in WAL mode")
        with raw:
            for statement in schema:
                raw.execute(ddl(statement))
        return raw

    # -- writing: one thread, one transaction per piece of work --------------------------------------------

    def write(self, work: Callable[[Connection], T]) -> Future[T]:
        future: Future[T] = Future()
        with self._submitting:
            if self._closed:
                raise StorageUnavailable("the database is closed")
            self._work.put((work, future))
        return future

    def write_now(self, work: Callable[[Connection], T]) -> T:
        return self.write(work).result()

    def _run(self) -> None:
        while (item := self._work.get()) is not None:
            work, future = item
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = self._transact(work)
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)
        self._writer.raw.close()

    def _transact(self, work: Callable[[Connection], T]) -> T:
        """Run `work` between BEGIN and COMMIT.

        Crash argument: until COMMIT returns, the write-ahead log holds no commit frame for this work, and
        recovery drops it whole; once it returns, the frame is fsynced (synchronous=FULL) and recovery
        replays it. The future resolves only afterwards, so nothing is acknowledged that a crash can lose.
        """
        raw = self._writer.raw
        try:
            raw.execute("BEGIN IMMEDIATE")
            result = work(self._writer)
            raw.execute("COMMIT")
        except BaseException as error:
            with suppress(apsw.Error):
                if raw.in_transaction:
                    raw.execute("ROLLBACK")
            if isinstance(error, _UNAVAILABLE):
                raise StorageUnavailable(f"the database refused the write: {type(error).__name__}") from error
            raise
        return result

    # -- reading: a snapshot per call ----------------------------------------------------------------------

    def read(self, work: Callable[[Connection], T]) -> Future[T]:
        return self._readers.submit(self.read_now, work)

    def read_now(self, work: Callable[[Connection], T]) -> T:
        connection: SqliteConnection | None = getattr(self._local, "connection", None)
        try:
            if connection is None:
                connection = self._local.connection = SqliteConnection(open_reader(self.path, vfs=self._vfs))
                self._reader_connections.append(connection.raw)
            connection.raw.execute("BEGIN")
            try:
                return work(connection)
            finally:
                if connection.raw.in_transaction:
                    connection.raw.execute("ROLLBACK")
        except _UNAVAILABLE as error:
            raise StorageUnavailable(f"the database refused the read: {type(error).__name__}") from error

    def close(self) -> None:
        with self._submitting:
            if self._closed:
                return
            self._closed = True
        self._readers.shutdown(wait=True)
        for raw in self._reader_connections:
            with suppress(apsw.Error):
                raw.close()
        self._work.put(None)  # The writer closes last, so that it folds the write-ahead log into the file.
        self._thread.join()
        os.close(self._lock_file)


def open_reader(path: Path, *, vfs: str | None = None) -> apsw.Connection:
    """Open `path` for reading only, as readers and the offline verifier do."""
    raw = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY, vfs=vfs)
    raw.set_busy_timeout(BUSY_MS)
    raw.pragma("cache_size", -READER_CACHE_KIB)
    raw.pragma("query_only", 1)
    return raw


def _lock(path: Path) -> int:
    """Take the server's exclusive lock; the kernel drops it when the process dies, however it dies."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise DatabaseInUse(path.name) from error
    return descriptor
