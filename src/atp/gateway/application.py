"""The HTTP edge as one ASGI application: `_answer` is the whole way of a request, as a list of verbs.

Routes, limits, scopes and checks come from the contract; an operation without a handler, or a handler without
an operation, is an error at start. State of `Gateway`: the count of requests in flight and the stop flag,
owned by the event loop's thread.
"""

from __future__ import annotations

import asyncio
import math
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from atp.engine.database import CommitUncertain, StorageUnavailable
from atp.gateway import deprecation, receive, telemetry, tenancy
from atp.gateway.calls import Call, Route, Scope, begin
from atp.gateway.credentials import Authentication
from atp.gateway.limits import RateLimits, refusal
from atp.gateway.respond import Asked, Receive, Send, respond
from atp.gateway.routes import Routes
from atp.gateway.tenancy import Tenancy
from atp.kernel.clock import Clock, monotonic, now_us
from atp.kernel.errors import Problem
from atp.specs import Operation, Specification, errors
from atp.tenants.model import Tenant
from atp.web import problem as problems
from atp.web.body import decode_json
from atp.web.request import Handler, Request
from atp.web.response import Response, json_response

RETRY_SECONDS: Final = 1.0
"""What a caller is told to wait when the store or the whole server cannot serve it just now."""
LARGE_BODY_BYTES: Final = 1024 * 1024
LARGE_BODIES_MAX: Final = 32
"""Bodies of more than a megabyte that may arrive at once; with a batch's limit they take 160 MB at most."""
DRAIN_SECONDS: Final = 20.0
"""How long a stop waits for the requests in flight."""
_MANAGE: Final = "tenants:manage"
"""Whoever manages tenants may change a suspended one, or it could never be taken up again."""
_JSON: Final = ("application/json", "application/merge-patch+json")


class HandlersDisagree(Exception):
    """The contract and the handlers are not the same set; the message names what is missing on either side."""


