"""The look at an event's bytes comes to the same verdict as the walk, for every event (CLS-01).

The generated events are rich in what the screen's patterns live on: near misses, telling and almost telling
names in all spellings, escapes, numbers of all kinds, keys that are somebody's data.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atp.classification.model import DEFAULT_PROFILE, Annotation, Classification, Profile, Rule
from atp.classification.queries import classify
from atp.classification.rules.decisions import decider, level
from atp.classification.rules.field_names import RULES
from atp.classification.rules.findings import _find_annotated, _find_places, search
from atp.classification.rules.screen import glance
from tests.classification.cases import CASES

EXAMPLES = 250
TEXTS = [text for _, finds, leaves in CASES.values() for text in (*finds, *leaves)]
ODD = [
    "\\",
    '"',
    "\n",
    "\t",
    "/",
    "~x",
    "é",
    "\u2028",
    "\U0001f600",
    "ſ",
    "[1.5",
    ",2e3",
    "{",
    ":",
    '":',
    "@",
    "+1)2345678",
]
SPELLINGS = (str.lower, str.upper, str.capitalize, str.swapcase)


# Names of a payload's members that let the look go on; a telling name there sends the event to the walk.
PLAIN = ("a", "m", "n", "note", "again", "x", "y", "z")


@pytest.fixture(autouse=True, scope="module")
def names_met() -> None:
    """The look trusts only names that a walk has met before."""
    classify({"payload": dict.fromkeys(PLAIN, "")})


@st.composite
def names(draw: st.DrawFn) -> str:
    """A listed ending in some spelling, with something before, between and after it, or nearly one."""
    parts = [draw(st.sampled_from(SPELLINGS))(word) for word in draw(st.sampled_from(sorted(RULES)))]
    before = draw(st.sampled_from(["", "", "x", "X", "my_", "my", "MY", "7", "é", "user.", "z" * 300]))
    after = draw(st.sampled_from(["", "", "s", "S", "es", "_", "-" * 260, "x", "Es", "1", " "]))
    return before + draw(st.sampled_from(["", "_", "-", " ", ".", "__", "0"])).join(parts) + after


KEYS = (
    names()
    | st.sampled_from(
        ["a", "b", "note", "", "~sealed", "~", "a/b", "m~n", "email", "ip", "name", *TEXTS, *ODD]
    )
    | st.text(max_size=4)
)
NUMBERS = (
    st.sampled_from([4111111111111111, -4111111111111111, 10**12, 10**12 - 1, 255081416802538, 132503952000000000])
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([1.0, 1e16, -0.5, 4111111111111111.0, 52.1])
)  # fmt: skip
STRINGS = (
    st.sampled_from([*TEXTS, *ODD])
    | st.text(max_size=10)
    | st.builds("".join, st.lists(st.sampled_from([*TEXTS, *ODD, " ", "x"]), max_size=3))
)
LEAVES = STRINGS | NUMBERS | st.booleans() | st.none() | st.sampled_from(["plain", "v1", "2026-11-21"])
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=8,
)
CALM = st.sampled_from(
    ["alice", "doc-1", "203.0.113.7", "alice@example.com", "okhttp/4.12.0 (Android 15)", "", 7, 1.5, None]
)
INNER = st.dictionaries(KEYS, CALM | TREES, max_size=3)
EVENTS = st.fixed_dictionaries(
    {"occurredAt": st.just("2026-11-21T10:00:00.123456Z")},
    optional={
        "actor": st.dictionaries(
            st.sampled_from(["id", "type", "name", "email", "ip"]), CALM | TREES, max_size=4
        ),
        "context": st.dictionaries(
            st.sampled_from(["ip", "userAgent", "sessionId"]), CALM | TREES, max_size=3
        ),
        "resource": st.dictionaries(st.sampled_from(["type", "id", "path"]), CALM, max_size=3),
        "payload": st.dictionaries(st.sampled_from(PLAIN), CALM | TREES | INNER, max_size=3) | INNER,
        "stream": STRINGS,
        "outcome": CALM,
    },
)
PROFILES = (
    DEFAULT_PROFILE,
    Profile("bare", (Rule("seal", min_confidence="medium"),)),
    Profile("wide", (Rule("mask", pointer="/actor/email", type="email", always=True),
                     Rule("drop", pointer="/context/email", type="email", always=True),
                     Rule("hash", pointer="/payload/*/email", type="email", always=True), Rule("seal"))),
)  # fmt: skip


def walked(
    event: dict[str, Any], profile: Profile, annotations: dict[str, Annotation] | None
) -> Classification:
    """The verdict without the screen: a walk, and a scan of its strings."""
    verdict, found = decider(profile), {}
    _find_places(event, verdict, found)
    if annotations:
        _find_annotated(event, annotations, verdict, found)
    facts = search(event, verdict, found)
    findings = tuple(found.values())
    return Classification(findings, level(findings), facts)


def assert_same(
    event: dict[str, Any],
    profile: Profile = DEFAULT_PROFILE,
    annotations: dict[str, Annotation] | None = None,
) -> None:
    looked = classify(event, profile=profile, annotations=annotations)
    expected = walked(event, profile, annotations)
    assert bool(looked.facts.problem) == bool(expected.facts.problem)
    assert looked.facts.problem == expected.facts.problem
    assert looked.findings == expected.findings
    assert looked.level == expected.level
    assert (looked.facts.keys, looked.facts.has_float, looked.facts.has_exotic_key) == (
        expected.facts.keys, expected.facts.has_float, expected.facts.has_exotic_key,
    )  # fmt: skip
    assert expected.facts.max_depth <= looked.facts.max_depth
    assert (looked.facts.max_depth > 32) == (expected.facts.max_depth > 32)


@settings(max_examples=EXAMPLES, deadline=None)
@given(event=EVENTS, profile=st.sampled_from(PROFILES), annotated=st.booleans())
def test_the_screen_comes_to_the_same_verdict_as_the_walk(
    event: dict[str, Any], profile: Profile, annotated: bool
) -> None:
    """No finding, fact or problem is lost or added by looking at bytes first."""
    annotations = {"/payload/note": Annotation("person_name"), "/actor/*": Annotation("x", "mask")}
    assert_same(event, profile, annotations if annotated else None)


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    name=names(),
    value=st.sampled_from(
        ["Alice Example", "hunter22", "020 7946 0958", "8.8.8.8", 52.1, 19800229, ["1980-02-29"], True]
    ),
)
def test_every_spelling_of_a_telling_name_is_seen(name: str, value: Any) -> None:
    assert_same({"payload": {"a": "b", name: value}})
    assert_same({"payload": {"x": {"a": "b", name: value}}})


@pytest.mark.parametrize("text", TEXTS)
def test_every_case_of_every_detector_as_value_and_as_key(text: str) -> None:
    assert_same(
        {"payload": {"note": text, "again": [text, {"x": text}]}, "context": {"ip": "8.8.8.8", "x": text}}
    )
    assert_same({"payload": {"m": {text: "v"}, "n": text}})


@pytest.mark.parametrize("depth", [1, 29, 30, 31, 32, 33, 70])
@pytest.mark.parametrize("broad", [0, 40])
def test_depth_is_judged_alike(depth: int, broad: int) -> None:
    node: Any = "leaf"
    for level_number in range(depth):
        node = [node] if level_number % 2 else {"k": node}
    assert_same({"payload": {"x": node, "y": [{} for _ in range(broad)], "z": "{{[[" * broad}})


ORDINARY: dict[str, dict[str, Any]] = {
    "a document is shared": {
        "actor": {"type": "user", "id": "u-123", "name": "José Álvarez", "email": "jose@example.com"},
        "action": {"name": "document.share", "category": "write"},
        "resource": {"type": "document", "id": "0b9de1b2-7c1a-4a6e-9a43-2f3c5c1d7e11", "path": "/folders/7/doc"},
        "context": {"ip": "203.0.113.77", "sessionId": "s-123456789",
                    "userAgent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/120.0.0.0 Safari/537.36"},
        "payload": {"title": "Quarterly report", "pages": 12, "size": 10.5, "public": False, "tags": ["a", "b"]},
    },
    "a login": {
        "actor": {"type": "user", "id": "u-9", "name": "Ann O. Nym", "email": "ann@example.com"},
        "action": {"name": "login", "category": "auth"}, "resource": {"type": "session", "id": "01HZX5Y3QK8E6"},
        "context": {"ip": "2001:db8::1", "userAgent": "okhttp/4.12.0 (Android 15)"},
        "payload": {"method": "password", "mfa": True, "attempts": 1, "emailVerified": True},
    },
    "a call": {
        "actor": {"type": "service", "id": "billing", "name": "Billing"}, "action": {"name": "GET /api/v1/invoices"},
        "resource": {"type": "invoice", "id": "inv-2026-0001"},
        "correlation": {"traceId": "4bf92f3577b34da6a3ce929d0e0e4736", "requestId": "req-123456789012"},
        "payload": {"status": 200, "latencyMs": 12.75, "epochMs": 1605952800000, "epochUs": 1605952800000123,
                    "bytes": 123456789012, "route": "/api/v1/invoices/{id}", "headers": {"accept": "*/*"}},
    },
    "a job": {
        "actor": {"type": "system", "id": "scheduler"}, "action": {"name": "backup.completed"},
        "resource": {"type": "database", "id": "orders", "name": "orders"}, "outcome": "success",
        "payload": {"task": "task-0123456789abcdef-nightly", "file": "backup-20261120-0200.tar.gz", "rows": 918273645,
                    "started": "2026-11-20T02:00:00Z", "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
                    "steps": [{"name": "dump", "ok": True}, {"name": "upload", "ok": True}]},
    },
}  # fmt: skip


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_events_are_not_walked(name: str) -> None:
    """What the figures of the benchmark stand on: the common event is settled by the look alone."""
    event = {"occurredAt": "2026-11-21T10:00:00.123456789Z", **ORDINARY[name]}
    classify(event)  # Whose names are met for the first time here.
    seen = glance(msgspec.json.decode(msgspec.json.encode(event)), decider(DEFAULT_PROFILE))
    assert seen.facts is not None
    assert not seen.sighted
    assert_same(event)


def test_a_text_full_of_suspects_costs_no_more_than_its_length() -> None:
    """Every suspect of one string is judged once: sixty thousand bytes of them take as long as few."""
    text = "a@b " * 15_000
    assert_same({"payload": {"x": text, "y": [text, "bob@example.com"]}})


@pytest.mark.parametrize(
    "value",
    [
        [1.5], [1, -2e30], {"a": 1.5}, {"a": -1e300}, {"a": ":1.5"}, [":1.5"], {"a": ":x", ":b": 1, "": 2}, {"~a": 1}, ["~a"],
        {"é": 1}, ["é", "b"], {"a": "\\"}, {"a": '"b":'}, [4111111111111111], {"a": 4111111111111111}, {"4111111111111111": 1}, {"+1)2345678": 1},
        {"GB82WEST 1234 5698 7654 32": 1}, ["[1.5"], {"a": [1, [2, 3.5]]},
    ],
)  # fmt: skip
def test_facts_and_keys_are_told_alike(value: Any) -> None:
    """What chance would rarely bring about: fractions in arrays, colons first, odd keys, big integers."""
    assert_same({"payload": {"x": value}})


@pytest.mark.parametrize("ending", sorted(RULES), ids=" ".join)
def test_every_listed_ending_is_seen_in_the_usual_spellings(ending: tuple[str, ...]) -> None:
    camel = "".join(word.capitalize() for word in ending)
    shapes = (
        "_".join(ending),
        "-".join(ending).upper(),
        "user" + camel,
        camel,
        "my_" + "_".join(ending) + "s",
    )
    for name in shapes:
        for value in ("Alice Example", "020 7946 0958", ["1980-02-29"], 19800229, 52.1):
            assert_same({"payload": {"x": {name: value}}})
