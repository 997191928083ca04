"""The way of a request: routing, correlation, refusals that need no handler, the log line (API-08 to 10, OBS)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import structlog

from atp.engine.database import CommitUncertain, StorageUnavailable
from atp.engine.telemetry import REGISTRY
from atp.gateway.application import HandlersDisagree, compile_routes
from atp.gateway.correlation import parse_traceparent
from atp.kernel.errors import Problem
from atp.specs import load
from atp.web.request import Request
from atp.web.response import Response, json_response
from tests.gateway.edge import Edge, example

Opened = Callable[..., Edge]
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


async def answers(request: Request) -> Response:
    return json_response(example(request.operation_id, 200))


def test_an_operation_is_dispatched_from_the_contract_with_an_api_key(edge: Edge) -> None:
    """API-09, SEC-01: the slice from credential to answer."""
    answer = edge.client.call("getTenant", path={"tenantId": "demo"})
    assert answer.status == 200
    assert answer.json["id"] == "demo"


def test_contract_and_handlers_must_be_the_same_set() -> None:
    operations = load().operations
    handlers = dict.fromkeys(operations, answers)
    compile_routes(handlers, operations)
    with pytest.raises(HandlersDisagree, match="getTenant"):
        compile_routes(
            {name: handler for name, handler in handlers.items() if name != "getTenant"}, operations
        )
    with pytest.raises(HandlersDisagree, match="getNothing"):
        compile_routes({**handlers, "getNothing": answers}, operations)


@pytest.mark.parametrize(
    "path", ["/nothing", "/api/v1", "/api/v1/tenants/", "/api/v1//tenants", "/api/v2/tenants"]
)
def test_a_path_that_no_operation_has_is_not_found(edge: Edge, path: str) -> None:
    assert edge.client.get(path).code == "NOT_FOUND"


def test_a_method_that_a_path_does_not_know_is_refused_with_those_it_knows(edge: Edge) -> None:
    answer = edge.client.request("DELETE", "/api/v1/tenants/demo")
    assert answer.code == "METHOD_NOT_ALLOWED"
    assert answer.headers["allow"] == "GET, HEAD, PATCH"
    assert answer.json["allow"] == ["GET", "HEAD", "PATCH"]


@pytest.mark.parametrize(
    "path",
    [
        "/api/v1/audit-events/01KAKBR8MZ9V3W7T5Q2E8YH4NC",
        "/api/v1/audit/records/01KAKBR8MZ9V3W7T5Q2E8YH4NC",
        "/api/v1/tenants/demo/audit-events/01KAKBR8MZ9V3W7T5Q2E8YH4NC",
    ],
)
def test_aliases_and_the_path_form_of_tenancy_reach_the_operation(opened: Opened, path: str) -> None:
    """API-08."""
    edge = opened(handlers={"getAuditEvent": answers})
    answer = edge.client.get(path)
    assert (answer.status, answer.operation_id) == (200, "getAuditEvent")


@pytest.mark.parametrize(
    ("path", "stream"),
    [
        ("document/doc-1", "document/doc-1"),
        ("document%2Fdoc-1", "document/doc-1"),
        ("document/a/b%2Fc%20d", "document/a/b/c d"),
        ("document/seal", "document/seal"),
        ("document/%C3%A9", "document/é"),
    ],
)
def test_a_stream_id_may_hold_slashes_encoded_or_not(opened: Opened, path: str, stream: str) -> None:
    seen: list[tuple[str, str]] = []

    async def note(request: Request) -> Response:
        seen.append((request.operation_id, request.parameter("streamId")))
        return json_response(example(request.operation_id, 200))

    edge = opened(handlers={"getEventStream": note, "sealEventStream": note})
    assert edge.client.get(f"/api/v1/event-streams/{path}").status == 200
    assert edge.client.post(f"/api/v1/event-streams/{path}/seal", json={"reason": "Closed."}).status == 200
    assert seen == [("getEventStream", stream), ("sealEventStream", stream)]


def test_a_path_of_thousands_of_slashes_is_answered_at_once(edge: Edge) -> None:
    answer = edge.client.get("/api/v1/event-streams/" + "a/" * 8000 + "b")
    assert answer.status in (400, 404)


@pytest.mark.parametrize("sent", ["corr-1", "x" * 128, "with space é"])
def test_a_correlation_id_is_returned_as_sent(edge: Edge, sent: str) -> None:
    """API-09."""
    answer = edge.client.get("/livez-or-not", headers={"X-Correlation-Id": sent, "X-Request-ID": "r-1"})
    assert answer.headers["x-correlation-id"] == sent
    assert answer.headers["x-request-id"] == "r-1"


@pytest.mark.parametrize("sent", [None, "", "x" * 129, "tab\there"])
def test_a_correlation_id_that_is_absent_or_impossible_is_made(edge: Edge, sent: str | None) -> None:
    headers = {} if sent is None else {"X-Correlation-Id": sent}
    first = edge.client.get("/nothing", headers=headers).headers["x-correlation-id"]
    second = edge.client.get("/nothing", headers=headers).headers["x-correlation-id"]
    assert first not in (sent, second)
    assert len(first) == 32


def test_the_trace_of_the_caller_is_kept_and_named_in_errors(edge: Edge) -> None:
    """OBS-01, API-10."""
    answer = edge.client.get("/nothing", headers={"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"})
    assert answer.json["error"]["traceId"] == TRACE
    assert answer.json["instance"] == f"urn:trace:{TRACE}"


@pytest.mark.parametrize(
    ("header", "trace_id"),
    [
        (f"00-{TRACE}-00f067aa0ba902b7-01", TRACE),
        (f"cc-{TRACE}-00f067aa0ba902b7-01-what-comes-later", TRACE),
        (f"00-{TRACE}-00f067aa0ba902b7-01-more", None),
        (f"ff-{TRACE}-00f067aa0ba902b7-01", None),
        (f"00-{'0' * 32}-00f067aa0ba902b7-01", None),
        (f"00-{TRACE}-{'0' * 16}-01", None),
        (f"00-{TRACE.upper()}-00f067aa0ba902b7-01", None),
        ("nonsense", None),
        (None, None),
    ],
)
def test_traceparent_is_read_as_w3c_says(header: str | None, trace_id: str | None) -> None:
    assert parse_traceparent(header)[0] == trace_id


def test_too_long_an_address_and_too_large_headers_are_refused(edge: Edge) -> None:
    assert edge.client.get("/livez?" + "a" * 17_000).code == "URI_TOO_LONG"
    assert edge.client.get("/livez", headers={"x-big": "a" * 33_000}).code == "HEADERS_TOO_LARGE"


@pytest.mark.parametrize(
    ("query", "code", "field"),
    [
        ("limit=0", "VALIDATION_FAILED", "limit"),
        ("limit=ten", "VALIDATION_FAILED", "limit"),
        ("limit=1&limit=2", "VALIDATION_FAILED", "limit"),
        ("limt=1", "VALIDATION_FAILED", "limt"),
        ("cursor=%FF", "INVALID_UTF8", None),
        ("&".join(f"a{n}=1" for n in range(300)), "VALIDATION_FAILED", None),
    ],
)
def test_bad_parameters_are_refused_by_the_contract(
    edge: Edge, query: str, code: str, field: str | None
) -> None:
    """API-11: every violation with its field."""
    answer = edge.client.get(f"/api/v1/tenants?{query}")
    assert answer.code == code
    assert field is None or [detail["field"] for detail in answer.details] == [field]


def test_a_path_that_is_not_utf8_is_refused(edge: Edge) -> None:
    assert edge.client.get("/api/v1/event-streams/document/%FF").code == "INVALID_UTF8"


def test_a_bug_answers_500_without_its_words_and_is_logged_without_its_values(opened: Opened) -> None:
    """API-10, OBS-03: what a bug says may quote a tenant's data."""

    async def breaks(request: Request) -> Response:
        raise RuntimeError("jane@example.com in tenant data")

    edge = opened(handlers={"getIntegrityStatus": breaks})
    with structlog.testing.capture_logs() as logs:
        answer = edge.client.call("getIntegrityStatus", headers={"X-Correlation-Id": "corr-7"})
    assert answer.code == "INTERNAL"
    bug = next(line for line in logs if line["event"] == "bug")
    assert bug["exception"] == "RuntimeError"
    assert bug["correlation_id"] == "corr-7"
    assert any("breaks" in frame for frame in bug["frames"])
    assert b"jane" not in answer.content
    assert "jane" not in repr(logs).replace('raise RuntimeError("jane@example.com in tenant data")', "")


