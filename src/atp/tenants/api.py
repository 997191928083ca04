"""Tenants and API keys over HTTP: operation to command or query to response.

After each change the directory forgets what it knew, so that a revoked key stops with the very answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from atp.engine.database import Connection, Database
from atp.kernel.clock import Clock, format_us, now_us, parse_rfc3339
from atp.kernel.errors import Detail, Problem
from atp.kernel.ids import TenantId
from atp.tenants import commands, queries
from atp.tenants.commands import Books, Change
from atp.tenants.model import ApiKey, IssuedKey, NewApiKey, NewTenant, Rotation, Tenant, TenantChanges
from atp.tenants.queries import Directory
from atp.web.page import Cursors, links
from atp.web.principal import Clearance
from atp.web.request import Handler, Request
from atp.web.response import Response, json_response, revalidated

T = TypeVar("T")
_TENANTS = "/api/v1/tenants"


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantApi:
    """The handlers; `committed` is called after each durable change, so that whoever follows the feed wakes."""

    database: Database
    books: Books
    directory: Directory
    cursors: Cursors
    clock: Clock = now_us
    committed: Callable[[], None] = lambda: None

    def handlers(self) -> Mapping[str, Handler]:
        """Return the handler of each operation."""
        return {
            "createTenant": self.create_tenant,
            "listTenants": self.list_tenants,
            "getTenant": self.get_tenant,
            "updateTenant": self.update_tenant,
            "createApiKey": self.create_api_key,
            "listApiKeys": self.list_api_keys,
            "revokeApiKey": self.revoke_api_key,
            "rotateApiKey": self.rotate_api_key,
        }

    async def create_tenant(self, request: Request) -> Response:
        """Create a tenant."""
        body = request.body
        wanted = NewTenant(
            id=body["id"],
            display_name=body["displayName"],
            region=body.get("region", "local"),
            rate_limits=body.get("rateLimits", {}),
        )
        change = self._change(request)
        tenant = await self._write(lambda c: commands.create_tenant(c, wanted, change=change))
        self.directory.forget(tenant.id)
        return json_response(_tenant(tenant), 201, headers=(("location", f"{_TENANTS}/{tenant.id}"),))

    async def list_tenants(self, request: Request) -> Response:
        """List tenants in order of their ids."""
        after = self._place(request, owner="", order="id", first="")
        limit = request.parameter("limit")
        found = await self._read(lambda c: queries.list_tenants(c, after=after, limit=limit + 1))
        return self._page(request, found, owner="", order="id", shown=_tenant)

    async def get_tenant(self, request: Request) -> Response:
        """Get one tenant."""
        tenant = await self._read(lambda c: queries.get_tenant(c, request.tenant))
        return revalidated(_tenant(tenant))

    async def update_tenant(self, request: Request) -> Response:
        """Configure, suspend or reactivate a tenant."""
        body = request.body
        wanted = TenantChanges(
            display_name=body.get("displayName"),
            status=body.get("status"),
            rate_limits=body.get("rateLimits"),
        )
        change = self._change(request)
        tenant = await self._write(
            lambda c: commands.change_tenant(c, request.tenant, wanted=wanted, change=change)
        )
        self.directory.forget(tenant.id)
        return revalidated(_tenant(tenant))

    async def create_api_key(self, request: Request) -> Response:
        """Create a key; the only answer that holds its secret."""
        body = request.body
        wanted = NewApiKey(
            name=body["name"],
            roles=tuple(body["roles"]),
            clearance=Clearance.named(body.get("clearance", "none")),
            expires_us=_time("expiresAt", body),
        )
        change = self._change(request)
        issued = await self._write(
            lambda c: commands.create_api_key(c, request.tenant, wanted=wanted, change=change)
        )
        return self._issued(issued)

    async def list_api_keys(self, request: Request) -> Response:
        """List the tenant's keys, newest first."""
        before = self._place(request, owner=request.tenant, order="-id", first=queries.NEWEST)
        limit = request.parameter("limit")
        found = await self._read(
            lambda c: queries.list_api_keys(c, request.tenant, before=before, limit=limit + 1)
        )
        now = self.clock()
        return self._page(request, found, owner=request.tenant, order="-id", shown=lambda key: _key(key, now))

    async def revoke_api_key(self, request: Request) -> Response:
        """Revoke a key; in this process it stops working with this answer."""
        change = self._change(request)
        key_id, reason = request.parameter("keyId"), request.body.get("reason")
        key = await self._write(
            lambda c: commands.revoke_api_key(c, request.tenant, key_id, change=change, reason=reason)
        )
        self.directory.forget(key_id)
        return json_response(_key(key, self.clock()))

    async def rotate_api_key(self, request: Request) -> Response:
        """Replace a key by one with the same rights."""
        given = (
            {"overlap_seconds": request.body["overlapSeconds"]} if "overlapSeconds" in request.body else {}
        )
        wanted = Rotation(**given, expires_us=_time("expiresAt", request.body))
        change = self._change(request)
        key_id = request.parameter("keyId")
        issued = await self._write(
            lambda c: commands.rotate_api_key(c, request.tenant, key_id, wanted=wanted, change=change)
        )
        self.directory.forget(key_id)
        return self._issued(issued)

    def _change(self, request: Request) -> Change:
        return Change(
            principal=request.principal,
            now_us=self.clock(),
            books=self.books,
            correlation=request.correlation.in_record(),
        )

    async def _write(self, work: Callable[[Connection], T]) -> T:
        result = await asyncio.wrap_future(self.database.write(work))
        self.committed()
        return result

    async def _read(self, work: Callable[[Connection], T]) -> T:
        return await asyncio.wrap_future(self.database.read(work))

    def _issued(self, issued: IssuedKey) -> Response:
        self.directory.forget(issued.key.id)
        return json_response({"key": _key(issued.key, self.clock()), "secret": issued.secret}, 201)

    def _place(self, request: Request, *, owner: TenantId | str, order: str, first: str) -> str:
        cursor = request.parameter("cursor")
        if cursor is None:
            return first
        query = request.operation_id.encode()
        try:
            place: str = self.cursors.read(cursor, tenant=owner, query=query, order=order)[0]
        except Problem:
            # These lists have no filters, so the cursor of another list is simply not one of theirs.
            raise Problem("CURSOR_INVALID") from None
        return place

    def _page(
        self,
        request: Request,
        found: list[Any],
        *,
        owner: TenantId | str,
        order: str,
        shown: Callable[[Any], dict[str, Any]],
    ) -> Response:
        limit = request.parameter("limit")
        items = found[:limit]
        following = None
        if len(found) > limit:
            query = request.operation_id.encode()
            following = self.cursors.write([items[-1].id], tenant=owner, query=query, order=order)
        given = {name: request.parameter(name) for name in ("limit", "cursor")}
        return json_response(
            {
                "items": [shown(item) for item in items],
                "page": {
                    "limit": limit,
                    "count": len(items),
                    "hasMore": following is not None,
                    "nextCursor": following,
                },
                "links": links(request.path, given, following=following),
            }
        )


