"""Waking those who wait: live tails wait for commits, searches for the model to reach a position.

One source of wake-ups per process. Where other processes write to the same database, one task looks for all.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import Final

from atp.engine.database import Connection, Database
from atp.kernel.errors import Problem
from atp.streams import queries

WATCH_SECONDS: Final = 0.1
"""How often the log's heads are looked at for commits of other processes."""


class Wakes:
    """Wakes coroutines from any thread.

    State: `_waiting` and `count` are guarded by `_lock`. A waiter gives the count it has seen, so that a
    notification between its look and its wait is not lost.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: set[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = set()
        self.count = 0

    def notify(self) -> None:
        """Wake everybody; any thread, quick."""
        with self._lock:
            self.count += 1
            if not self._waiting:
                return
            waiting, self._waiting = self._waiting, set()
        for loop, future in waiting:
            with suppress(RuntimeError):  # That loop has ended, and its waiters with it.
                loop.call_soon_threadsafe(_settle, future)

    async def wait(self, seen: int, seconds: float) -> None:
        """Return when there was a notification after `seen`, or when the time is over."""
        loop = asyncio.get_running_loop()
        entry = (loop, loop.create_future())
        with self._lock:
            if self.count != seen:
                return
            self._waiting.add(entry)
        try:
            await asyncio.wait([entry[1]], timeout=seconds)
        finally:
            with self._lock:
                self._waiting.discard(entry)


def _settle(future: asyncio.Future[None]) -> None:
    if not future.done():
        future.set_result(None)


async def watch(database: Database, arrivals: Wakes) -> None:
    """Notify `arrivals` whenever some log has grown, until cancelled. For databases that others write to too."""
    size = -1
    while True:
        with suppress(Problem):  # The database does not answer: look again.
            found = await asyncio.wrap_future(database.read(_size))
            if found != size:
                size = found
                arrivals.notify()
        await asyncio.sleep(WATCH_SECONDS)


def _size(connection: Connection) -> int:
    return sum(head.size for head in queries.logs(connection))
