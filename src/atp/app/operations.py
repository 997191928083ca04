"""Which service answers which operation, and how each part is asked for its health.

A process that runs only some services answers for the others that they are elsewhere (OPS-01).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final

from atp.engine.database import Database
from atp.gateway.status import Check, PartStatus
from atp.integrity.jobs import IntegrationLoop
from atp.kernel.errors import Problem
from atp.projections.jobs import ProjectionLoop
from atp.web.request import Request
from atp.web.response import Response

PROJECTION_LAG_SECONDS_MAX: Final = 10.0
"""Search that is further behind makes the server degraded."""
SERVICE_OF: Final[Mapping[str, str]] = {
    "ingestAuditEvent": "ingestion",
    "ingestAuditEventBatch": "ingestion",
    "listAuditEvents": "query",
    "searchAuditEvents": "query",
    "getAuditEvent": "query",
    "getEventStream": "query",
    "tailAuditEvents": "query",
    "sealEventStream": "ingestion",
    "getAuditEventProof": "integrity",
    "getIntegrityKeys": "integrity",
    "rotateIntegrityKey": "integrity",
    "getIntegrityStatus": "integrity",
    "createVerification": "integrity",
    "listVerifications": "integrity",
    "getVerification": "integrity",
    "getCheckpoint": "integrity",
    "getTile": "integrity",
    "getEntryBundle": "integrity",
    "createTenant": "gateway",
    "listTenants": "gateway",
    "getTenant": "gateway",
    "updateTenant": "gateway",
    "createApiKey": "gateway",
    "listApiKeys": "gateway",
    "revokeApiKey": "gateway",
    "rotateApiKey": "gateway",
}
"""Which service answers an operation (OPS-01); what is not listed (status, reference) every process answers."""


def serves(services: frozenset[str], operation_id: str) -> bool:
    """Tell whether a process with these services answers an operation."""
    return SERVICE_OF.get(operation_id) in services or operation_id not in SERVICE_OF


async def elsewhere(request: Request) -> Response:
    """Answer for an operation of a service that another process runs."""
    raise Problem("NOT_FOUND", f"This process does not run the {SERVICE_OF[request.operation_id]} service.")


def checks(
    database: Database, integration: IntegrationLoop, projection: ProjectionLoop, services: frozenset[str]
) -> list[tuple[str, Check]]:
    """Return how each part is asked for its health."""

    async def store() -> PartStatus:
        await asyncio.wrap_future(database.read(lambda connection: connection.row("SELECT 1")))
        return PartStatus("store", "ok")

    async def integrity() -> PartStatus:
        problem = integration.problem
        return PartStatus("integrity", "degraded" if problem else "ok", problem or "")

    async def search() -> PartStatus:
        lag = await asyncio.to_thread(projection.lag)
        late = lag.seconds > PROJECTION_LAG_SECONDS_MAX
        return PartStatus(
            "search", "degraded" if late else "ok", f"{lag.records} records behind" if late else ""
        )

    found: list[tuple[str, Check]] = [("store", store)]
    if "integrity" in services:
        found.append(("integrity", integrity))
    if "projection" in services:
        found.append(("search", search))
    return found
