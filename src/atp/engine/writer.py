"""The writer thread that both engines share: work goes in from any thread and is done in that order, one at a time.

State: the engine's writing connection belongs to this thread alone; `_closed` and the order of submission are
guarded by `_submitting`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any

from atp.engine.database import Connection, StorageUnavailable, T

Work = Callable[[Connection], Any]


class Writer:
    """Runs `transact` for each piece of work on one thread, and `finish` there at the end."""

    def __init__(self, name: str, transact: Callable[[Work], Any], finish: Callable[[], None]) -> None:
        self._transact = transact
        self._finish = finish
        self._closed = False
        self._submitting = threading.Lock()
        self._work: SimpleQueue[tuple[Work, Future[Any]] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, work: Callable[[Connection], T]) -> Future[T]:
        """Queue work; raises StorageUnavailable once closed."""
        future: Future[T] = Future()
        with self._submitting:
            if self._closed:
                raise StorageUnavailable("the database is closed")
            self._work.put((work, future))
        return future

    def submit_and_wait(self, work: Callable[[Connection], T]) -> T:
        """Queue work and wait for its result; a wait on the writer's own thread would never end, so it raises."""
        if threading.current_thread() is self._thread:
            raise RuntimeError("the writer may not wait for itself: use the connection it was given")
        return self.submit(work).result()

    def close(self) -> bool:
        """Refuse new work, finish what was submitted, and stop; return False when that was done before."""
        with self._submitting:
            if self._closed:
                return False
            self._closed = True
            self._work.put(None)
        self._thread.join()
        return True

    def _run(self) -> None:
        while (item := self._work.get()) is not None:
            work, future = item
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = self._transact(work)
            except BaseException as error:  # noqa: BLE001 - it belongs to whoever waits for the future.
                future.set_exception(error)
            else:
                future.set_result(result)
            del work, future, item  # An idle writer keeps nothing of the last request alive.
        self._finish()
