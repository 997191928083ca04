"""How the server is: health, liveness, readiness and metrics.

Public, and therefore without a word about any tenant; each part is asked for its own state, with a limit of time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from prometheus_client import generate_latest

from atp import __version__
from atp.engine import telemetry
from atp.kernel.clock import monotonic
from atp.kernel.errors import Problem
from atp.web.request import Handler, Request
from atp.web.response import Response, json_response

PLAIN = "text/plain; charset=utf-8"
CHECK_SECONDS = 2.0
"""How long a part may take to say how it is before it counts as failing."""
Status = Literal["ok", "degraded", "failing"]
_WORST: tuple[Status, ...] = ("ok", "degraded", "failing")


@dataclass(frozen=True, slots=True)
class PartStatus:
    """How one part is; the message is for operators and holds nothing of a tenant's."""

    name: str
    status: Status
    message: str = ""


Check = Callable[[], Awaitable[PartStatus]]


class StatusApi:
    """The handlers; `checks` are asked anew for each answer."""

    def __init__(self, checks: Sequence[tuple[str, Check]]) -> None:
        self._checks = checks
        self._started = monotonic()

    def handlers(self) -> Mapping[str, Handler]:
        """Return the handler of each operation."""
        return {
            "getHealth": self.health,
            "getLiveness": self.live,
            "getReadiness": self.ready,
            "getMetrics": self.metrics,
        }

    async def health(self, request: Request) -> Response:
        """Tell how each part is."""
        parts = await self._ask()
        checks = [
            {"name": part.name, "status": part.status, **({"message": part.message} if part.message else {})}
            for part in parts
        ]
        return json_response(
            {
                "status": _worst(parts),
                "version": __version__,
                "uptimeSeconds": round(monotonic() - self._started, 3),
                "checks": checks,
            }
        )

    async def live(self, request: Request) -> Response:
        """Tell that the process runs."""
        return Response(200, b"ok\n", media_type=PLAIN)

    async def ready(self, request: Request) -> Response:
        """Tell whether requests can be served; NOT_READY names the parts that fail."""
        failing = [part.name for part in await self._ask() if part.status == "failing"]
        if failing:
            raise Problem("NOT_READY", f"Not ready: {', '.join(failing)}.", retry_after=1.0)
        return Response(200, b"ok\n", media_type=PLAIN)

    async def metrics(self, request: Request) -> Response:
        """Give the process's metrics in the Prometheus text format."""
        return Response(200, generate_latest(telemetry.REGISTRY), media_type=PLAIN)

    async def _ask(self) -> list[PartStatus]:
        return list(await asyncio.gather(*(_bounded(name, check) for name, check in self._checks)))


async def _bounded(name: str, check: Check) -> PartStatus:
    try:
        async with asyncio.timeout(CHECK_SECONDS):
            return await check()
    except (TimeoutError, Problem):
        return PartStatus(name, "failing", "It does not answer.")


def _worst(parts: Sequence[PartStatus]) -> Status:
    return max((part.status for part in parts), key=_WORST.index, default="ok")
