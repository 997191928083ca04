"""Answers: conditional requests, compression, streams, deprecation, and a stop that drains (API-13, API-14)."""

from __future__ import annotations

import asyncio
import gzip
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import brotli
import pytest
import structlog
from opentelemetry import trace

from atp.gateway import deprecation
from atp.gateway.respond import COMPRESS_BYTES_MIN, INLINE_BYTES_MAX
from atp.specs import load
from atp.web.request import Request
from atp.web.response import IMMUTABLE, Response, live_stream
from tests.client import Answer, InProcess
from tests.gateway.edge import Edge

Opened = Callable[..., Edge]


def transport(edge: Edge) -> InProcess:
    assert isinstance(edge.client.transport, InProcess)
    return edge.client.transport


def test_an_unchanged_answer_is_not_sent_again(edge: Edge) -> None:
    first = edge.client.call("getTenant", path={"tenantId": "demo"})
    tag = first.headers["etag"]
    assert first.headers["cache-control"] == "private, no-cache"
    for asked in (tag, f'"other", {tag}', f"W/{tag}", "*"):
        again = edge.client.call("getTenant", path={"tenantId": "demo"}, headers={"If-None-Match": asked})
        assert (again.status, again.content, again.headers["etag"]) == (304, b"", tag)


def test_a_changed_answer_is_sent_with_another_tag(edge: Edge) -> None:
    tag = edge.client.call("getTenant", path={"tenantId": "demo"}).headers["etag"]
    changed = edge.client.call("updateTenant", path={"tenantId": "demo"}, json={"displayName": "New"})
    again = edge.client.call("getTenant", path={"tenantId": "demo"}, headers={"If-None-Match": tag})
    assert (again.status, again.headers["etag"]) == (200, changed.headers["etag"])


def test_a_write_is_done_whatever_if_none_match_says(edge: Edge) -> None:
    answer = edge.client.call(
        "updateTenant", path={"tenantId": "demo"}, json={"displayName": "New"}, headers={"If-None-Match": "*"}
    )
    assert answer.status == 200


