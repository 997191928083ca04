"""Every real event maps to a valid audit event that holds its source whole (ING-08)."""

from __future__ import annotations

import json
import zipfile
from collections import Counter

import jsonschema_rs
import pytest

from atp.imports.rules import cloudtrail, windows
from tests.imports.doors import CLOUDTRAIL, ROOT, WINDOWS_ZIP


@pytest.fixture(scope="module")
def contract():
    schemas = ROOT / "contracts/schemas"
    types = json.loads((schemas / "types.v1.json").read_bytes())
    registry = jsonschema_rs.Registry([("types.v1.json", types)])
    event = json.loads((schemas / "audit-event.v1.json").read_bytes())
    return jsonschema_rs.validator_for(event, registry=registry, validate_formats=True)


@pytest.fixture(scope="module")
def windows_lines():
    with zipfile.ZipFile(WINDOWS_ZIP) as archive:
        return archive.read(archive.namelist()[0]).splitlines()


@pytest.fixture(scope="module")
def windows_events(windows_lines):
    return [windows.map_line(line) for line in windows_lines]


def test_every_cloudtrail_record_becomes_a_valid_event_that_holds_it_whole(contract):
    """ING-08: schema, round trip, and one idempotency key a record."""
    lines = CLOUDTRAIL.read_bytes().splitlines()
    events = [cloudtrail.map_line(line) for line in lines]
    assert len(events) == 103
    for line, event in zip(lines, events, strict=True):
        contract.validate(event)
        assert event["payload"]["original"] == json.loads(line)
    assert len({event["idempotencyKey"] for event in events}) == 103


def test_cloudtrail_says_who_did_what_to_which_object():
    """ING-08: the exfiltration itself, as a reader would look for it."""
    events = [cloudtrail.map_line(line) for line in CLOUDTRAIL.read_bytes().splitlines()]
    theft = [event for event in events if event["action"]["name"] == "s3:GetObject"]
    assert len(theft) == 2
    for event in theft:
        assert event["actor"]["type"] == "role"
        assert event["actor"]["id"].endswith("BankingWAFRole-9S3E0UAE1MM0/i-0317f6c6b66ae9c40")
        assert event["resource"]["id"] == "arn:aws:s3:::mordors3stack-s3bucket-llp2yingx64a/ring.txt"
        assert event["context"]["ip"] == "1.2.3.4"
        assert event["outcome"] == "success"
    services = [event for event in events if event["actor"]["type"] == "service"]
    assert len(services) == 5
    assert {event["context"].get("source") for event in services} == {"ec2.amazonaws.com"}
    assert all("ip" not in event["context"] for event in services)


def test_every_windows_event_becomes_a_valid_event_that_holds_it_whole(
    contract, windows_lines, windows_events
):
    """ING-08: 12,278 events with integers beyond 2^53, line breaks and non-ASCII text, exactly."""
    assert len(windows_events) == 12_278
    huge = 0
    for line, event in zip(windows_lines, windows_events, strict=True):
        contract.validate(event)
        source = json.loads(line)
        assert event["payload"]["original"] == source
        huge += any(
            type(value) is int and abs(value) > 2**53 for value in event["payload"]["original"].values()
        )
    assert huge > 12_000
    assert len({event["idempotencyKey"] for event in windows_events}) == 12_278


def test_windows_times_are_utc_and_just_before_their_receipt(windows_events):
    """ING-08: the collector stood at -04:00; a wrong zone would be off by hours, not by seconds."""
    sources = Counter(event["payload"]["import"]["time"] for event in windows_events)
    assert set(sources) == {"UtcTime", "EventTime, zone from EventReceivedTime and @timestamp"}
    for event in windows_events:
        occurred, observed = event["occurredAt"], event["observedAt"]
        assert "2020-09-14T12:05:" <= occurred < "2020-09-14T12:08:"
        assert occurred <= observed


def test_the_back_door_user_is_found_by_actor_action_and_resource(windows_events):
    """ING-08: the act that the recording is named for."""
    (created,) = [event for event in windows_events if event["action"]["name"] == "windows:user.create"]
    assert created["actor"] == {
        "type": "user",
        "id": "S-1-5-21-4020993649-1037605423-417876593-1104",
        "name": "THESHIRE\\pgustavo",
    }
    assert created["resource"] == {"type": "account", "id": "WORKSTATION6\\backdoor", "name": "backdoor"}
    assert created["outcome"] == "success"
    (reset,) = [event for event in windows_events if event["action"]["name"] == "windows:user.password.reset"]
    assert reset["outcome"] == "failure"


def test_sysmons_own_account_is_never_taken_for_the_actor(windows_events):
    """ING-08: Sysmon runs as SYSTEM; the process or its user acted."""
    sysmon = [event for event in windows_events if event["action"]["name"].startswith("sysmon:")]
    assert len(sysmon) == 5_883
    quiet = [event for event in sysmon if "User" not in event["payload"]["original"]]
    assert {event["actor"]["type"] for event in quiet} == {"process"}
