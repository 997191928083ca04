"""Each detector finds what it should and leaves near misses alone (CLS-01)."""

from __future__ import annotations

import re
import sys
from re import _parser

import msgspec
import pytest

from atp.classification.queries import classify
from atp.classification.rules import readers, value_tests
from atp.classification.rules.detectors import TRIGGERS
from atp.classification.rules.readers import credentials, numbers, people
from tests.classification.cases import CASES

# These see only texts that were cut to 64 characters beforehand.
BOUNDED_BY_LENGTH = (
    value_tests._SEPARATORS,
    *value_tests._DATES,
    value_tests._WRITTEN_DATE,
    value_tests._COORDINATE,
)

FOUND = [(name, value) for name, (_, finds, _) in CASES.items() for value in finds]
MISSED = [(name, value) for name, (_, _, leaves) in CASES.items() for value in leaves]


def event(payload: dict) -> dict:
    return {
        "occurredAt": "2026-11-21T10:00:00.123456Z",
        "actor": {"type": "user", "id": "u-1"},
        "action": {"name": "document.view"},
        "resource": {"type": "document", "id": "doc-1"},
        "payload": payload,
    }


def rules_found(value: str, key: str = "note") -> set[str]:
    return {finding.rule for finding in classify(event({key: value})).findings}


@pytest.mark.parametrize(("name", "value"), FOUND)
def test_a_detector_finds_its_kind_through_the_whole_pipeline(name: str, value: str) -> None:
    """Trigger and reader agree: what the reader reads is also what the automaton points at (CLS-01)."""
    prefix = CASES[name][0]
    read = {rule for _, _, rule in getattr(readers, name)(value)}
    assert any(rule.startswith(prefix) for rule in read)
    assert read <= rules_found(value)


@pytest.mark.parametrize(("name", "value"), MISSED)
def test_a_detector_leaves_near_misses_alone(name: str, value: str) -> None:
    assert list(getattr(readers, name)(value)) == []


def test_every_detector_has_a_table_of_at_least_eight_and_eight() -> None:
    assert {trigger.reader for trigger in TRIGGERS} == {getattr(readers, name) for name in CASES}
    for name, (_, finds, leaves) in CASES.items():
        assert len(finds) >= 8, name
        assert len(leaves) >= 8, name


@pytest.mark.parametrize(
    "value",
    [
        "2026-11-21T10:00:00.123456Z", "2020-09-14 08:05:43", "{54849625-5478-4994-A5BA-3E3B0328C30D}",
        "fd4f1042-c7f6-4107-a6ee-d841d92596e7", "10.0.18362.1082 (WinBuild.160101.0800)",
        "SHA1=CEEA1CA1D843C0CE456E347AFB58286CA60AF848,MD5=29B7D02A3B5F7A2E7C6C1B2B8F1F0E55",
        "C:\\Windows\\System32\\WindowsPowerShell\\v1.0\\powershell.exe", "arn:aws:iam::123456789123:user/pedro",
        "S-1-5-21-4020993649-1037605423-417876593-1104", "80, 443, 8080-8090", "123456789123", "0x6d4",
        "EC2ConsoleFrontend, aws-internal/3 aws-sdk-java/1.11.848 Linux/4.9.217",
        "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/120.0.0.0 Safari/537.36",
        "C:\\windows\\SYSTEM32\\ntdll.dll+9c534|C:\\windows\\System32\\KERN", "i-044b1baf4c96e1b62", "36028797018963968",
        "D:(A;;GA;;;SY)(A;;RC;;;OW)(A;;GA;;;S-1-5-86-615999462-627052)", "1600041600", "QWORD (0x01d68a8f-0x68f75633)",
        "\\device\\harddiskvolume2\\windowsazure\\guestagent_2.7.41491.993_2020-09-14_100828\\agent.exe",
    ],
)  # fmt: skip
def test_what_logs_are_full_of_is_not_personal(value: str) -> None:
    """Times, GUIDs, versions, hashes, paths, ARNs, SIDs and port lists of real logs are left alone."""
    assert rules_found(value) == set()