@pytest.mark.parametrize(
    ("raised", "code"),
    [(StorageUnavailable("disk full"), "STORAGE_UNAVAILABLE"), (CommitUncertain("lost"), "TIMEOUT")],
)
def test_a_failing_store_is_a_retryable_answer(opened: Opened, raised: Exception, code: str) -> None:
    async def fails(request: Request) -> Response:
        raise raised

    edge = opened(handlers={"getIntegrityStatus": fails})
    answer = edge.client.call("getIntegrityStatus")
    assert answer.code == code
    assert answer.json["retryable"] is True


def test_a_problem_keeps_its_extra_members_and_hides_personal_values(opened: Opened) -> None:
    """API-10: nothing of actor, context or payload is echoed, and other values are cut."""
    from atp.kernel.errors import Detail

    async def refuses(request: Request) -> Response:
        raise Problem(
            "VALIDATION_FAILED",
            details=[
                Detail("actor.email", "is wrong", "jane@example.com"),
                Detail("[3].payload.card", "is wrong", "4111111111111111"),
                Detail("action.name", "is wrong", "n" * 100),
                Detail("outcome", "is wrong", None),
            ],
            extra={"hint": "x"},
        )

    edge = opened(handlers={"getIntegrityStatus": refuses})
    answer = edge.client.call("getIntegrityStatus")
    values = [detail.get("value", "absent") for detail in answer.details]
    assert values == ["absent", "absent", "n" * 63 + "…", None]
    assert answer.json["hint"] == "x"


