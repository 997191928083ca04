"""Showing sealed values: opened, joined back, and the access recorded before the answer leaves (SEC-04).

A page of records and the caller's clearance go in, the values they may see come out. Without the record of the
access there is no answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from atp.engine.database import Connection, Database
from atp.kernel.errors import Problem
from atp.query.events import ACCESS_STREAM, SEALED_VALUES_ACCESSED, access_payload
from atp.query.rules.scan import Match
from atp.query.rules.view import disclosed
from atp.streams import queries
from atp.streams.commands import Ledger, Vault
from atp.streams.model import Appended
from atp.web.principal import Clearance
from atp.web.request import Request


@dataclass(frozen=True, slots=True)
class Shown:
    """A record as this caller may see it; `disclosures` are those that its view contains."""

    match: Match
    view: dict[str, Any]
    disclosures: Sequence[Sequence[Any]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Disclosing:
    """Opens sealed values for callers; `committed` is called after each record of an access."""

    database: Database
    ledger: Ledger
    vault: Vault
    committed: Callable[[], None] = lambda: None

    @staticmethod
    def demand(request: Request) -> Clearance:
        """Return the caller's clearance; FORBIDDEN without the scope, CLEARANCE_REQUIRED without any clearance."""
        request.principal.demand(frozenset({"sealed:read"}))
        if request.principal.clearance is Clearance.NONE:
            raise Problem("CLEARANCE_REQUIRED")
        return request.principal.clearance

    async def show(self, request: Request, matches: Sequence[Match]) -> list[Shown]:
        """Return the records with the values the caller may see, after the access is durably recorded."""
        shown = await self.open(request, matches)
        opened = [item for item in shown if item.disclosures]
        if opened:
            await self.record(
                request,
                access_payload(
                    operation=request.operation_id,
                    records=[item.match.record.ulid for item in opened],
                    values=sum(len(item.disclosures) for item in opened),
                    clearance=request.principal.clearance.label,
                ),
            )
        return shown

    async def open(self, request: Request, matches: Sequence[Match]) -> list[Shown]:
        """Return the records with the values the caller may see, without recording it: the caller has."""
        vault = await asyncio.to_thread(self.vault.tenant, request.tenant)
        records = [match.record for match in matches]
        opened, erased = await asyncio.wrap_future(
            self.database.read(
                lambda connection: (
                    queries.disclosures(connection, vault, records),
                    queries.erasures(connection, vault, records),
                )
            )
        )
        clearance = int(request.principal.clearance)
        shown = []
        for match in matches:
            found = opened.get(match.record.position)
            values = found.values if found else []
            subject = match.record.content_json["classification"].get("subject")
            view, allowed = disclosed(match.record, match.view, values, clearance, erased.get(subject))
            shown.append(Shown(match, view, allowed))
        return shown

    async def record(self, request: Request, payload: dict[str, Any]) -> None:
        """Append the record of an access; returns when it is durable."""
        actor, correlation = request.principal.actor(), {"traceId": request.correlation.trace_id}

        def append(connection: Connection) -> Appended:
            return self.ledger.append_platform(
                connection,
                request.tenant,
                type=SEALED_VALUES_ACCESSED,
                stream=ACCESS_STREAM,
                payload=payload,
                actor=actor,
                correlation=correlation,
            )

        await asyncio.wrap_future(self.database.write(append))
        self.committed()
