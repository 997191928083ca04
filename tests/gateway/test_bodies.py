"""Request bodies: media type, size, time, compression, strict JSON, each refusal with its code (ING-05, API-13)."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import Callable
from typing import Any

import brotli
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atp.gateway import receive
from atp.kernel.errors import Problem
from atp.web.request import Request, raw_body
from atp.web.response import Response, json_response
from tests.client import InProcess
from tests.gateway.edge import Edge, example

Opened = Callable[..., Edge]
JSON = {"content-type": "application/json"}


def post(edge: Edge, content: bytes, **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return edge.client.request("POST", "/api/v1/tenants", content=content, headers=JSON | named)


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", "MALFORMED_JSON"),
        (b'{"id": "acme"', "MALFORMED_JSON"),
        (b"[" * 5000, "JSON_TOO_DEEP"),
        (b'{"id":"acme","displayName":"A","displayName":"B"}', "DUPLICATE_KEY"),
        (b'{"id":"acme","displayName":"\xff"}', "INVALID_UTF8"),
        (b'{"id":"acme","displayName":NaN}', "INVALID_NUMBER"),
        (b'{"id":"acme","displayName":1e999}', "INVALID_NUMBER"),
        (b'{"id":"acme","displayName":"A\\u0000B"}', "INVALID_CHARACTER"),
        (b'{"id":"acme","displayName":7}', "VALIDATION_FAILED"),
        (b'{"id":"acme","displayName":"A","unknown":1}', "VALIDATION_FAILED"),
        (b'{"id":"Acme!","displayName":"A"}', "VALIDATION_FAILED"),
        (b'{"id":"acme"}', "VALIDATION_FAILED"),
        (b"null", "VALIDATION_FAILED"),
    ],
)
def test_each_bad_body_has_its_own_code_and_changes_nothing(edge: Edge, content: bytes, code: str) -> None:
    assert post(edge, content).code == code
    assert [tenant["id"] for tenant in edge.client.get("/api/v1/tenants").json["items"]] == ["demo"]


def test_every_violation_is_named_with_field_and_value(edge: Edge) -> None:
    answer = post(edge, b'{"id":"Acme!","displayName":"","region":7,"extra":1}')
    values = {detail["field"]: detail.get("value", "absent") for detail in answer.details}
    assert values == {"displayName": "", "extra": "absent", "id": "Acme!", "region": 7}


@pytest.mark.parametrize(
    "media_type", ["", "text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1"]
)
def test_a_media_type_that_the_operation_does_not_take_is_refused(edge: Edge, media_type: str) -> None:
    assert post(edge, b"{}", content_type=media_type).code == "UNSUPPORTED_MEDIA_TYPE"


@pytest.mark.parametrize(
    "media_type", ["application/json", "Application/JSON; charset=UTF-8", 'application/json;charset="utf-8"']
)
def test_a_media_type_may_be_written_in_all_its_forms(edge: Edge, media_type: str) -> None:
    content = b'{"id":"acme","displayName":"Acme"}'
    assert post(edge, content, content_type=media_type).status == 201


@pytest.mark.parametrize("coding", ["gzip", "br", "GZIP"])
def test_a_body_may_come_compressed(edge: Edge, coding: str) -> None:
    content = b'{"id":"acme","displayName":"Acme"}'
    squeezed = brotli.compress(content) if coding == "br" else gzip.compress(content)
    assert post(edge, squeezed, content_encoding=coding).status == 201


@pytest.mark.parametrize("coding", ["gzip", "br"])
def test_a_small_body_that_expands_past_the_bound_is_refused(edge: Edge, coding: str) -> None:
    bomb = b'{"id":"' + b"a" * 50_000_000 + b'"}'
    squeezed = brotli.compress(bomb, quality=1) if coding == "br" else gzip.compress(bomb, 1)
    assert len(squeezed) < 256 * 1024
    assert post(edge, squeezed, content_encoding=coding).code == "PAYLOAD_TOO_LARGE"


@pytest.mark.parametrize(
    ("content", "coding", "code"),
    [
        (b"not gzip", "gzip", "MALFORMED_JSON"),
        (gzip.compress(b'{"id":"acme"}')[:-9], "gzip", "MALFORMED_JSON"),
        (gzip.compress(b"{}") + b"trailing", "gzip", "MALFORMED_JSON"),
        (b"not brotli", "br", "MALFORMED_JSON"),
        (brotli.compress(b'{"id":"acme","displayName":"Acme"}')[:-3], "br", "MALFORMED_JSON"),
        (b"{}", "deflate", "UNSUPPORTED_MEDIA_TYPE"),
        (b"{}", "gzip, gzip", "UNSUPPORTED_MEDIA_TYPE"),
    ],
)
def test_broken_or_unknown_compression_is_refused(edge: Edge, content: bytes, coding: str, code: str) -> None:
    assert post(edge, content, content_encoding=coding).code == code


def test_a_body_over_the_bound_is_refused_before_it_is_read(edge: Edge) -> None:
    """ING-05: the announced length alone is enough; an event's own limit has its own code."""
    large = b'{"a":"' + b"x" * 300_000 + b'"}'
    assert post(edge, large).code == "PAYLOAD_TOO_LARGE"
    event = edge.client.request("POST", "/api/v1/audit-events", content=large[:70_000], headers=JSON)
    assert event.code == "EVENT_TOO_LARGE"


