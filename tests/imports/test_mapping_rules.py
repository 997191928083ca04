"""The mappings on what the real samples do not hold: every identity type, odd values, and what JSON cannot say."""

from __future__ import annotations

import json

import pytest

from atp.imports.model import Unmappable
from atp.imports.rules import cloudtrail, detect, jsonl, windows
from atp.imports.rules.fields import IDENTIFIER_CHARS_MAX, idempotency_key, identifier
from atp.imports.rules.original import parse_object

RECORD = {
    "eventTime": "2026-01-02T03:04:05Z",
    "eventSource": "iam.amazonaws.com",
    "eventName": "CreateUser",
    "eventID": "e-1",
    "userIdentity": {"type": "Root", "arn": "arn:aws:iam::1:root", "accountId": "1"},
    "requestParameters": {"userName": "mallory"},
}
WINDOWS = {
    "EventID": 4624,
    "SourceName": "Microsoft-Windows-Security-Auditing",
    "Hostname": "h",
    "Channel": "Security",
    "RecordNumber": 7,
    "EventTime": "2026-01-02 03:04:05",
    "TargetUserName": "ann",
}


def trail(**changes):
    return cloudtrail.map_line(json.dumps(RECORD | changes).encode())


def logged(**changes):
    return windows.map_line(json.dumps(WINDOWS | changes).encode())


@pytest.mark.parametrize(
    ("identity", "kind", "actor_id"),
    [
        ({"type": "IAMUser", "arn": "a", "userName": "u"}, "user", "a"),
        ({"type": "AssumedRole", "arn": "a", "principalId": "P:s"}, "role", "a"),
        ({"type": "FederatedUser", "principalId": "P"}, "federated-user", "P"),
        ({"type": "WebIdentityUser", "principalId": "P", "userName": "u"}, "federated-user", "P"),
        ({"type": "AWSService", "invokedBy": "ec2.amazonaws.com"}, "service", "ec2.amazonaws.com"),
        ({"invokedBy": "AWS Internal"}, "service", "AWS Internal"),
        ({"type": "AWSAccount", "accountId": "123"}, "account", "123"),
        ({"type": "IdentityCenterUser", "onBehalfOf": {"userId": "U"}}, "user", "U"),
        ({"type": "Some/New"}, "some-new", "unknown"),
        ({}, "unknown", "unknown"),
        (None, "unknown", "unknown"),
    ],
)
def test_every_cloudtrail_identity_names_an_actor(identity, kind, actor_id):
    """ING-08."""
    actor = trail(userIdentity=identity)["actor"]
    assert (actor["type"], actor["id"]) == (kind, actor_id)


@pytest.mark.parametrize(
    ("fields", "outcome"),
    [
        ({}, "success"),
        ({"errorCode": "NoSuchBucket"}, "failure"),
        ({"errorCode": "AccessDeniedException"}, "denied"),
        ({"errorCode": "Client.UnauthorizedOperation"}, "denied"),
        ({"errorMessage": "Failed authentication"}, "failure"),
        ({"responseElements": {"ConsoleLogin": "Failure"}}, "failure"),
    ],
)
def test_cloudtrail_errors_become_outcomes(fields, outcome):
    """ING-08."""
    assert trail(**fields)["outcome"] == outcome


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"nonsense",
        b"[1]",
        b"{}",
        b'{"eventName":"x"',
        b'\xff{"a":1}',
        json.dumps(RECORD | {"eventTime": "yesterday"}).encode(),
        json.dumps(RECORD | {"eventTime": "0001-01-01T00:00:00Z"}).encode(),
        b'{"a":' * 5000 + b"1" + b"}" * 5000,
    ],
)
def test_what_is_no_event_is_refused_with_a_code(broken):
    """ING-08: Unmappable and nothing else, whatever the line."""
    for mapped in (cloudtrail.map_line, windows.map_line):
        with pytest.raises(Unmappable) as refusal:
            mapped(broken)
        assert refusal.value.code.isupper()


