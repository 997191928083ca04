"""The live tail: server-sent events read from the log by position, so that nothing is skipped or kept in memory.

A slow client holds nothing but its own position: what it has not read yet is in the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from atp.engine.database import Database
from atp.kernel.clock import monotonic
from atp.query.commands import Disclosing
from atp.query.events import access_payload
from atp.query.jobs import Wakes
from atp.query.rules.scan import Match
from atp.query.rules.view import event_view
from atp.streams import queries
from atp.streams.model import StoredRecord
from atp.web.request import Request
from atp.web.response import Response, live_stream

PAGE_RECORDS: Final = 256
"""Records read and sent together; the whole memory of one client."""
HEARTBEAT_SECONDS: Final = 15.0
"""A comment is sent after so long without a record, so that proxies keep the connection."""

_encode = msgspec.json.Encoder().encode


@dataclass(frozen=True, slots=True, kw_only=True)
class Tail:
    """Answers tails; `arrivals` wakes all of them."""

    records: Database
    disclosing: Disclosing
    arrivals: Wakes

    async def tail(self, request: Request) -> Response:
        """Answer a stream of records from `Last-Event-ID`, `after`, or the present end of the log."""
        disclose = bool(request.parameter("disclose"))
        if disclose:
            self.disclosing.demand(request)
        after = request.parameter("Last-Event-ID", request.parameter("after"))
        if after is None:
            head = await asyncio.wrap_future(self.records.read(lambda c: queries.log(c, request.tenant)))
            after = head.size - 1
        if disclose:
            # What will be shown is not known yet, so the access is recorded as what it is: open-ended.
            await self.disclosing.record(
                request,
                access_payload(
                    operation=request.operation_id,
                    records=[],
                    values=None,
                    clearance=request.principal.clearance.label,
                    after=after,
                ),
            )
        return live_stream(self._events(request, after, disclose=disclose), media_type="text/event-stream")

    async def _events(self, request: Request, after: int, *, disclose: bool) -> AsyncIterator[bytes]:
        kind = request.parameter("kind")
        yield b": connected\n\n"
        beat = monotonic() + HEARTBEAT_SECONDS
        while not request.stopping.is_set():
            seen = self.arrivals.count
            records = await self._read(request, after)
            if records:
                after = records[-1].position
                wanted = [record for record in records if kind in (None, record.content_json["kind"])]
                if wanted:
                    yield b"".join(map(_event, await self._shown(request, wanted, disclose=disclose)))
                    beat = monotonic() + HEARTBEAT_SECONDS
                continue
            left = beat - monotonic()
            if left <= 0:
                yield b": keep-alive\n\n"
                beat = monotonic() + HEARTBEAT_SECONDS
                continue
            await self.arrivals.wait(seen, left)

    async def _read(self, request: Request, after: int) -> list[StoredRecord]:
        return await asyncio.wrap_future(
            self.records.read(
                lambda c: queries.read_log(c, request.tenant, start=after + 1, limit=PAGE_RECORDS)
            )
        )

    async def _shown(
        self, request: Request, records: Sequence[StoredRecord], *, disclose: bool
    ) -> list[dict[str, Any]]:
        matches = [Match(record, event_view(record)) for record in records]
        if not disclose:
            return [match.view for match in matches]
        return [shown.view for shown in await self.disclosing.open(request, matches)]


def _event(view: dict[str, Any]) -> bytes:
    return b"id: %d\nevent: audit-event\ndata: %b\n\n" % (view["position"], _encode(view))
