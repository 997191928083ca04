"""Precision on logs nobody wrote for us: the shipped CloudTrail and Windows samples (CLS-01)."""

from __future__ import annotations

import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec

from atp.classification.queries import classify
from tests.classification.reference import PAGE, renewed

ROOT = Path(__file__).parents[2]
CLOUDTRAIL = ROOT / "src/atp/samples/cloudtrail-s3-exfiltration.jsonl"
WINDOWS = ROOT / "examples/data/windows-eventlog-add-user.zip"
# Every so many Windows events are read, to keep the test short.
WINDOWS_STEP = 5


def findings(lines: list[bytes]) -> Counter[tuple[str, str]]:
    found: Counter[tuple[str, str]] = Counter()
    for line in lines:
        payload: dict[str, Any] = msgspec.json.decode(line)
        found.update((f.rule, f.confidence) for f in classify({"payload": payload}).findings)
    return found


def test_cloudtrail_holds_exactly_what_a_reader_of_it_would_name() -> None:
    """Keys, source addresses, user names and session tokens; no ARN, request id, account number or time."""
    assert findings(CLOUDTRAIL.read_bytes().splitlines()) == {
        ("aws_access_key.value", "high"): 103,
        ("ip.field", "high"): 98,
        ("username.field", "low"): 98,
        ("api_key.field", "high"): 5,
    }


def test_windows_events_are_full_of_numbers_and_none_is_taken_for_a_person() -> None:
    """Of GUIDs, SIDs, hashes, versions, paths and big integers nothing is found; addresses and users are."""
    with zipfile.ZipFile(WINDOWS) as archive, archive.open(archive.namelist()[0]) as stream:
        lines = [line for number, line in enumerate(stream) if number % WINDOWS_STEP == 0]
    assert len(lines) > 2400
    found = findings(lines)
    assert {rule for rule, _ in found} <= {
        "ip.field", "ip.private.field", "ipv4.value", "ipv4.private.value", "ipv6.value", "ipv6.private.value",
        "username.field", "email.value",
    }  # fmt: skip
    assert found["ip.private.field", "medium"] > 100 and found["username.field", "low"] > 50


def test_the_page_says_what_the_program_does() -> None:
    """Renew it with `python -m tests.classification.reference`."""
    page = PAGE.read_text()
    assert page == renewed(page)
