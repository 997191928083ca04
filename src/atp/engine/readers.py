"""The readers that both engines share: connections for reading, each used by one thread at a time.

A connection is kept for the next reader while it works; one that failed is closed, so that nothing stale
survives a lost server or an I/O error. State: `_idle` and `_closed` are guarded by `_lock`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Generic, NoReturn, Protocol, TypeVar

from atp.engine.database import Connection, StorageUnavailable, T


class _Raw(Protocol):
    def execute(self, statement: Any, /) -> Any: ...

    def close(self) -> None: ...


class _Reader(Connection, Protocol):
    @property
    def raw(self) -> _Raw: ...


R = TypeVar("R", bound=_Reader)


class Readers(Generic[R]):
    """Runs work inside a snapshot; `threads` bounds the pool, callers of `run` bring their own thread."""

    def __init__(
        self,
        threads: int,
        open_reader: Callable[[], R],
        *,
        errors: type[Exception],
        fail: Callable[[Any], NoReturn],
    ) -> None:
        """`errors` is what the driver raises, and `fail` raises what the caller is to see instead."""
        self._threads = threads
        self._open = open_reader
        self._errors = errors
        self._fail = fail
        self._lock = threading.Lock()
        self._idle: list[R] = []
        self._closed = False
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="atp-read")

    def submit(self, work: Callable[[Connection], T]) -> Future[T]:
        """Run `work` on a thread of the pool."""
        with self._lock:
            self._refuse_when_closed()
            return self._pool.submit(self.run, work, late=True)

    def run(self, work: Callable[[Connection], T], *, late: bool = False) -> T:
        """Run `work` on this thread; `late` lets work through that was submitted before the close."""
        try:
            reader = self._take(late=late)
            try:
                return work(reader)
            finally:
                self._give_back(reader)
        except self._errors as error:
            self._fail(error)

    def close(self) -> None:
        """Finish what was submitted, then close every connection."""
        with self._lock:
            self._closed = True
        self._pool.shutdown(wait=True)
        with self._lock:
            while self._idle:
                self._idle.pop().raw.close()

    def _refuse_when_closed(self) -> None:
        if self._closed:
            raise StorageUnavailable("the database is closed")

    def _take(self, *, late: bool) -> R:
        """Return a reader inside a snapshot: an idle one that still works, or a new one."""
        while True:
            with self._lock:
                if not late:
                    self._refuse_when_closed()
                reader = self._idle.pop() if self._idle else None
            fresh = reader is None
            reader = reader or self._open()
            try:
                reader.raw.execute("BEGIN")
            except self._errors:
                reader.raw.close()
                if fresh:
                    raise
            else:
                return reader

    def _give_back(self, reader: R) -> None:
        try:
            reader.raw.execute("ROLLBACK")
        except self._errors:
            reader.raw.close()
            return
        with self._lock:
            keep = not self._closed and len(self._idle) < self._threads
            if keep:
                self._idle.append(reader)
        if not keep:
            reader.raw.close()
