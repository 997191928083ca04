"""Reading tenants and keys, and the directory that the gateway asks on every request.

State of `Directory`: two bounded caches, owned by the event loop's thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from atp.engine.database import Connection, Database
from atp.kernel.clock import monotonic
from atp.kernel.errors import Problem
from atp.kernel.ids import TenantId
from atp.tenants import store
from atp.tenants.model import ApiKey, Tenant
from atp.tenants.rules import (
    OPERATOR,
    ROLE_SCOPES,
    parse_key_text,
    principal_of,
    scopes_of,
    secret_matches,
)

__all__ = [
    "OPERATOR",
    "ROLE_SCOPES",
    "Directory",
    "get_tenant",
    "is_key",
    "list_api_keys",
    "list_tenants",
    "parse_key_text",
    "principal_of",
    "scopes_of",
    "secret_matches",
]

FRESH_SECONDS = 1.0
"""How long a key or tenant is believed without looking again: the longest that a revocation made by another
process goes unnoticed. Changes made in this process are noticed at once."""
ENTRIES_MAX = 10_000
"""Keys or tenants remembered; guesses at key ids push each other out and cannot fill the memory."""

NEWEST = "~"
"""Sorts behind every key id: the place before the first page."""

T = TypeVar("T")


def get_tenant(connection: Connection, tenant: str) -> Tenant:
    """Return a tenant, or raise TENANT_NOT_FOUND."""
    found = store.find_tenant(connection, tenant)
    if found is None:
        raise Problem("TENANT_NOT_FOUND")
    return found


def list_tenants(connection: Connection, *, after: str = "", limit: int) -> list[Tenant]:
    """Return up to `limit` tenants in order of id, behind `after`."""
    return store.list_tenants(connection, after=after, limit=limit)


def list_api_keys(
    connection: Connection, tenant: TenantId, *, before: str = NEWEST, limit: int
) -> list[ApiKey]:
    """Return up to `limit` keys of the tenant, newest first, older than the key `before`."""
    return store.list_keys(connection, tenant, before=before, limit=limit)


def is_key(connection: Connection, text: str) -> bool:
    """Tell whether a text is an API key of this installation, whatever its state."""
    parsed = parse_key_text(text)
    key = store.find_key(connection, parsed[0]) if parsed else None
    return parsed is not None and key is not None and secret_matches(key, parsed[1])


class Directory:
    """Keys and tenants by id, at most `FRESH_SECONDS` old: what authentication needs without a database read."""

    def __init__(self, database: Database, *, clock: Callable[[], float] = monotonic) -> None:
        self._keys = _Fresh(database, store.find_key, clock)
        self._tenants = _Fresh(database, store.find_tenant, clock)

    async def key(self, key_id: str) -> ApiKey | None:
        """Return a key, whatever its state; None for an unknown one."""
        return await self._keys.get(key_id)

    async def tenant(self, tenant: str) -> Tenant | None:
        """Return a tenant, or None for an unknown one."""
        return await self._tenants.get(tenant)

    def forget(self, identifier: str) -> None:
        """Look again at the next request: this process has just changed the key or tenant."""
        self._keys.forget(identifier)
        self._tenants.forget(identifier)


class _Fresh(Generic[T]):
    """Values by id, read again when older than `FRESH_SECONDS`; callers that miss together share one read."""

    def __init__(
        self, database: Database, find: Callable[[Connection, str], T | None], clock: Callable[[], float]
    ) -> None:
        self._database = database
        self._find = find
        self._clock = clock
        self._entries: dict[str, tuple[float, T | None]] = {}
        self._reads: dict[str, asyncio.Future[T | None]] = {}

    async def get(self, identifier: str) -> T | None:
        entry = self._entries.get(identifier)
        if entry is not None and self._clock() < entry[0]:
            return entry[1]
        read = self._reads.get(identifier)
        if read is None:
            read = asyncio.ensure_future(self._read(identifier))
            self._reads[identifier] = read
        # Shielded: a caller that gives up must not cancel the read for the others.
        return await asyncio.shield(read)

    def forget(self, identifier: str) -> None:
        self._entries.pop(identifier, None)
        # A read under way may have begun before the change; the next caller starts its own.
        self._reads.pop(identifier, None)

    async def _read(self, identifier: str) -> T | None:
        own: Any = asyncio.current_task()
        until = self._clock() + FRESH_SECONDS
        try:
            found = await asyncio.wrap_future(
                self._database.read(lambda connection: self._find(connection, identifier))
            )
            if self._reads.get(identifier) is own:
                while len(self._entries) >= ENTRIES_MAX:
                    self._entries.pop(next(iter(self._entries)))
                self._entries[identifier] = (until, found)
            return found
        finally:
            if self._reads.get(identifier) is own:
                del self._reads[identifier]
