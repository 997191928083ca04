"""A checked request: what a handler receives after the gateway has refused everything the contract refuses.

A handler is an asynchronous function from a `Request` to a `Response`; what it cannot do it says by `Problem`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from atp.kernel.ids import TenantId
from atp.web.principal import Principal
from atp.web.response import Response

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Correlation:
    """What ties this request to others: ours or the caller's ids, safe to log and to put into records."""

    correlation_id: str
    request_id: str | None
    trace_id: str
    """32 hexadecimal digits: the trace of a valid `traceparent`, or a new one."""
    parent_id: str | None
    """16 hexadecimal digits: the caller's span, if it sent one."""

    def in_record(self) -> dict[str, str]:
        """Return the correlation member of a record."""
        told = {"traceId": self.trace_id}
        if self.request_id is not None:
            told["requestId"] = self.request_id
        return told


@dataclass(slots=True, kw_only=True)
class Request:
    """One call of one operation.

    `parameters` holds path, query and header parameters under their contract names, checked and typed.
    `body` is the decoded JSON value, or the bytes for a handler that declares `raw_body`, or None.
    """

    operation_id: str
    path: str
    query: str
    headers: Mapping[str, str]
    parameters: Mapping[str, Any]
    body: Any
    principal: Principal
    tenant_or_none: TenantId | None
    correlation: Correlation
    received_us: int
    stopping: asyncio.Event

    @property
    def tenant(self) -> TenantId:
        """The tenant whose data this request may touch; asking for it in a public operation is a bug."""
        if self.tenant_or_none is None:
            raise LookupError(f"{self.operation_id} has no tenant")
        return self.tenant_or_none

    def parameter(self, name: str, default: Any = None) -> Any:
        """Return a checked parameter by its contract name."""
        return self.parameters.get(name, default)

    def header(self, name: str) -> str | None:
        """Return a request header by its lower-case name."""
        return self.headers.get(name)


class Handler(Protocol):
    """Answers one operation.

    A handler may carry the attribute `raw_body = True`: it then gets the body's bytes, bounded and
    decompressed, and does the JSON itself.
    """

    def __call__(self, request: Request, /) -> Awaitable[Response]:
        """Return the response, or raise a Problem."""
        ...


def raw_body(handler: F) -> F:
    """Mark a handler as wanting the body's bytes instead of its decoded JSON."""
    handler.raw_body = True  # type: ignore[attr-defined]
    return handler
