"""What an event may not be, one at a time and inside batches; and what must be kept exactly (ING-01, 03, 05)."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.client import Answer
from tests.flows.events import event, every_event, until
from tests.server import Server

JSON = {"content-type": "application/json"}
BATCH = "ingestAuditEventBatch"


def text(value: Any, **raw: str) -> bytes:
    """Return JSON in which each member of `raw` stands literally as its value."""
    written = json.dumps(value)
    for name, literal in raw.items():
        written = written.replace(f'"{name}"', literal)
    return written.encode()


def nested(levels: int) -> str:
    return "[" * levels + "]" * levels


def soon(**ahead: float) -> str:
    return (datetime.now(UTC) + timedelta(**ahead)).isoformat()


BAD_EVENTS: dict[str, tuple[bytes, str]] = {
    "no actor": (text(event(actor=None)), "VALIDATION_FAILED"),
    "no time": (text(event(occurredAt=None)), "VALIDATION_FAILED"),
    "a time without zone": (text(event(occurredAt="2026-01-15T10:00:00")), "VALIDATION_FAILED"),
    "a day that does not exist": (text(event(occurredAt="2026-02-30T10:00:00Z")), "VALIDATION_FAILED"),
    "a number as time": (text(event(occurredAt=1768471200)), "VALIDATION_FAILED"),
    "an empty id": (text(event(resource={"type": "document", "id": ""})), "VALIDATION_FAILED"),
    "a type with a slash": (text(event(resource={"type": "a/b", "id": "1"})), "VALIDATION_FAILED"),
    "a line break in an id": (text(event(resource={"type": "document", "id": "a\nb"})), "VALIDATION_FAILED"),
    "an unknown field": (text(event(nobody=1)), "VALIDATION_FAILED"),
    "an unknown field in the action": (text(event(action={"name": "x", "verb": "y"})), "VALIDATION_FAILED"),
    "an unknown outcome": (text(event(outcome="perhaps")), "VALIDATION_FAILED"),
    "a payload that is a list": (text(event(payload=[])), "VALIDATION_FAILED"),
    "a stream of one part": (text(event(stream="document")), "VALIDATION_FAILED"),
    "a stream reserved for ATP": (text(event(stream="atp.tenant/demo")), "VALIDATION_FAILED"),
    "a reserved key": (text(event(payload={"~sealed": "x"})), "RESERVED_KEY"),
    "a reserved key deep inside": (text(event(context={"a": [{"b": {"~x": 1}}]})), "RESERVED_KEY"),
    "a key twice": (text(event(payload={"a": "B"}), B='1,"a":2'), "DUPLICATE_KEY"),
    "a key twice at the top": (text(event(outcome="B"), B='"success","outcome":"success"'), "DUPLICATE_KEY"),
    "33 levels": (text(event(payload={"a": "B"}), B=nested(31)), "JSON_TOO_DEEP"),
    "NUL in a value": (text(event(payload={"a": "x\0y"})), "INVALID_CHARACTER"),
    "NUL in a key": (text(event(payload={"x\0y": 1})), "INVALID_CHARACTER"),
    # Far enough that it still lies ahead when the last of these tests runs.
    "two hours ahead": (text(event(occurredAt="B"), B=f'"{soon(hours=2)}"'), "TIMESTAMP_IN_FUTURE"),
    "observed tomorrow": (text(event(observedAt="B"), B=f'"{soon(days=1)}"'), "TIMESTAMP_IN_FUTURE"),
    "64 KiB and one byte": (text(event(payload={"a": "x" * 65_536})), "EVENT_TOO_LARGE"),
}
"""What is wrong → the event as sent, and the code; each is valid JSON, so it can stand in a batch."""

BROKEN_TEXTS: dict[str, tuple[bytes, str]] = {
    "NaN": (text(event(payload={"a": "B"}), B="NaN"), "INVALID_NUMBER"),
    "beyond a double": (text(event(payload={"a": "B"}), B="1e400"), "INVALID_NUMBER"),
    "not UTF-8": (text(event(payload={"a": "B"}), B='"é"').decode().encode("latin-1"), "INVALID_UTF8"),
    "half a surrogate pair": (text(event(payload={"a": "\udc00"})), "INVALID_UTF8"),
    "cut off": (text(event())[:-1], "MALFORMED_JSON"),
}


def send(server: Server, content: bytes, **headers: str) -> Answer:
    return server.admin.call("ingestAuditEvent", content=content, headers=JSON | headers)


@pytest.mark.parametrize("fault", [*BAD_EVENTS, *BROKEN_TEXTS])
def test_a_bad_event_is_refused_alone(standing: Server, fault: str) -> None:
    """ING-05: the catalogued error, and nothing is written."""
    content, code = (BAD_EVENTS | BROKEN_TEXTS)[fault]
    before = standing.size()
    answer = send(standing, content)
    assert answer.code == code
    assert answer.status == (413 if code == "EVENT_TOO_LARGE" else 400)
    assert standing.size() == before


def test_bad_events_do_not_harm_their_neighbours_in_a_batch(standing: Server) -> None:
    """API-02: each event has its own verdict, with the code it would have had alone; good ones are stored."""
    good = text(event(1))
    sent = [good]
    for content, _ in BAD_EVENTS.values():
        sent += [content, good]
    before = standing.size()
    answer = standing.admin.call(BATCH, content=b'{"events":[' + b",".join(sent) + b"]}", headers=JSON)
    verdicts = [item.get("error", {}).get("code") for item in answer.json["results"]]
    assert verdicts == [None, *(code for _, bad in BAD_EVENTS.values() for code in (bad, None))]
    assert answer.json["accepted"] == len(BAD_EVENTS) + 1
    completed = 1  # The platform record that tells of the batch (ING-06).
    assert standing.size() == before + len(BAD_EVENTS) + 1 + completed


def test_lines_of_a_batch_are_judged_each_for_itself(standing: Server) -> None:
    """API-02: NDJSON, in which even a line that is no JSON only spoils itself."""
    faults = BAD_EVENTS | BROKEN_TEXTS
    lines = [text(event(1)), *(content for content, _ in faults.values()), text(event(2))]
    answer = standing.admin.call(
        BATCH, content=b"\n".join(lines), headers={"content-type": "application/x-ndjson"}
    )
    verdicts = [item.get("error", {}).get("code") for item in answer.json["results"]]
    assert verdicts == [None, *(code for _, code in faults.values()), None]


def test_an_atomic_batch_with_one_bad_event_stores_nothing(standing: Server) -> None:
    """API-02: 422, a verdict for each, and no hit in the search afterwards."""
    before = standing.size()
    marked = [event(n, resource={"type": "atomic", "id": "never"}) for n in range(3)]
    answer = standing.admin.call(BATCH, json={"events": [*marked, {"actor": 1}], "atomic": True})
    assert (answer.status, answer.code) == (422, "BATCH_REJECTED")
    verdicts = [item["error"]["code"] for item in answer.json["results"]]
    assert verdicts == ["BATCH_REJECTED"] * 3 + ["VALIDATION_FAILED"]
    assert standing.size() == before
    stored = send(standing, text(event())).json["position"]
    hits = every_event(standing.admin, resourceType="atomic", waitForPosition=stored, waitTimeout=10_000)
    assert list(hits) == []


@pytest.mark.parametrize(
    ("envelope", "code"),
    [
        (b'{"events":[%s],"events":[%s]}', "DUPLICATE_KEY"),
        (b'{"events":[%s],"atomic":true,"atomic":true,"x":[%s]}', "DUPLICATE_KEY"),
        (b'{"\\u0065vents":[%s],"events":[%s]}', "DUPLICATE_KEY"),
        (b'{"events":[],"\\u0065vents":[%s,%s]}', "DUPLICATE_KEY"),
        (b'{"events":[%s,%s],"atomic":"yes"}', "VALIDATION_FAILED"),
        (b'{"events":[%s,%s],"more":1}', "VALIDATION_FAILED"),
        (b'{"events":{"a":%s,"b":%s}}', "VALIDATION_FAILED"),
        (b"[%s,%s]", "VALIDATION_FAILED"),
        (b'{"events":[]}', "VALIDATION_FAILED"),
        (b"{}", "VALIDATION_FAILED"),
    ],
)
def test_a_bad_envelope_refuses_the_whole_batch(standing: Server, envelope: bytes, code: str) -> None:
    """ING-05: a repeated member of the envelope would let half of a batch disappear."""
    before = standing.size()
    good = text(event())
    content = envelope.replace(b"%s", good)
    answer = standing.admin.call(BATCH, content=content, headers=JSON)
    assert (answer.status, answer.code) == (400, code)
    assert standing.size() == before


@pytest.mark.parametrize("item", [b'"events"', b'"atomic"', b"0", b"null", b'{"events":1,"events":2}'])
def test_items_that_look_like_the_envelope_are_only_items(standing: Server, item: bytes) -> None:
    """API-02: what stands inside an event never counts for the envelope."""
    content = b'{"events":[%s,%s],"atomic":false}' % (item, text(event()))
    answer = standing.admin.call(BATCH, content=content, headers=JSON)
    assert [result["status"] for result in answer.json["results"]] == ["rejected", "accepted"]


def test_a_batch_past_its_bounds_is_refused_whole(standing: Server) -> None:
    """ING-05: 1,000 events and 5 MiB are allowed, one more of either is not."""
    before = standing.size()
    many = standing.admin.call(BATCH, json={"events": [event()] * 1001})
    assert (many.status, many.code) == (413, "BATCH_TOO_LARGE")
    large = b'{"events":[' + b" " * 5 * 1024 * 1024 + text(event()) + b"]}"
    heavy = standing.admin.call(BATCH, content=large, headers=JSON)
    assert (heavy.status, heavy.code) == (413, "PAYLOAD_TOO_LARGE")
    assert standing.size() == before


def test_what_is_just_within_the_bounds_is_kept(standing: Server) -> None:
    """ING-05: 32 levels, 64 KiB, 1,000 events, four minutes ahead."""
    assert send(standing, text(event(payload={"a": "B"}), B=nested(30))).status == 201
    full = text(event(payload={"a": ""}))
    room = 65_536 - len(full)
    assert send(standing, full.replace(b'"a": ""', b'"a": "' + b"x" * room + b'"')).status == 201
    assert send(standing, text(event(occurredAt=soon(minutes=4)))).status == 201
    answer = standing.admin.call(BATCH, json={"events": [event(n) for n in range(1000)]})
    assert answer.json["accepted"] == 1000


def test_numbers_are_kept_exactly(standing: Server) -> None:
    """ING-01: POST then GET gives the same digits, beyond 2^53 and beyond 64 bits too."""
    numbers = [2**53 + 1, -(2**53) - 1, 2**63, 2**64 + 1, 10**40 + 7, 0.1, -0.5, 1e300, 0]
    sent = send(standing, text(event(payload={"numbers": numbers})))
    assert sent.status == 201
    got = standing.admin.call("getAuditEvent", path={"id": sent.json["id"]})
    assert json.loads(got.content)["payload"]["numbers"] == numbers
    assert json.loads(got.content)["record"]["content"]["payload"]["numbers"] == numbers


def test_text_is_kept_exactly(standing: Server) -> None:
    """ING-01: every plane of Unicode, quotes, controls, empty keys."""
    payload = {"": "", "tab\t": 'q"\\/\b\f\n\r', "🜚": "𝒜\u2028\u2029\u007f\ufffd", "é": ["e\u0301", "\u200d"]}
    sent = send(standing, text(event(payload=payload)))
    assert sent.status == 201, sent.content
    got = standing.admin.call("getAuditEvent", path={"id": sent.json["id"]})
    assert json.loads(got.content)["payload"] == payload


def test_a_repeat_returns_the_first_record_and_another_body_is_a_conflict(standing: Server) -> None:
    """ING-03: by header or by member, alone or in a batch; the conflict names the first record."""
    first = send(standing, text(event(1)), **{"Idempotency-Key": "once"})
    assert first.status == 201
    before = standing.size()
    repeat = send(standing, text(event(1, idempotencyKey="once")))
    assert (repeat.status, repeat.json["status"]) == (200, "duplicate")
    assert repeat.json["id"] == first.json["id"]
    other = send(standing, text(event(2)), **{"Idempotency-Key": "once"})
    assert (other.status, other.code) == (409, "IDEMPOTENCY_CONFLICT")
    assert first.json["id"] in other.content.decode()
    same, another = event(1, idempotencyKey="once"), event(2, idempotencyKey="once")
    for events, verdicts in (
        ([same, another], ["duplicate", "rejected"]),
        ([another, same], ["rejected", "duplicate"]),
    ):
        batch = standing.admin.call(BATCH, json={"events": events})
        assert [item["status"] for item in batch.json["results"]] == verdicts
    assert standing.size() == before
    differing = send(standing, text(event(1, idempotencyKey="a")), **{"Idempotency-Key": "b"})
    assert (differing.status, differing.code) == (400, "VALIDATION_FAILED")


def test_a_version_that_has_passed_is_a_conflict(standing: Server) -> None:
    """STR-01: optimistic concurrency; the message gives the present version."""
    where = {"resource": {"type": "version", "id": "v-1"}}
    assert send(standing, text(event(**where, expectedStreamVersion=0))).json["streamVersion"] == 1
    assert send(standing, text(event(**where, expectedStreamVersion=1))).json["streamVersion"] == 2
    before = standing.size()
    stale = send(standing, text(event(**where, expectedStreamVersion=1)))
    assert (stale.status, stale.code) == (409, "VERSION_CONFLICT")
    assert "2" in stale.json["error"]["message"]
    assert standing.size() == before


def test_a_sealed_stream_takes_nothing_more(standing: Server) -> None:
    """STR-02: alone, in a batch, and sealed again; its records stay."""
    stream = {"streamId": "case/c-1"}
    kept = send(standing, text(event(resource={"type": "case", "id": "c-1"}))).json
    seal = standing.admin.call("sealEventStream", path=stream, json={"reason": "The case was closed."})
    assert (seal.status, seal.json["finalVersion"]) == (200, 1)
    before = standing.size()
    late = text(event(resource={"type": "case", "id": "c-1"}))
    alone = send(standing, late)
    assert (alone.status, alone.code) == (409, "STREAM_SEALED")
    batch = standing.admin.call(BATCH, content=b'{"events":[%s]}' % late, headers=JSON)
    assert batch.json["results"][0]["error"]["code"] == "STREAM_SEALED"
    again = standing.admin.call("sealEventStream", path=stream, json={"reason": "Once more."})
    assert (again.status, again.code) == (409, "STREAM_SEALED")
    assert standing.size() == before
    read = standing.admin.call("getEventStream", path=stream).json
    assert read["state"] == "sealed" and read["events"][0]["id"] == kept["id"]


def test_a_proof_of_what_was_just_kept_comes_within_the_wait(standing: Server) -> None:
    """INT-05: refused records never reach the tree, kept ones do."""
    kept = send(standing, text(event())).json
    proof = standing.admin.call("getAuditEventProof", path={"id": kept["id"]}, query={"waitTimeout": 10_000})
    assert proof.json["recordHash"] == kept["recordHash"]
    assert until(lambda: standing.status()["lagRecords"] == 0)
