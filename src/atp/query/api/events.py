"""Lists, searches and single events; and the table of all handlers of this context.

Checked parameters go in, pages of events come out; sealed values are joined back for callers cleared for them,
after the access is recorded.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from atp.engine.database import Connection, Database
from atp.kernel.clock import monotonic
from atp.kernel.errors import Problem
from atp.kernel.ids import TenantId
from atp.query.api.streams import StreamReading
from atp.query.api.tail import Tail
from atp.query.commands import Disclosing, Shown
from atp.query.jobs import Wakes
from atp.query.model import Place, Search
from atp.query.queries import Finder
from atp.query.rules import requests
from atp.query.rules.scan import Found, Match
from atp.query.rules.view import event_view
from atp.streams import queries
from atp.streams.model import StoredRecord
from atp.web.page import Cursors, chosen_fields, fingerprint, links, offset_links, select
from atp.web.request import Handler, Request
from atp.web.response import Response, json_response, revalidated

WAIT_MS: Final = 1_000
"""How long a position is waited for where the caller does not say."""
RECHECK_SECONDS: Final = 0.05
"""How often a waiting request looks by itself: another process may be the one that projects."""

Receipts = Callable[[Connection, TenantId, StoredRecord], Mapping[str, Any]]
"""Returns the receipt of a record as JSON; PROOF_NOT_READY until a checkpoint covers it (QRY-10)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryApi:
    """The handlers. `arrivals` is notified after commits, `progress` after batches of the projection."""

    records: Database
    finder: Finder
    disclosing: Disclosing
    cursors: Cursors
    arrivals: Wakes
    progress: Wakes
    receipts: Receipts | None = None

    def handlers(self) -> Mapping[str, Handler]:
        """Return the handler of each operation."""
        return {
            "listAuditEvents": self.list_events,
            "searchAuditEvents": self.search_events,
            "getAuditEvent": self.get_event,
            "getEventStream": StreamReading(
                records=self.records, disclosing=self.disclosing, finish=self._finish
            ).get_stream,
            "tailAuditEvents": Tail(
                records=self.records, disclosing=self.disclosing, arrivals=self.arrivals
            ).tail,
        }

    async def list_events(self, request: Request) -> Response:
        """Answer one page by filters."""
        parameters = request.parameters
        search, found, items = await self._page(request, parameters)
        cursor = self._cursor(request, parameters, search, found)
        addressed = requests.addressed(parameters)
        if parameters.get("offset") is not None:
            more = found.after is not None
            where = offset_links(request.path, addressed, offset=search.offset, limit=search.limit, more=more)
        else:
            where = links(request.path, addressed, following=cursor)
        return json_response(_page(parameters, search, found, items=items, cursor=cursor, where=where))

    async def search_events(self, request: Request) -> Response:
        """Answer one page by a body; the next one is asked for with the cursor in the body."""
        parameters: Mapping[str, Any] = request.body
        search, found, items = await self._page(request, parameters)
        cursor = self._cursor(request, parameters, search, found)
        where = {"self": request.path, "next": None, "prev": None}
        return json_response(_page(parameters, search, found, items=items, cursor=cursor, where=where))

    async def get_event(self, request: Request) -> Response:
        """Answer one record, as people read it and as a verifier checks it."""
        disclose = bool(request.parameter("disclose"))
        if disclose:
            self.disclosing.demand(request)
        ulid, tenant = request.parameter("id"), request.tenant
        record = await asyncio.wrap_future(self.records.read(lambda c: queries.record(c, tenant, ulid)))
        match = Match(record, event_view(record))
        shown = (await self.disclosing.show(request, [match]) if disclose else [Shown(match, match.view)])[0]
        stored = {"header": msgspec.Raw(record.header), "content": msgspec.Raw(record.content)}
        if shown.disclosures:
            stored["disclosures"] = shown.disclosures  # type: ignore[assignment]
        shown.view["record"] = stored
        item = (await self._finish(request, request.parameters, [shown]))[0]
        return json_response(item) if disclose else revalidated(item)

    async def _page(
        self, request: Request, parameters: Mapping[str, Any]
    ) -> tuple[Search, Found, list[Mapping[str, Any]]]:
        disclose = bool(parameters.get("disclose"))
        if disclose:
            self.disclosing.demand(request)
        search = requests.search_of(parameters, self._after(request, parameters))
        await self._wait(request, parameters)
        found = await asyncio.to_thread(self.finder.find, request.tenant, search)
        if disclose:
            shown = await self.disclosing.show(request, found.matches)
        else:
            shown = [Shown(match, match.view) for match in found.matches]
        return search, found, await self._finish(request, parameters, shown)

    async def _wait(self, request: Request, parameters: Mapping[str, Any]) -> None:
        """Wait until the model has reached the position; POSITION_NOT_REACHED when it does not in time (QRY-07)."""
        position = parameters.get("waitForPosition")
        if position is None:
            return
        timeout = parameters.get("waitTimeout")
        deadline = monotonic() + (WAIT_MS if timeout is None else timeout) / 1000
        while True:
            seen = self.progress.count
            reached = await asyncio.to_thread(self.finder.reached, request.tenant)
            if reached is not None and reached >= position:
                return
            left = deadline - monotonic()
            if left <= 0 or request.stopping.is_set():
                raise Problem("POSITION_NOT_REACHED", retry_after=1.0)
            await self.progress.wait(seen, min(left, RECHECK_SECONDS))

    async def _finish(
        self, request: Request, parameters: Mapping[str, Any], shown: Sequence[Shown]
    ) -> list[Mapping[str, Any]]:
        """Add receipts where they are asked for, and keep the members that are."""
        if "proof" in (parameters.get("include") or ()):
            receipts = await asyncio.wrap_future(
                self.records.read(
                    lambda connection: [self._receipt(connection, request.tenant, item) for item in shown]
                )
            )
            for item, receipt in zip(shown, receipts, strict=True):
                if receipt is not None:
                    item.view["proof"] = receipt
        paths = chosen_fields(parameters.get("fields"))
        if paths is None:
            return [item.view for item in shown]
        return [select(item.view, (("id",), *paths)) for item in shown]

    def _receipt(self, connection: Connection, tenant: TenantId, item: Shown) -> Mapping[str, Any] | None:
        if self.receipts is None:
            return None
        try:
            return self.receipts(connection, tenant, item.match.record)
        except Problem:  # No checkpoint covers it yet.
            return None

    def _after(self, request: Request, parameters: Mapping[str, Any]) -> Place | None:
        cursor = parameters.get("cursor")
        if cursor is None:
            return None
        place = self.cursors.read(
            cursor,
            tenant=request.tenant,
            query=fingerprint(requests.filters(parameters)),
            order=parameters.get("orderBy") or requests.ORDER,
        )
        return Place(*place)

    def _cursor(
        self, request: Request, parameters: Mapping[str, Any], search: Search, found: Found
    ) -> str | None:
        if found.after is None:
            return None
        return self.cursors.write(
            (found.after.position, found.after.occurred_us),
            tenant=request.tenant,
            query=fingerprint(requests.filters(parameters)),
            order=search.order,
        )


def _page(
    parameters: Mapping[str, Any],
    search: Search,
    found: Found,
    *,
    items: Sequence[Mapping[str, Any]],
    cursor: str | None,
    where: Mapping[str, Any],
) -> dict[str, Any]:
    page: dict[str, Any] = {
        "limit": search.limit,
        "count": len(items),
        "hasMore": cursor is not None,
        "nextCursor": cursor,
    }
    if parameters.get("offset") is not None:
        page["offset"] = search.offset
    return {"items": items, "page": page, "searchedTo": found.searched_to, "links": where}
