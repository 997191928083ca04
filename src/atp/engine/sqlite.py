"""The embedded engine: one SQLite file in WAL mode through apsw.

Owns the file: a lock beside it keeps a second server out. One writer thread runs transactions in the order
submitted; readers have connections of their own. Many rows go in by one multi-row statement, because each
step of SQLite gives up and takes back the interpreter's lock.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NoReturn

import apsw

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

REWRITE_BYTES: Final = 1 << 20
"""Block in which a log left by a crash is rewritten."""

_SUSPICIOUS = (apsw.IOError, apsw.CorruptError, apsw.NotADBError)
"""Errors after which neither the connection's cache nor the kernel's is trusted."""
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


class DatabaseDamaged(StorageUnavailable):
    """The file's own structure is damaged where it was read; restore it, and compare with what was signed."""


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
    """A `Database` on one file. State: `_connection`, `_suspect` and `_committing` belong to the writer thread."""

    dialect: Dialect = "sqlite"

    def __init__(
        self, path: Path, *, schema: Sequence[str] = (), vfs: str | None = None, durable: bool = True
    ) -> None:
        """Open or create `path` and apply `schema`; raises DatabaseInUse and StorageUnavailable.

        `durable` False is for what can be made again from elsewhere, such as the search model: a power cut may
        take its last transactions back, whole, and never half of one (synchronous=NORMAL).
        """
        self.path = path
        self._vfs = vfs
        self._durable = durable
        self._suspect = False
        self._committing = False
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock_file = _lock(path.with_name(path.name + ".lock"))
        try:
            _rewrite_log(path)
            self._connection = SqliteConnection(self._open_writer(schema))
        except (apsw.Error, OSError) as error:
            os.close(self._lock_file)
            raise StorageUnavailable(f"cannot open {path.name}: {type(error).__name__}") from error
        except BaseException:
            os.close(self._lock_file)
            raise
        self._readers = Readers(
            READERS,
            lambda: SqliteConnection(open_reader(path, vfs=vfs)),
            errors=apsw.Error,
            fail=lambda error: _raise(error, "read"),
        )
        self._writer = Writer(f"atp-write-{path.stem}", self._transact, self._finish)

    def _open_writer(self, schema: Sequence[str] = ()) -> apsw.Connection:
        raw = apsw.Connection(str(self.path), vfs=self._vfs, statementcachesize=200)
        raw.set_busy_timeout(BUSY_MS)
        raw.pragma("page_size", 4096)
        raw.pragma("journal_mode", "wal")
        raw.pragma("synchronous", "full" if self._durable else "normal")
        raw.pragma("foreign_keys", 1)
        raw.pragma("cache_size", -WRITER_CACHE_KIB)
        raw.wal_autocheckpoint(CHECKPOINT_PAGES)
        if raw.pragma("synchronous") != 1 + self._durable or raw.pragma("journal_mode") != "wal":
            raise UnsafeDatabase(
                "this SQLite does not keep the synchronous mode asked for, or not in WAL mode"
            )
        with raw:
            for statement in schema:
                raw.execute(ddl(statement))
        # SQLite rolls a whole transaction back on some errors; what work did after swallowing one would commit
        # statement by statement. Only `_transact` commits.
        raw.set_commit_hook(lambda: not self._committing)
        return raw

    # -- writing: one thread, one transaction per piece of work --------------------------------------------

    def write(self, work: Callable[[Connection], T]) -> Future[T]:
        return self._writer.submit(work)

    def write_now(self, work: Callable[[Connection], T]) -> T:
        return self._writer.submit_and_wait(work)

    def _transact(self, work: Callable[[Connection], Any]) -> Any:
        """Run `work` between BEGIN and COMMIT.

        Crash argument: until COMMIT returns, the write-ahead log holds no commit frame for this work, and
        recovery drops it whole; once it returns, the frame is fsynced (synchronous=FULL) and recovery
        replays it. The future resolves only afterwards, so nothing is acknowledged that a crash can lose.
        """
        try:
            if self._suspect:
                self._start_afresh()
            connection = self._connection
            connection.raw.execute("BEGIN IMMEDIATE")
            result = work(connection)
            self._commit(connection.raw)
        except BaseException as error:
            self._roll_back(self._connection.raw)
            if isinstance(error, apsw.Error):
                self._suspect |= isinstance(error, _SUSPICIOUS)
                _raise(error, "write")
            raise
        return result

    def _commit(self, raw: apsw.Connection) -> None:
        self._committing = True
        try:
            raw.execute("COMMIT")
        except apsw.IOError as error:
            # A commit frame may have reached the file although its fsync failed; a crash before the next write
            # would bring the work back.
            self._suspect = True
            raise CommitUncertain(f"the disk failed while committing: {type(error).__name__}") from error
        finally:
            self._committing = False

    @staticmethod
    def _roll_back(raw: apsw.Connection) -> None:
        with suppress(apsw.Error):
            if raw.in_transaction:
                raw.execute("ROLLBACK")

    def _start_afresh(self) -> None:
        """After an I/O error: a new connection, and everything committed moved from the log into the file.

        A failed fsync leaves pages in the kernel's cache that are marked clean and may not be on disk, so no
        later fsync of the log proves anything about its older frames. The checkpoint writes their content
        again, elsewhere, syncs that, and empties the log. Until it succeeds no write is accepted.
        """
        with suppress(apsw.Error):
            self._connection.raw.close(force=True)
        self._connection = SqliteConnection(self._open_writer())
        self._connection.raw.wal_checkpoint(
            mode=apsw.SQLITE_CHECKPOINT_TRUNCATE
        )  # Busy while a long read lasts.
        self._suspect = False

    def _finish(self) -> None:
        """Close the writer last, so that it folds the write-ahead log into the file."""
        with suppress(apsw.Error):
            self._connection.raw.close()

    # -- reading: a snapshot per call ----------------------------------------------------------------------

    def read(self, work: Callable[[Connection], T]) -> Future[T]:
        return self._readers.submit(work)

    def read_now(self, work: Callable[[Connection], T]) -> T:
        return self._readers.run(work)

    def close(self) -> None:
        self._readers.close()
        if self._writer.close():
            os.close(self._lock_file)


