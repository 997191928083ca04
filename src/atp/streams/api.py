"""Sealing a stream over HTTP. Reading streams is the query context's, because it shows events.

The seal is a command of the ledger; this file turns a body into it and its result into the answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from atp.engine.database import Database
from atp.kernel.clock import format_us
from atp.streams.commands import Ledger
from atp.streams.model import SealRequest
from atp.web.request import Handler, Request
from atp.web.response import Response, json_response


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamsApi:
    """The handler; `committed` is called after a durable change, so that whoever follows the feed wakes."""

    database: Database
    ledger: Ledger
    committed: Callable[[], None]

    def handlers(self) -> Mapping[str, Handler]:
        """Return the handler of each operation."""
        return {"sealEventStream": self.seal}

    async def seal(self, request: Request) -> Response:
        """Close a stream for ever and answer what the record of it says."""
        name: str = request.parameter("streamId")
        wanted = SealRequest(
            reason=request.body["reason"],
            expected_version=request.body.get("expectedVersion"),
            correlation={"traceId": request.correlation.trace_id},
        )
        actor = request.principal.actor()
        sealed = await asyncio.wrap_future(
            self.database.write(
                lambda connection: self.ledger.seal_stream(
                    connection, request.tenant, name, actor=actor, request=wanted
                )
            )
        )
        self.committed()
        return json_response(
            {
                "stream": name,
                "finalVersion": sealed.final_version,
                "merkleRoot": sealed.merkle_root,
                "reason": wanted.reason,
                "sealedAt": format_us(sealed.record.recorded_us),
                "record": sealed.record.ulid,
            }
        )