def test_each_request_writes_one_line_without_query_key_or_address(edge: Edge) -> None:
    """OBS-03: one wide line, nothing personal."""
    with structlog.testing.capture_logs() as logs:
        edge.client.get("/api/v1/tenants?limit=7", headers={"User-Agent": "Jane's laptop"})
    (line,) = logs
    assert line["event"] == "request"
    assert (line["operation"], line["status"], line["method"]) == ("listTenants", 200, "GET")
    assert line["principal"] in edge.admin_key
    assert line["sent_bytes"] > 0
    assert line["duration_ms"] > 0
    for secret in ("limit=7", edge.admin_key, "Jane", "127.0.0.1"):
        assert secret not in repr(line)


def test_requests_are_counted_by_operation_and_status(edge: Edge) -> None:
    """OBS-02."""

    def counted(status: str) -> float:
        labels = {"operation": "listTenants", "status": status}
        return REGISTRY.get_sample_value("atp_http_requests_total", labels) or 0.0

    before = (counted("200"), counted("400"))
    edge.client.get("/api/v1/tenants")
    edge.client.get("/api/v1/tenants?limit=0")
    assert (counted("200"), counted("400")) == (before[0] + 1, before[1] + 1)
    assert REGISTRY.get_sample_value("atp_http_requests_in_flight") == 0


def test_answers_carry_security_headers(edge: Edge) -> None:
    headers = edge.client.get("/api/v1/tenants").headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert headers["cache-control"] == "no-store"


def test_head_answers_as_get_without_a_body(edge: Edge) -> None:
    got = edge.client.get("/api/v1/tenants/demo")
    head = edge.client.request("HEAD", "/api/v1/tenants/demo")
    assert (head.status, head.content) == (200, b"")
    assert head.headers["content-length"] == got.headers["content-length"]


def test_a_websocket_is_closed(edge: Edge) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def connect() -> None:
        await edge.gateway({"type": "websocket", "path": "/"}, None, send)  # type: ignore[arg-type]

    edge.client.transport.run(connect())  # type: ignore[attr-defined]
    assert sent == [{"type": "websocket.close", "code": 1008}]