def test_a_body_without_a_length_is_bounded_while_it_arrives(edge: Edge) -> None:
    taken = 0

    async def chunks() -> dict[str, Any]:
        nonlocal taken
        taken += 1
        return {"type": "http.request", "body": b"x" * 10_000, "more_body": True}

    with pytest.raises(Problem) as caught:
        asyncio.run(receive.receive_body(chunks, {}, bytes_max=65_536, too_large="EVENT_TOO_LARGE"))
    assert caught.value.code == "EVENT_TOO_LARGE"
    assert taken == 7


def test_a_body_that_does_not_arrive_in_time_is_refused() -> None:
    async def never() -> dict[str, Any]:
        await asyncio.Event().wait()
        raise AssertionError

    with pytest.raises(Problem) as caught:
        asyncio.run(
            receive.receive_body(never, {}, bytes_max=10, too_large="EVENT_TOO_LARGE", seconds_max=0.01)
        )
    assert caught.value.code == "TIMEOUT"


def test_a_client_that_leaves_half_way_is_answered_nothing(edge: Edge) -> None:
    """The request is over, in the count too, and nothing was changed."""
    transport = edge.client.transport
    assert isinstance(transport, InProcess)
    headers = JSON | {"authorization": f"Bearer {edge.admin_key}", "transfer-encoding": "chunked"}

    async def half() -> list[Any]:
        sent: list[Any] = []
        messages = [
            {"type": "http.request", "body": b'{"id":', "more_body": True},
            {"type": "http.disconnect"},
        ]

        async def receive_message() -> Any:
            return messages.pop(0)

        async def send(message: Any) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/api/v1/tenants",
            "raw_path": b"/api/v1/tenants",
            "query_string": b"",
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }
        await edge.gateway(scope, receive_message, send)
        return sent

    assert transport.run(half()) == []
    assert transport.run(edge.gateway.stop(seconds=1)) is True


def test_a_handler_may_ask_for_the_bytes_themselves(opened: Opened) -> None:
    """The hot path: ingestion walks the events anyway and does the JSON itself."""
    seen: list[Any] = []

    @raw_body
    async def keep(request: Request) -> Response:
        seen.append(request.body)
        return json_response(example(request.operation_id, 200))

    edge = opened(handlers={"ingestAuditEvent": keep})
    event = example_event()
    edge.client.request(
        "POST",
        "/api/v1/audit-events",
        content=gzip.compress(event),
        headers=JSON | {"content-encoding": "gzip"},
    )
    assert seen == [event]


def example_event() -> bytes:
    return (
        b'{"occurredAt":"2026-11-21T10:00:00Z","actor":{"type":"user","id":"u-1"},'
        b'"action":{"name":"document.read"},"resource":{"type":"document","id":"doc-1"}}'
    )


@given(
    seed=st.binary(max_size=300),
    repeats=st.integers(0, 1000),
    coding=st.sampled_from(["", "gzip", "br"]),
    cuts=st.lists(st.integers(1, 70_000), max_size=5),
    members=st.integers(1, 3),
)
def test_what_arrives_is_what_was_sent_however_it_is_cut_and_squeezed(
    seed: bytes, repeats: int, coding: str, cuts: list[int], members: int
) -> None:
    content = seed * repeats
    if coding == "gzip":
        part = len(content) // members + 1
        wire = b"".join(gzip.compress(content[at : at + part], 1) for at in range(0, len(content), part))
        wire = wire or gzip.compress(b"")
    else:
        wire = brotli.compress(content, quality=1) if coding == "br" else content
    pieces = []
    for cut in cuts:
        pieces.append(wire[:cut])
        wire = wire[cut:]
    messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    messages.append({"type": "http.request", "body": wire})

    async def next_message() -> Any:
        return messages.pop(0)

    received, _ = asyncio.run(
        receive.receive_body(
            next_message, {"content-encoding": coding}, bytes_max=500_000, too_large="PAYLOAD_TOO_LARGE"
        )
    )
    assert received == content


@given(size=st.integers(0, 400_000), bound=st.integers(1, 300_000), coding=st.sampled_from(["gzip", "br"]))
def test_the_bound_holds_exactly_after_expansion(size: int, bound: int, coding: str) -> None:
    content = b"a" * size
    wire = zlib.compress(content, 1, 31) if coding == "gzip" else brotli.compress(content, quality=1)

    async def once() -> Any:
        return {"type": "http.request", "body": wire}

    work = receive.receive_body(
        once, {"content-encoding": coding}, bytes_max=bound, too_large="PAYLOAD_TOO_LARGE"
    )
    if size > bound or len(wire) > bound:
        with pytest.raises(Problem):
            asyncio.run(work)
    else:
        assert asyncio.run(work)[0] == content
