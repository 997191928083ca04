"""The HTTP sink against a real socket: order, refusals, busy servers, lost connections (ING-07, ING-08)."""

from __future__ import annotations

import json
import threading

import pytest

from atp.imports.commands import sinks
from atp.imports.commands.sinks import CallableSink, HttpSink
from atp.imports.model import Answer, SinkUnavailable
from tests.imports.doors import CLOUDTRAIL, Kept, import_bytes


@pytest.fixture(autouse=True)
def short_delays(monkeypatch):
    monkeypatch.setattr(sinks, "DELAY_SECONDS_FIRST", 0.002)


def events(*numbers: int) -> list[bytes]:
    return [json.dumps({"n": number, "idempotencyKey": f"k{number}"}).encode() for number in numbers]


def busy(status: int, **headers: str):
    error = {"error": {"code": "BUSY", "message": "Later."}}
    return lambda handler, _body: handler.reply(status, error, **headers)


def lost_before(handler, _body):
    handler.close_connection = True
    return True


def lost_after(handler, body):
    handler.server.kept.send(body.split(b"\n"))
    handler.close_connection = True
    return True


def test_events_arrive_in_order_over_one_connection_with_key_and_tenant(server):
    """ING-08."""
    sink = HttpSink(server.url, "atp_key", tenant="demo")
    assert sink.send(events(1, 2)) == [Answer("accepted"), Answer("accepted")]
    assert sink.send(events(2, 3)) == [Answer("duplicate"), Answer("accepted")]
    assert list(sink.send([])) == []
    sink.close()
    assert server.connections == 1
    headers, _ = server.requests[0]
    assert headers["Authorization"] == "Bearer atp_key"
    assert headers["X-Tenant-Id"] == "demo"
    assert headers["Content-Type"] == "application/x-ndjson"


@pytest.mark.parametrize(
    "moods",
    [
        [busy(429, Retry_After="0")],
        [busy(503)] * 3,
        [lost_before],
        [lost_after],
        [busy(500), busy(502), lost_after],
    ],
    ids=["429", "503", "lost-before", "lost-after", "all"],
)
def test_what_passes_is_waited_out_and_nothing_is_stored_twice(server, moods):
    """ING-07: also where the batch was stored and only the answer was lost."""
    server.moods = list(moods)
    sink = HttpSink(server.url, "k")
    assert {answer.status for answer in sink.send(events(1, 2, 3))} <= {"accepted", "duplicate"}
    sink.close()
    assert server.kept.order == events(1, 2, 3)


def test_one_event_that_spoils_its_batch_is_found_and_the_others_stored(server):
    """ING-08: a batch refused as a whole is halved until one stands alone."""

    def mood(handler, body):
        return (
            handler.reply(400, {"error": {"code": "DUPLICATE_KEY", "message": "Twice."}})
            if b'"n": 5' in body
            else False
        )

    server.moods = [mood] * 30
    sink = HttpSink(server.url, "k")
    answers = sink.send(events(*range(9)))
    sink.close()
    assert [answer.code for answer in answers] == ["", "", "", "", "", "DUPLICATE_KEY", "", "", ""]
    assert server.kept.order == events(0, 1, 2, 3, 4, 6, 7, 8)


def test_a_refused_event_brings_its_code_and_fields(server):
    """ING-08."""
    sink = HttpSink(server.url, "k")
    sink.send(events(1))
    (answer,) = sink.send([b'{"other":1,"idempotencyKey":"k1"}'])
    sink.close()
    assert answer == Answer("rejected", "IDEMPOTENCY_CONFLICT", "another event f: i")


@pytest.mark.parametrize("status", [401, 403, 404, 415])
def test_a_refused_key_ends_the_import_instead_of_rejecting_every_line(server, status):
    """ING-08."""
    server.moods = [busy(status)]
    sink = HttpSink(server.url, "k")
    with pytest.raises(SinkUnavailable, match="BUSY"):
        sink.send(events(1, 2))
    sink.close()
    assert len(server.requests) == 1


def test_a_server_that_stays_away_is_given_up_with_a_message(monkeypatch):
    """ING-08."""
    monkeypatch.setattr(sinks, "GIVE_UP_SECONDS", 0.05)
    sink = HttpSink("http://127.0.0.1:9", "k")
    with pytest.raises(SinkUnavailable, match=r"127\.0\.0\.1:9 does not take events"):
        sink.send(events(1))
    sink.close()


def test_closing_ends_a_wait_at_once(server):
    """ING-08: Ctrl-C does not have to outlast a Retry-After."""
    waiting = threading.Event()

    def mood(handler, _body):
        handler.reply(503, {"error": {"code": "OVERLOADED", "message": ""}}, Retry_After="100")
        waiting.set()
        return True

    server.moods = [mood]
    sink = HttpSink(server.url, "k")
    failures = []

    def send():
        try:
            sink.send(events(1))
        except SinkUnavailable as error:
            failures.append(str(error))

    thread = threading.Thread(target=send)
    thread.start()
    assert waiting.wait(10)
    sink.close()
    thread.join(10)
    assert failures == ["The import was interrupted."]


def test_something_that_is_not_atp_is_not_believed(server):
    """ING-08: 200 alone acknowledges nothing."""
    server.moods = [lambda handler, _body: handler.reply(200, {"hello": 1})]
    sink = HttpSink(server.url, "k")
    with pytest.raises(SinkUnavailable, match="Is it ATP"):
        sink.send(events(1))
    sink.close()
    with pytest.raises(SinkUnavailable, match="address of a server"):
        HttpSink("localhost:8080", "k")


def test_both_sinks_give_the_same_import(server, tmp_path):
    """ING-08: in-process and over HTTP, the same events in the same order."""
    raw = CLOUDTRAIL.read_bytes()
    over_http, in_process = tmp_path / "http", tmp_path / "process"
    over_http.mkdir()
    in_process.mkdir()
    server.moods = [lost_after]
    first = import_bytes(raw, HttpSink(server.url, "k"), over_http)
    kept = Kept()
    second = import_bytes(raw, CallableSink(kept.send), in_process)
    assert server.kept.order == kept.order
    assert first.counts.accepted + first.counts.duplicates == second.counts.accepted == 103