def large(size: int, media_type: str = "text/html") -> Any:
    async def answers(request: Request) -> Response:
        return Response(200, b"<p>" * (size // 3), media_type=media_type, etag="t")

    return answers


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("gzip", "gzip"),
        ("br", "br"),
        ("gzip, deflate, br", "br"),
        ("br;q=0, gzip;q=0.5", "gzip"),
        ("BR;q=1.0", "br"),
        ("gzip;q=0.000", None),
        ("identity", None),
        ("", None),
    ],
)
@pytest.mark.parametrize("size", [3000, INLINE_BYTES_MAX + 3000])
def test_a_large_answer_is_compressed_as_accepted(
    opened: Opened, accepted: str, coding: str | None, size: int
) -> None:
    edge = opened(handlers={"getReference": large(size)})
    answer = edge.client.get("/docs", headers={"Accept-Encoding": accepted})
    assert answer.headers.get("content-encoding") == coding
    assert answer.headers["vary"] == "accept-encoding"
    opening = {"gzip": gzip.decompress, "br": brotli.decompress, None: bytes}[coding]
    assert opening(answer.content) == b"<p>" * (size // 3)
    assert answer.headers["etag"] == ('"t"' if coding is None else 'W/"t"')
    assert int(answer.headers["content-length"]) == len(answer.content)


def test_small_or_opaque_answers_are_not_compressed(opened: Opened) -> None:
    edge = opened(handlers={"getReference": large(COMPRESS_BYTES_MIN - 3)})
    assert "content-encoding" not in edge.client.get("/docs", headers={"Accept-Encoding": "gzip"}).headers
    log = "/tlog/01kakbr8mz9v3w7t5q2e8yh4nc/tile/0/000"

    async def tile(request: Request) -> Response:
        return Response(200, b"\0" * 8192, media_type="application/octet-stream", cache_control=IMMUTABLE)

    edge = opened(handlers={"getTile": tile})
    answer = edge.client.with_().get(log, headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in answer.headers
    assert answer.headers["cache-control"].endswith("immutable")


def test_a_page_may_state_its_own_content_security_policy(opened: Opened) -> None:
    async def page(request: Request) -> Response:
        own = (("content-security-policy", "default-src 'self'"),)
        return Response(200, b"<p>", media_type="text/html", headers=own)

    edge = opened(handlers={"getReference": page})
    assert edge.client.get("/docs").headers["content-security-policy"] == "default-src 'self'"


class Feed:
    """A live stream that sends when the test says so and tells whether it was closed."""

    def __init__(self) -> None:
        self.items: asyncio.Queue[bytes] = asyncio.Queue()
        self.closed = asyncio.Event()

    async def body(self) -> AsyncIterator[bytes]:
        try:
            while True:
                yield await self.items.get()
        finally:
            self.closed.set()

    async def __call__(self, request: Request) -> Response:
        return live_stream(self.body(), media_type="text/event-stream")


async def waited(event: asyncio.Event) -> bool:
    return await event.wait()


def test_a_live_stream_is_sent_as_it_arrives_and_closed_when_the_client_leaves(opened: Opened) -> None:
    feed = Feed()
    edge = opened(handlers={"tailAuditEvents": feed})
    with edge.client.stream("/api/v1/audit-events/tail") as answer:
        assert (answer.status, answer.headers["content-type"]) == (200, "text/event-stream")
        chunks = answer.chunks()
        for item in (b"id: 1\n\n", b"id: 2\n\n"):
            transport(edge).run(feed.items.put(item))
            assert next(chunks) == item
    assert transport(edge).run(waited(feed.closed))


def test_a_stop_ends_live_streams_finishes_what_is_in_flight_and_takes_no_more(opened: Opened) -> None:
    """Graceful stop: nothing that was begun is cut off, nothing new is begun, health answers to the end."""
    feed, begun, release = Feed(), asyncio.Event(), asyncio.Event()

    async def slow(request: Request) -> Response:
        begun.set()
        await release.wait()
        return Response(200, b"done\n", media_type="text/plain")

    async def live(request: Request) -> Response:
        return Response(200, b"ok\n", media_type="text/plain")

    edge = opened(handlers={"tailAuditEvents": feed, "getIntegrityKeys": slow, "getLiveness": live})
    run = transport(edge).run
    running: Future[Answer] = Future()
    caller = threading.Thread(target=lambda: running.set_result(edge.client.call("getIntegrityKeys")))
    with edge.client.stream("/api/v1/audit-events/tail") as tail:
        caller.start()
        run(waited(begun))
        assert run(edge.gateway.stop(seconds=0.01)) is False
        assert b"".join(tail.chunks()) == b""
    refused = edge.client.call("getTenant", path={"tenantId": "demo"})
    assert refused.code == "SHUTTING_DOWN"
    assert edge.client.get("/livez").status == 200
    transport(edge).loop.call_soon_threadsafe(release.set)
    assert running.result(30).content == b"done\n"
    caller.join()
    assert run(edge.gateway.stop(seconds=5)) is True


def test_a_deprecated_operation_says_since_when_and_until_when() -> None:
    """API-14: RFC 9745 and RFC 8594."""
    operation = replace(
        load().operations["getTenant"],
        deprecated=True,
        deprecated_since="2026-11-01T00:00:00Z",
        sunset="2027-11-01T00:00:00Z",
    )
    assert deprecation.headers(operation) == [
        ("deprecation", "@1793491200"),
        ("sunset", "Mon, 01 Nov 2027 00:00:00 GMT"),
    ]


def test_an_answer_that_breaks_half_way_is_cut_off_and_told(opened: Opened) -> None:
    """Half an answer must not look like a whole one."""

    async def broken() -> AsyncIterator[bytes]:
        yield b"half"
        raise RuntimeError("lost")

    async def answers(request: Request) -> Response:
        return Response(200, broken(), media_type="text/html")

    edge = opened(handlers={"getReference": answers})
    with structlog.testing.capture_logs() as logs, pytest.raises(RuntimeError):
        edge.client.get("/docs")
    assert [(line["event"], line.get("code")) for line in logs] == [("bug", None), ("request", "INTERNAL")]
    assert transport(edge).run(edge.gateway.stop(seconds=1)) is True


def test_a_request_is_a_span_under_the_caller_s(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    """OBS-01: through the OpenTelemetry API, as an SDK would see it."""
    trace_id, parent_id = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
    seen: list[trace.SpanContext] = []
    names: list[str] = []

    class Span(trace.NonRecordingSpan):
        def update_name(self, name: str) -> None:
            names.append(name)

    class Tracer(trace.NoOpTracer):
        def start_span(self, name: str, context: Any = None, **_: Any) -> trace.Span:
            seen.append(trace.get_current_span(context).get_span_context())
            return Span(trace.INVALID_SPAN_CONTEXT)

        @contextmanager
        def start_as_current_span(self, name: str, context: Any = None, **given: Any) -> Iterator[trace.Span]:
            yield self.start_span(name, context)

    class Provider(trace.NoOpTracerProvider):
        def get_tracer(self, *_: Any, **__: Any) -> trace.Tracer:
            return Tracer()

    monkeypatch.setattr(trace, "get_tracer_provider", Provider)
    edge.client.get("/api/v1/tenants", headers={"traceparent": f"00-{trace_id}-{parent_id}-01"})
    edge.client.get("/api/v1/tenants")
    assert [f"{context.trace_id:032x}-{context.span_id:016x}" for context in seen] == [
        f"{trace_id}-{parent_id}",
        f"{0:032x}-{0:016x}",
    ]
    assert names == ["listTenants", "listTenants"]
