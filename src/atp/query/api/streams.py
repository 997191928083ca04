"""One stream over HTTP: its state and head, and a page of its records in order (API-04).

Read from the records, not from the search model, so it is never behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from atp.engine.database import Connection, Database
from atp.kernel.clock import format_us, parse_rfc3339
from atp.kernel.errors import Problem
from atp.kernel.hashing import b64u
from atp.kernel.ids import TenantId
from atp.query.commands import Disclosing, Shown
from atp.query.model import Times
from atp.query.rules import requests
from atp.query.rules.scan import Match
from atp.query.rules.view import event_view
from atp.streams import queries
from atp.streams.model import RESERVED_PREFIX, StoredRecord
from atp.streams.queries import StreamStatus
from atp.web.page import links
from atp.web.request import Request
from atp.web.response import Response, json_response, revalidated

_ADDRESSED: Final = ("direction", "since", "until", "limit", "fields", "include", "disclose", "afterVersion")
Finish = Callable[[Request, Mapping[str, Any], Sequence[Shown]], Awaitable[list[Mapping[str, Any]]]]


@dataclass(frozen=True, slots=True)
class _Page:
    info: StreamStatus
    last: StoredRecord | None
    seal: Mapping[str, Any] | None
    records: Sequence[StoredRecord]
    more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamReading:
    """Reads streams; `finish` adds receipts and selects members, as for lists."""

    records: Database
    disclosing: Disclosing
    finish: Finish

    async def get_stream(self, request: Request) -> Response:
        """Answer the stream's state and a page of its records."""
        disclose = bool(request.parameter("disclose"))
        if disclose:
            self.disclosing.demand(request)
        page = await asyncio.wrap_future(self.records.read(lambda c: _read(c, request.tenant, request)))
        matches = [Match(record, event_view(record)) for record in page.records]
        if disclose:
            shown = await self.disclosing.show(request, matches)
        else:
            shown = [Shown(match, match.view) for match in matches]
        events = await self.finish(request, request.parameters, shown)
        answer = _answer(request, page, events)
        return json_response(answer) if disclose else revalidated(answer)


def _answer(request: Request, page: _Page, events: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    info = page.info
    kind, _, subject = info.name.partition("/")
    following = page.records[-1].version if page.more else None
    given = requests.addressed(request.parameters, _ADDRESSED)
    where = links(request.path, given, following=None)
    if following is not None:
        where["next"] = links(request.path, given | {"afterVersion": following}, following=None)["self"]
    return {
        "id": info.name,
        "type": kind,
        "subject": subject,
        "tenant": request.tenant,
        "state": info.state,
        "version": info.version,
        "headHash": b64u(info.record_hash or b""),
        "createdAt": format_us(info.created_us),
        "updatedAt": page.last.header_json["recordedAt"] if page.last else format_us(info.created_us),
        "snapshot": None,
        "seal": page.seal,
        "events": events,
        "page": {
            "limit": request.parameter("limit", requests.LIMIT),
            "count": len(events),
            "hasMore": page.more,
            "nextAfterVersion": following,
        },
        "links": where,
    }


def _read(connection: Connection, tenant: TenantId, request: Request) -> _Page:
    name: str = request.parameter("streamId")
    limit: int = request.parameter("limit", requests.LIMIT)
    after: int | None = request.parameter("afterVersion")
    backward = request.parameter("direction") == "backward"
    info = queries.stream(connection, tenant, name)
    if not info.version:
        raise Problem("STREAM_NOT_FOUND")
    start, end = _versions(connection, tenant, info, requests.recorded_range(request.parameters))
    if after is not None:
        start, end = (start, min(end, after)) if backward else (max(start, after + 1), end)
    # One more than asked for tells whether there is more; a full page of the store needs a second look.
    records = queries.read_stream(
        connection, tenant, name, start=start, end=end, limit=limit, backward=backward
    )
    edge = records[-1].version if len(records) == limit else None
    more = edge is not None and (edge > start if backward else edge + 1 < end)
    last = queries.read_stream(connection, tenant, name, limit=1, backward=True)
    seal = _seal(connection, tenant, name) if info.state == "sealed" else None
    return _Page(info, last[0] if last else None, seal, records, more)


def _versions(
    connection: Connection, tenant: TenantId, info: StreamStatus, recorded: Times
) -> tuple[int, int]:
    """Return the versions [start, end) recorded in a range, by bisection: recorded times never decrease."""
    start, end = 1, info.version + 1
    if recorded.start is not None:
        start = _version_at(connection, tenant, info, recorded.start)
    if recorded.end is not None:
        end = _version_at(connection, tenant, info, recorded.end)
    return start, end


def _version_at(connection: Connection, tenant: TenantId, info: StreamStatus, recorded_us: int) -> int:
    low, high = 1, info.version + 1
    while low < high:
        middle = (low + high) // 2
        found = queries.read_stream(connection, tenant, info.name, start=middle, end=high, limit=1)
        if not found:
            high = middle
        elif parse_rfc3339(found[0].header_json["recordedAt"]) < recorded_us:
            low = found[0].version + 1
        else:
            high = middle
    return low


def _seal(connection: Connection, tenant: TenantId, name: str) -> Mapping[str, Any] | None:
    """Return how the stream was sealed, from the platform record that says so."""
    stream = f"{RESERVED_PREFIX}event_stream/{name}"
    try:
        found = queries.read_stream(connection, tenant, stream, limit=1, backward=True)
    except Problem:
        return None
    if not found:
        return None
    payload = found[0].content_json["payload"]
    return {
        "stream": name,
        "finalVersion": payload["final_version"],
        "merkleRoot": payload["merkle_root"],
        "reason": payload["reason"],
        "sealedAt": found[0].header_json["recordedAt"],
        "record": found[0].ulid,
    }