def _tenant(tenant: Tenant) -> dict[str, Any]:
    return {
        "id": tenant.id,
        "displayName": tenant.display_name,
        "region": tenant.region,
        "status": tenant.status,
        "logId": tenant.log_id,
        "origin": tenant.origin,
        "rateLimits": tenant.rate_limits,
        "createdAt": format_us(tenant.created_us),
        "updatedAt": format_us(tenant.updated_us),
        "version": tenant.version,
    }


def _key(key: ApiKey, now: int) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "roles": list(key.roles),
        "clearance": key.clearance.label,
        "status": key.status(now),
        "createdAt": format_us(key.created_us),
        "expiresAt": _shown_time(key.expires_us),
        "revokedAt": _shown_time(key.revoked_us),
        "lastUsedAt": _shown_time(key.last_used_us),
        "replacedBy": key.replaced_by,
    }


def _time(field: str, body: Mapping[str, Any]) -> int | None:
    text = body.get(field)
    try:
        return None if text is None else parse_rfc3339(text)
    except ValueError:
        # The contract's format lets a few impossible times pass, such as one before year 1 in UTC.
        raise Problem("VALIDATION_FAILED", details=[Detail(field, "must be a time", text)]) from None


def _shown_time(us: int | None) -> str | None:
    return None if us is None else format_us(us)
