"""Keeping `last_used` of API keys: coarse, late, and never on the way of a request.

State of `LastUsed`: the times noted since the last flush, owned by the event loop's thread.
"""

from __future__ import annotations

import asyncio

from atp.engine.database import Database, StorageUnavailable
from atp.tenants import store

FLUSH_SECONDS = 60.0
"""Between two writes of the times noted; what a crash loses is at most this much of a convenience."""


class LastUsed:
    """Collects when keys were used and writes it once a minute."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._noted: dict[str, int] = {}

    def note(self, key_id: str, now_us: int) -> None:
        """Remember that a key was used now."""
        self._noted[key_id] = now_us

    async def flush(self) -> None:
        """Write what was noted; what the database cannot take now is kept for the next time."""
        noted, self._noted = self._noted, {}
        if not noted:
            return
        used = [(now_us, key_id) for key_id, now_us in noted.items()]
        try:
            await asyncio.wrap_future(
                self._database.write(lambda connection: store.mark_used(connection, used))
            )
        except StorageUnavailable:
            self._noted = noted | self._noted

    async def run(self) -> None:
        """Flush for ever; the owner cancels this task when it stops, and flushes once more."""
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            await self.flush()