@pytest.mark.parametrize(
    ("raw", "as_text"),
    [
        (b'{"a":1,"b":[1.5,"x"]}', False),
        (b'{ "a" : 1.50, "e":"\\u00e9", "u":"5e4f" }', False),
        (b'{"n":123456789012345678901234567890}', False),
        (b'{"a":1,"a":2}', True),
        (b'{"x":{"a":1,"a":1}}', True),
        (b'{"f":0.1000000000000000055511151231257827}', True),
        (b'{"s":"a\\u0000b"}', True),
        (b'{"~sealed":"x"}', True),
        (b'{"\\u007esealed":"x"}', True),
        (b'{"s":"half \\ud83d"}', True),
        (b'{"s":"' + "pair 😀".encode() + b' \\ud83d\\ude00"}', False),
        (b'{"a":' * 40 + b"1" + b"}" * 40, True),
    ],
)
def test_what_values_cannot_say_travels_as_its_text(raw, as_text):
    """ING-08: nothing of the source is lost or changed, and nothing refused by the API is in the payload."""
    value, original = parse_object(raw)
    assert type(value) is dict
    if as_text:
        assert original == raw.decode()
    else:
        assert original == json.loads(raw)


def test_nul_and_reserved_keys_never_reach_the_fields_of_the_event():
    """ING-08: mapped copies are cleaned, the original is not."""
    event = trail(requestParameters={"userName": "a\0b"}, **{"~sealed": "x"})
    assert event["resource"]["id"] == "a\N{REPLACEMENT CHARACTER}b"
    assert type(event["payload"]["original"]) is str
    assert json.loads(event["payload"]["original"])["requestParameters"] == {"userName": "a\0b"}
    assert event["payload"]["import"]["original"] == "text"


def test_long_identifiers_stay_different_and_inside_the_bounds():
    """ING-08."""
    one, two = identifier("x" * 5000 + "1"), identifier("x" * 5000 + "2")
    assert one != two
    assert len(one) == len(two) == IDENTIFIER_CHARS_MAX
    assert identifier("short") == "short"
    assert idempotency_key("k" * 255) == "k" * 255
    for odd in ("k" * 256, "ü", " k", "k ", "a\nb"):
        made = idempotency_key(odd)
        assert len(made) <= 255
        assert made.isascii()
        assert made.isprintable()
        assert made == made.strip()


@pytest.mark.parametrize(
    ("times", "occurred"),
    [
        ({"EventTime": "2026-01-02T03:04:05+02:00"}, "2026-01-02T01:04:05.000000Z"),
        ({"UtcTime": "2026-01-02 01:00:00.125"}, "2026-01-02T01:00:00.125000Z"),
        (
            {"EventReceivedTime": "2026-01-02 03:04:09", "@timestamp": "2026-01-01T21:34:09.700Z"},
            "2026-01-01T21:34:05.000000Z",
        ),
        ({"@timestamp": "2026-01-02T07:04:12Z"}, "2026-01-02T07:04:05.000000Z"),
        ({"EventTime": None, "@timestamp": "2026-01-02T07:04:12Z"}, "2026-01-02T07:04:12.000000Z"),
        ({}, "2026-01-02T03:04:05.000000Z"),
    ],
)
def test_windows_time_comes_from_the_best_field_there_is(times, occurred):
    """ING-08: also where a zone is a half hour, or some of the times are missing."""
    assert logged(**times)["occurredAt"] == occurred


def test_a_cleared_event_log_does_not_hide_new_events():
    """ING-08: record numbers start again when a log is cleared; the key must not."""
    assert logged()["idempotencyKey"] != logged(EventTime="2026-01-03 03:04:05")["idempotencyKey"]


def test_own_events_pass_unchanged_and_get_a_key_only_if_they_have_none():
    """ING-08."""
    assert jsonl.map_line(b'{"a":1.0 }', "k") == b'{"a":1.0,"idempotencyKey":"k"}'
    assert jsonl.map_line(b"{}", "k") == b'{"idempotencyKey":"k"}'
    assert jsonl.map_line(b'{"a":{"idempotencyKey":"inner"}}', "k").endswith(b',"idempotencyKey":"k"}')
    own = b'{"n":123456789012345678901234567890,"idempotencyKey":"mine"}'
    assert jsonl.map_line(own, "k") == own


def test_formats_are_recognised_by_their_marks_and_never_guessed():
    """ING-08."""
    assert detect.detect(json.dumps(RECORD).encode()) == "cloudtrail"
    assert detect.detect(json.dumps({"Records": [RECORD]}).encode()) == "cloudtrail"
    assert detect.detect(json.dumps(WINDOWS).encode()) == "windows-eventlog"
    assert detect.detect(b'{"occurredAt":1,"actor":1,"resource":1}') == "jsonl"
    assert detect.detect(json.dumps(RECORD | WINDOWS).encode()) is None
    assert detect.detect(b"a,b\n1,2\n") is None
