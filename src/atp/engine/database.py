"""What a store asks of a database: one writer, many readers, plain SQL in the part both engines share.

Statements are written once, with `$1, $2, …` first occurring in numeric order: PostgreSQL's own form, and
positional parameters to SQLite. Two implementations (`sqlite`, `postgres`) pass tests/conformance/.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future
from typing import Literal, Protocol, TypeVar

from atp.kernel.errors import Problem

T = TypeVar("T")
SqlValue = str | int | float | bytes | None
Row = tuple[SqlValue, ...]
Dialect = Literal["sqlite", "postgresql"]


class StorageUnavailable(Problem):
    """The database refused or failed the work: a full disk, an I/O error, a lost server. Nothing was committed."""

    def __init__(self, message: str) -> None:
        super().__init__("STORAGE_UNAVAILABLE", message, retry_after=1.0)


class CommitUncertain(StorageUnavailable):
    """The connection was lost while committing: the work may or may not stand, and must be looked up again."""


class UnsafeDatabase(Exception):
    """The database runs with settings under which an acknowledged record could be lost; the message says which."""


class WriteRefused(Exception):
    """A rule of the database itself refused a row: a write-once trigger or a key. A bug, or a hand in the store."""


class Connection(Protocol):
    """A connection inside a transaction; valid only during the call that received it."""

    @property
    def dialect(self) -> Dialect:
        """Which engine this is, for the few statements that must differ."""
        ...

    def rows(self, sql: str, params: Sequence[SqlValue] = ()) -> list[tuple]:  # type: ignore[type-arg]
        """Return all rows of a query; on PostgreSQL a parameter may be a list of keys, for `= ANY($n)`."""
        ...

    def row(self, sql: str, params: Sequence[SqlValue] = ()) -> tuple | None:  # type: ignore[type-arg]
        """Return the first row of a query, or None."""
        ...

    def stream(self, sql: str, params: Sequence[SqlValue] = ()) -> Iterator[tuple]:  # type: ignore[type-arg]
        """Yield the rows of a query without holding them all."""
        ...

    def execute(self, sql: str, params: Sequence[SqlValue] = ()) -> int:
        """Run a statement and return how many rows it changed."""
        ...

    def many(self, sql: str, rows: Iterable[Sequence[SqlValue]]) -> None:
        """Run a statement once per row."""
        ...

    def insert(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[SqlValue]]) -> None:
        """Insert many rows by the engine's fastest way (COPY; multi-row VALUES in one step)."""
        ...


class Snapshots(Protocol):
    """What can be read, each time in one snapshot: a database, or a file read beside its server."""

    def read_now(self, work: Callable[[Connection], T]) -> T:
        """Run `work` on a reader, on the calling thread."""
        ...


class Database(Protocol):
    """One database with a single writer of its own in this process.

    Durability: a write's result is visible only after its transaction is on disk (fsync). Order: writes run
    in the order submitted. Nothing is retried here; a failed write raises and leaves no trace.
    """

    dialect: Dialect

    def write(self, work: Callable[[Connection], T]) -> Future[T]:
        """Run `work` in one transaction on the writer and resolve after the commit is durable."""
        ...

    def read(self, work: Callable[[Connection], T]) -> Future[T]:
        """Run `work` on a reader, in one snapshot."""
        ...

    def write_now(self, work: Callable[[Connection], T]) -> T:
        """As `write`, waiting for the result."""
        ...

    def read_now(self, work: Callable[[Connection], T]) -> T:
        """As `read`, on the calling thread."""
        ...

    def close(self) -> None:
        """Finish what was submitted, then close; later work is refused."""
        ...