def test_a_bare_number_is_never_more_than_a_guess() -> None:
    """One in five random nine-digit numbers passes some check; without a hint it is left in the clear."""
    (finding,) = classify(event({"count": "123456782"})).findings
    assert finding.confidence == "low" and finding.method == "none"


def test_big_integers_are_read_as_cards_and_small_ones_are_not_read() -> None:
    found = classify(event({"a": 4111111111111111, "b": 123456782, "c": -9214364837600034816})).findings
    assert [(f.pointer, f.rule) for f in found] == [("/payload/a", "card.bare.value")]


@pytest.mark.parametrize(
    "bomb",
    [
        "a@" * 32_000, "@" * 64_000, "1." * 32_000, "1:" * 32_000, "a:" * 32_000, "4" * 64_000, "4111 " * 12_800, "eyJ" * 21_000,
        "eyJ" + "a" * 64_000, "GB82 " * 12_800, "password=" * 7_000, "+1" * 32_000, "Bearer " * 9_000, "P<" * 32_000,
        "A" * 64_000, "://a:" * 12_800, "-----BEGIN " * 5_800, "sk-" * 21_000, "40.7128," * 8_000, "dob " * 16_000,
        "\u00e9@" * 16_000, "bsn 1" * 12_800, "a." * 32_000 + "@", "x@" + "a." * 32_000, "AIza" * 16_000, "12-" * 21_000,
        "00:" * 21_000, "1 " * 32_000, "tel 1" * 12_800, "secret:" * 9_000, "::" * 32_000, "fe80::" * 10_000,
    ],
)  # fmt: skip
def test_no_reader_works_more_than_in_proportion_to_its_text(bomb: str) -> None:
    """Twice the text, at most about twice the work, counted in steps of the interpreter, not in seconds."""
    for reader in {trigger.reader for trigger in TRIGGERS}:
        short, whole = steps(reader, bomb[: len(bomb) // 2]), steps(reader, bomb)
        assert whole <= 2.5 * short + 500, reader.__name__


def steps(reader, text: str) -> int:
    """How many lines of Python a reader runs; its patterns are bounded by `test_patterns_are_bounded`."""
    count = 0

    def trace(*_: object):
        nonlocal count
        count += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        list(reader(text))
    finally:
        sys.settrace(before)
    return count


def test_patterns_are_bounded() -> None:
    """No pattern of a reader repeats without an upper bound, so one attempt at a place is constant work."""
    patterns = [
        v
        for m in (credentials, numbers, people, value_tests)
        for v in vars(m).values()
        if isinstance(v, re.Pattern)
    ]
    patterns += [pattern for _, _, pattern in credentials.VENDOR_KEYS]
    assert len(patterns) > 25
    for pattern in patterns:
        for operator, argument in walk_pattern(pattern.pattern, pattern.flags):
            if "REPEAT" in operator and pattern not in BOUNDED_BY_LENGTH:
                assert argument[1] < 20_000, pattern.pattern


def walk_pattern(source: str, flags: int):
    stack = [_parser.parse(source, flags)]
    while stack:
        for operator, argument in stack.pop():
            yield str(operator), argument
            todo = [argument]
            while todo:
                item = todo.pop()
                if isinstance(item, _parser.SubPattern):
                    stack.append(item)
                elif isinstance(item, list | tuple):
                    todo.extend(item)


def test_an_event_of_sixty_four_kibibytes_is_read_whole() -> None:
    text = "x" * 60_000 + " alice@example.com"
    assert rules_found(text) == {"email.value"}


def test_decoded_json_is_all_it_takes() -> None:
    raw = b'{"occurredAt":"2026-11-21T10:00:00Z","payload":{"a":["x",{"b":"8.8.8.8"}]}}'
    (finding,) = classify(msgspec.json.decode(raw)).findings
    assert finding.pointer == "/payload/a/1/b"