class SqliteReader:
    """Reads a database for a verifier, beside a server or without one: no lock, no writes, a snapshot per call."""

    dialect: Dialect = "sqlite"

    def __init__(self, path: Path) -> None:
        """Open `path`; raises StorageUnavailable where there is no file or it cannot be opened."""
        if not path.is_file():
            raise StorageUnavailable(f"there is no database {path.name} here")
        try:
            self._connection = SqliteConnection(open_reader(path))
        except apsw.Error as error:
            _raise_damage(error)

    def read_now(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in one snapshot; raises DatabaseDamaged where the file does not hold together."""
        raw = self._connection.raw
        try:
            raw.execute("BEGIN")
            return work(self._connection)
        except (apsw.Error, UnicodeDecodeError) as error:
            _raise_damage(error)
        finally:
            with suppress(apsw.Error):
                if raw.in_transaction:
                    raw.execute("ROLLBACK")

    def check_structure(self, limit: int) -> list[str]:
        """Return what SQLite itself finds wrong in the file's pages and indexes; it reads every page."""
        try:
            found = self._connection.raw.execute(f"PRAGMA integrity_check({limit:d})").fetchall()
        except (apsw.Error, UnicodeDecodeError) as error:
            return [type(error).__name__]
        return [] if found == [("ok",)] else [str(row[0]) for row in found]

    def close(self) -> None:
        """Close the file."""
        with suppress(apsw.Error):
            self._connection.raw.close()


_MACHINE = (apsw.BusyError, apsw.CantOpenError, apsw.NoMemError, apsw.ReadOnlyError, apsw.InterruptError)
"""Errors that say something of the machine and nothing of the file's content."""


def _raise_damage(error: apsw.Error | UnicodeDecodeError) -> NoReturn:
    if isinstance(error, _MACHINE):
        raise StorageUnavailable(f"the database refused the read: {type(error).__name__}") from error
    raise DatabaseDamaged(f"the database does not read: {type(error).__name__}") from error


def _raise(error: apsw.Error, verb: str) -> NoReturn:
    """Raise what the caller knows: the storage failed, a rule of the database refused, or the statement is wrong."""
    if isinstance(error, apsw.ConstraintError):
        raise WriteRefused(str(error)) from error
    if isinstance(error, _UNAVAILABLE):
        raise StorageUnavailable(f"the database refused the {verb}: {type(error).__name__}") from error
    raise error


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


def _rewrite_log(path: Path) -> None:
    """Write the bytes of a write-ahead log that a crash left behind over themselves, and sync them.

    The process may have died after a failed fsync: then frames are readable from the kernel's cache, marked
    clean, and not on disk. Recovery would build on them, and a power cut would take what follows with them.
    Crash argument: every byte keeps its value, so stopping anywhere leaves the same log.
    """
    try:
        file = path.with_name(path.name + "-wal").open("r+b", buffering=0)
    except FileNotFoundError:
        return
    with file:
        while block := file.read(REWRITE_BYTES):
            file.seek(-len(block), os.SEEK_CUR)
            file.write(block)
        os.fsync(file.fileno())