class Gateway:
    """The ASGI application."""

    def __init__(
        self,
        routes: Routes[Route],
        *,
        authentication: Authentication,
        tenancy: Tenancy,
        limits: RateLimits,
        clock: Clock = now_us,
    ) -> None:
        self._routes = routes
        self._authentication = authentication
        self._tenancy = tenancy
        self._limits = limits
        self._clock = clock
        self._in_flight = 0
        self._large_bodies = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self.stopping = asyncio.Event()
        """Set when the server stops; live streams end then."""

    async def stop(self, *, seconds: float = DRAIN_SECONDS) -> bool:
        """Refuse new work, end live streams, and wait for what is in flight; tell whether all of it finished."""
        self.stopping.set()
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    async def __call__(self, scope: Scope, receive_message: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        if scope["type"] == "lifespan":
            await _lifespan(receive_message, send)
        elif scope["type"] == "http":
            await self._serve(begin(scope, now_us=self._clock(), started=monotonic()), receive_message, send)
        else:
            await send({"type": "websocket.close", "code": 1008})

    async def _serve(self, call: Call, receive_message: Receive, send: Send) -> None:
        self._enter()
        try:
            with telemetry.span(call.method, call.correlation) as span:
                response = await self._answer_or_explain(call, receive_message)
                span.update_name(call.operation_id)
                await respond(
                    response,
                    Asked(call.method, call.headers, _shared_headers(call), call.secure),
                    channel=(receive_message, send),
                    stopping=self.stopping,
                    outcome=call.outcome,
                )
        except receive.ClientGone:
            call.code = "CLIENT_GONE"
        except Exception as bug:
            # Too late for an answer of ours: the server cuts the connection, so that nobody takes half for all.
            call.code = "INTERNAL"
            _tell_bug(call, bug)
            raise
        finally:
            self._leave()
            _tell(call)

    async def _answer_or_explain(self, call: Call, receive_message: Receive) -> Response:
        try:
            return await self._answer(call, receive_message)
        except StorageUnavailable as failure:
            telemetry.logger().error("store failed", reason=str(failure), operation=call.operation_id)
            return _explain(call, _store_problem(failure), self._clock())
        except Problem as problem:
            return _explain(call, problem, self._clock())
        except receive.ClientGone:
            raise
        except Exception as bug:  # noqa: BLE001 - the edge is where a bug becomes a 500 and a log line.
            _tell_bug(call, bug)
            return _explain(call, Problem("INTERNAL"), self._clock())

    async def _answer(self, call: Call, receive_message: Receive) -> Response:
        """Take a request all the way; every step either adds to the call or refuses it with a Problem."""
        call.refuse_oversized()
        route = self._find_route(call)
        operation = route.operation
        self._refuse_when_stopping(operation)
        if not operation.public:
            call.principal = await self._authentication.identify(call.headers, call.received_us)
        tenant = await self._resolve_tenant(call, operation)
        if tenant is not None:
            tenancy.refuse_suspended(tenant, works_suspended=route.works_suspended)
        call.principal.demand(operation.scopes)
        self._count(call, operation, tenant)
        parameters = operation.check_parameters(call.path_parameters, call.query_pairs(), call.headers)
        body = await self._receive(call, route, receive_message)
        return await route.handler(
            Request(
                operation_id=operation.id,
                path=call.path,
                query=call.query,
                headers=call.headers,
                parameters=parameters,
                body=body,
                principal=call.principal,
                tenant_or_none=None if tenant is None else tenant.id,
                correlation=call.correlation,
                received_us=call.received_us,
                stopping=self.stopping,
            )
        )

    def _find_route(self, call: Call) -> Route:
        found = self._routes.find(call.method, call.path)
        call.route, call.path_parameters = found.route, found.path_parameters
        return found.route

    def _refuse_when_stopping(self, operation: Operation) -> None:
        # Health and metrics answer to the end: whoever stops us watches them.
        if self.stopping.is_set() and not operation.public:
            raise Problem("SHUTTING_DOWN", retry_after=RETRY_SECONDS)

    async def _resolve_tenant(self, call: Call, operation: Operation) -> Tenant | None:
        if not operation.tenant_scoped:
            return None
        path_tenant = call.path_parameters.get("tenantId")
        tenant = await self._tenancy.resolve(call.principal, call.headers, path_tenant=path_tenant)
        call.tenant = tenant.id
        return tenant

    def _count(self, call: Call, operation: Operation, tenant: Tenant | None) -> None:
        limit = operation.rate_limit
        if limit is None:
            return
        name, per_minute = limit.name, limit.per_minute
        if tenant is not None and operation.id in tenant.rate_limits:
            # A limit of the tenant's own counts by itself, because the shared one has another size.
            name, per_minute = operation.id, tenant.rate_limits[operation.id]
        whose = call.client if operation.public else call.tenant or call.principal.id
        call.allowance, wait_seconds = self._limits.take(whose, name, per_minute=per_minute)
        if wait_seconds is not None:
            raise refusal(wait_seconds)

    async def _receive(self, call: Call, route: Route, receive_message: Receive) -> Any:
        operation = route.operation
        if not operation.request_media_types:
            return None
        media_type = _media_type(call, operation)
        with self._room(operation):
            raw, call.received_bytes = await receive.receive_body(
                receive_message,
                call.headers,
                bytes_max=operation.body_limit.bytes_max,
                too_large=operation.body_limit.error,
            )
        if route.raw_body:
            return raw
        if not raw and not operation.request_required:
            return None
        if media_type not in _JSON:
            return raw
        value = decode_json(raw)
        operation.check_body(value)
        return value

    @contextmanager
    def _room(self, operation: Operation) -> Iterator[None]:
        """Hold one of the places for large bodies while it arrives; OVERLOADED when all are taken."""
        large = operation.body_limit.bytes_max > LARGE_BODY_BYTES
        if large and self._large_bodies >= LARGE_BODIES_MAX:
            raise Problem("OVERLOADED", retry_after=RETRY_SECONDS)
        self._large_bodies += large
        try:
            yield
        finally:
            self._large_bodies -= large

    def _enter(self) -> None:
        self._in_flight += 1
        self._idle.clear()
        telemetry.IN_FLIGHT.inc()

    def _leave(self) -> None:
        self._in_flight -= 1
        telemetry.IN_FLIGHT.dec()
        if self._in_flight == 0:
            self._idle.set()


def build(
    handlers: Mapping[str, Handler],
    *,
    specification: Specification,
    authentication: Authentication,
    tenancy: Tenancy,
    limits: RateLimits | None = None,
    clock: Clock = now_us,
) -> Gateway:
    """Bind every operation of the contract to its handler; HandlersDisagree where one side lacks the other."""
    return Gateway(
        compile_routes(handlers, specification.operations),
        authentication=authentication,
        tenancy=tenancy,
        limits=limits or RateLimits(),
        clock=clock,
    )


def compile_routes(handlers: Mapping[str, Handler], operations: Mapping[str, Operation]) -> Routes[Route]:
    """Return the routes of the contract, aliases too."""
    lacking = sorted(operations.keys() - handlers.keys())
    unknown = sorted(handlers.keys() - operations.keys())
    if lacking or unknown:
        raise HandlersDisagree(
            f"operations without handler: {lacking}; handlers without operation: {unknown}"
        )
    routes: Routes[Route] = Routes()
    for name, operation in operations.items():
        handler = handlers[name]
        route = Route(
            operation=operation,
            handler=handler,
            raw_body=bool(getattr(handler, "raw_body", False)),
            works_suspended="TENANT_SUSPENDED" not in operation.errors or _MANAGE in operation.scopes,
            meters=telemetry.Meters(name),
        )
        rest = [parameter.name for parameter in operation.parameters if parameter.rest]
        for template in operation.path_templates:
            routes.add(operation.method, template, route, rest=rest)
    return routes


def _media_type(call: Call, operation: Operation) -> str:
    stated = call.headers.get("content-type", "")
    media_type, _, rest = stated.partition(";")
    media_type = media_type.strip().lower()
    charset = rest.strip().lower().replace(" ", "").replace('"', "")
    if media_type not in operation.request_media_types or (
        charset.startswith("charset=") and charset != "charset=utf-8"
    ):
        expected = ", ".join(operation.request_media_types)
        raise Problem("UNSUPPORTED_MEDIA_TYPE", f"Content-Type must be one of: {expected}.")
    return media_type


def _explain(call: Call, problem: Problem, clock_us: int) -> Response:
    entry = errors.catalogue()[problem.code]
    call.code = problem.code
    headers: list[tuple[str, str]] = []
    if problem.retry_after is not None:
        headers.append(("retry-after", str(max(1, math.ceil(problem.retry_after)))))
    elif entry.retryable and entry.status in (429, 503):
        headers.append(("retry-after", str(math.ceil(RETRY_SECONDS))))
    if entry.status == 401:
        headers.append(("www-authenticate", "Bearer"))
    if problem.code == "METHOD_NOT_ALLOWED":
        allowed: Any = problem.extra["allow"]
        headers.append(("allow", ", ".join(allowed)))
    body = problems.document(problem, entry, trace_id=call.correlation.trace_id, now_us=clock_us)
    return json_response(body, entry.status, media_type=problems.MEDIA_TYPE, headers=tuple(headers))


def _store_problem(failure: StorageUnavailable) -> Problem:
    # The engine's words are for the operator; the caller must only know whether to repeat or to look first.
    if isinstance(failure, CommitUncertain):
        return Problem("TIMEOUT", "The store was lost while committing: the outcome is unknown.")
    return Problem("STORAGE_UNAVAILABLE", retry_after=RETRY_SECONDS)


def _shared_headers(call: Call) -> list[tuple[str, str]]:
    headers = [("x-correlation-id", call.correlation.correlation_id)]
    if call.correlation.request_id is not None:
        headers.append(("x-request-id", call.correlation.request_id))
    if call.allowance is not None:
        headers += call.allowance.headers()
    if call.route is not None and call.route.operation.deprecated:
        headers += deprecation.headers(call.route.operation)
    return headers


def _tell(call: Call) -> None:
    seconds = monotonic() - call.started
    status = call.outcome.status
    if call.route is not None:
        call.route.meters.count(
            status, seconds=seconds, received=call.received_bytes, sent=call.outcome.sent_bytes
        )
    telemetry.logger().info(
        "request",
        method=call.method,
        operation=call.operation_id,
        status=status,
        code=call.code,
        duration_ms=round(seconds * 1000, 3),
        tenant=call.tenant,
        principal=call.principal.log_id,
        received_bytes=call.received_bytes,
        sent_bytes=call.outcome.sent_bytes,
        trace_id=call.correlation.trace_id,
    )


def _tell_bug(call: Call, bug: Exception) -> None:
    # Type and place are enough to find it. The message is left out: it may quote what a tenant has sent.
    telemetry.logger().error(
        "bug",
        operation=call.operation_id,
        exception=type(bug).__qualname__,
        frames=traceback.format_tb(bug.__traceback__),
        correlation_id=call.correlation.correlation_id,
        trace_id=call.correlation.trace_id,
    )


async def _lifespan(receive_message: Receive, send: Send) -> None:
    # Starting and stopping are the application's own business; the server only needs an answer.
    while True:
        message = await receive_message()
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        else:
            await send({"type": "lifespan.shutdown.complete"})
            return
