"""How a verifier reaches a database from any process: where it is, and the master keys that open its values.

`Access` can be sent to a worker process, which opens a reader of its own; `Workers` owns those processes.
"""

from __future__ import annotations

import gc
import os
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Final, Protocol

from atp.engine.keys import KeyRing, parse_keys
from atp.engine.settings import Settings
from atp.engine.sqlite import SqliteReader
from atp.integrity.queries.blocks import Block, BlockChecker, BlockReport, Reader
from atp.kernel.ids import TenantId
from atp.streams.commands import TenantVault, Vault

NICENESS: Final = 5
"""Worker processes give way to the server they may run beside."""


class ClosableReader(Reader, Protocol):
    """A reader that owns its connection."""

    def close(self) -> None:
        """Close it."""
        ...


@dataclass(frozen=True, slots=True)
class Access:
    """Where the evidence lies: the path of a SQLite file or a PostgreSQL URL. `keys` is the master keys' text.

    Without keys sealed values cannot be read. Picklable, so that worker processes open their own.
    """

    location: str
    keys: str = field(default="", repr=False)

    @classmethod
    def of(cls, settings: Settings) -> Access:
        """Return the way to the database of these settings; a key file that is not there is no key."""
        location = settings.database or str(settings.data / "atp.db")
        keys = settings.master_key
        if not keys and settings.key_file.is_file():
            keys = settings.key_file.read_text("ascii")
        return cls(location, keys)

    @property
    def embedded(self) -> bool:
        """Whether this is a SQLite file."""
        return not self.location.startswith(("postgresql://", "postgres://"))

    def open(self) -> ClosableReader:
        """Open a reader; raises StorageUnavailable."""
        if self.embedded:
            return SqliteReader(Path(self.location))
        from atp.engine.postgres import PostgresDatabase  # An embedded server need not load it.

        return PostgresDatabase(self.location)

    def ring(self) -> KeyRing | None:
        """Return the master keys, None where there are none; raises ValueError for what is no key."""
        return parse_keys(self.keys) if self.keys.strip() else None


def open_vault(reader: Reader, ring: KeyRing | None, tenant: TenantId) -> TenantVault | None:
    """Open a tenant's vault for reading; None without master keys. Raises KeyUnavailable and LookupError."""
    if ring is None:
        return None
    # Loading reads through the connection it is given and nothing else.
    vault = Vault(reader, ring)  # type: ignore[arg-type]
    return reader.read_now(lambda connection: vault.load(connection, tenant))


@dataclass(frozen=True, slots=True)
class Checking:
    """Which blocks a worker is going to check."""

    tenant_no: int
    tenant: TenantId
    values: bool


_checker: BlockChecker | None = None
"""A worker process's own; set once when it starts."""


def _start(access: Access, checking: Checking) -> None:
    global _checker  # noqa: PLW0603 - the one way to hand state to a pool's worker.
    os.nice(NICENESS)
    gc.disable()  # Checking makes no cycles, and its many short-lived tuples would keep the collector busy.
    reader = access.open()
    vault = open_vault(reader, access.ring(), checking.tenant) if checking.values else None
    _checker = BlockChecker(reader, checking.tenant_no, vault, values=checking.values)


def _check(block: Block) -> BlockReport:
    assert _checker is not None
    return _checker.check(block)


class Workers:
    """Processes that check blocks of one log, each with a reader of its own."""

    def __init__(self, access: Access, checking: Checking, *, count: int) -> None:
        self._pool = ProcessPoolExecutor(
            count, mp_context=get_context("spawn"), initializer=_start, initargs=(access, checking)
        )
        self.ahead = 2 * count

    def submit(self, block: Block) -> Future[BlockReport]:
        """Hand a block to the next free process."""
        return self._pool.submit(_check, block)

    def close(self) -> None:
        """End the processes; what they have not begun is dropped."""
        self._pool.shutdown(wait=True, cancel_futures=True)
