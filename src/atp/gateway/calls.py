"""One HTTP exchange as the gateway sees it, from the ASGI scope to the log line.

State: a `Call` belongs to the task that answers it.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import parse_qsl

from atp.gateway.correlation import correlate
from atp.gateway.limits import Allowance
from atp.gateway.respond import Outcome
from atp.gateway.telemetry import Meters
from atp.kernel.errors import Problem
from atp.specs import Operation
from atp.web.principal import ANONYMOUS, Principal
from atp.web.request import Correlation, Handler

Scope = MutableMapping[str, Any]

URI_BYTES_MAX: Final = 16 * 1024
"""Path and query together; longer searches go into a body."""
HEADER_BYTES_MAX: Final = 32 * 1024
"""All headers of a request."""
QUERY_PARAMETERS_MAX: Final = 200
"""Query parameters of a request."""


@dataclass(frozen=True, slots=True)
class Route:
    """An operation of the contract, bound to what answers it."""

    operation: Operation
    handler: Handler
    raw_body: bool
    works_suspended: bool
    meters: Meters


@dataclass(slots=True)
class Call:
    """What is known of a request so far; fields fill up on its way through the gateway."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    client: str
    secure: bool
    header_bytes: int
    correlation: Correlation
    received_us: int
    started: float
    route: Route | None = None
    path_parameters: dict[str, str] = field(default_factory=dict)
    principal: Principal = ANONYMOUS
    tenant: str | None = None
    allowance: Allowance | None = None
    received_bytes: int = 0
    code: str | None = None
    outcome: Outcome = field(default_factory=Outcome)

    @property
    def operation_id(self) -> str:
        """The operation's name in logs and metrics."""
        return "unknown" if self.route is None else self.route.operation.id

    def refuse_oversized(self) -> None:
        """Raise URI_TOO_LONG or HEADERS_TOO_LARGE."""
        if len(self.path) + len(self.query) > URI_BYTES_MAX:
            raise Problem("URI_TOO_LONG")
        if self.header_bytes > HEADER_BYTES_MAX:
            raise Problem("HEADERS_TOO_LARGE")

    def query_pairs(self) -> list[tuple[str, str]]:
        """Return the decoded query parameters in order; INVALID_UTF8 or VALIDATION_FAILED."""
        if not self.query:
            return []
        try:
            return parse_qsl(
                self.query, keep_blank_values=True, errors="strict", max_num_fields=QUERY_PARAMETERS_MAX
            )
        except UnicodeDecodeError:
            raise Problem("INVALID_UTF8", "The query is not valid UTF-8.") from None
        except ValueError:
            raise Problem("VALIDATION_FAILED", "There are too many query parameters.") from None


def begin(scope: Scope, *, now_us: int, started: float) -> Call:
    """Return the call of an ASGI scope. Repeated headers are joined as RFC 9110 section 5.3 says."""
    headers: dict[str, str] = {}
    size = 0
    for raw_name, raw_value in scope["headers"]:
        size += len(raw_name) + len(raw_value)
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    raw_path = scope.get("raw_path") or scope["path"].encode()
    client = scope.get("client")
    return Call(
        method=scope["method"],
        path=raw_path.decode("latin-1"),
        query=scope.get("query_string", b"").decode("latin-1"),
        headers=headers,
        client=client[0] if client else "",
        secure=scope.get("scheme") == "https",
        header_bytes=size,
        correlation=correlate(headers),
        received_us=now_us,
        started=started,
    )
