"""Protecting an event changes the found places and nothing else (CLS-03, CLS-05)."""

from __future__ import annotations

import copy
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atp.classification.model import Annotation, Classification, Facts, Finding, Profile, Rule
from atp.classification.queries import classify, protect
from atp.classification.rules.masks import mask
from atp.classification.rules.pointers import escape

FACTS = Facts(0, has_float=False, has_exotic_key=False, max_depth=1)


class Vault:
    """Stands where sealing stands: remembers what it was given, in order."""

    def __init__(self) -> None:
        self.sealed: list[tuple[str, Any]] = []

    def seal(self, pointer: str, value: Any) -> dict[str, str]:
        self.sealed.append((pointer, value))
        return {"~sealed": f"digest-{len(self.sealed)}"}

    def pseudonym(self, text: str) -> str:
        return "~hmac:" + text[::-1]


def event(**members: Any) -> dict[str, Any]:
    return {
        "occurredAt": "2026-11-21T10:00:00.123456Z",
        "actor": {"type": "user", "id": "u-1"},
        "action": {"name": "document.view"},
        "resource": {"type": "document", "id": "doc-1"},
        "outcome": "success",
    } | members


def verdict(*findings: tuple[str, str, str]) -> Classification:
    made = tuple(Finding(p, kind, "high", "test", "personal", method) for p, kind, method in findings)
    return Classification(made, "personal", FACTS)


def protected(given_event: dict[str, Any], **options: Any) -> tuple[dict[str, Any], Vault]:
    vault = Vault()
    classification = classify(given_event, **options)
    return protect(given_event, classification, seal=vault.seal, pseudonym=vault.pseudonym), vault


def test_the_default_profile_seals_name_email_and_ip_whatever_they_look_like() -> None:
    """CLS-03: three places are always sealed, also where no detector would fire."""
    given_event = event(
        actor={"type": "user", "id": "u-1", "name": "x1", "email": "not an address"}, context={"ip": "::1"}
    )
    result, vault = protected(given_event)
    assert vault.sealed == [("/actor/email", "not an address"), ("/actor/name", "x1"), ("/context/ip", "::1")]
    assert result["actor"] == {
        "type": "user", "id": "u-1", "name": {"~sealed": "digest-2"}, "email": {"~sealed": "digest-1"},
    }  # fmt: skip
    assert result["context"] == {"ip": {"~sealed": "digest-3"}}


def test_identifiers_get_a_pseudonym_and_a_disclosure() -> None:
    """A found identifier stays a string that can be compared; its value is kept as a disclosure too."""
    given_event = event(
        actor={"type": "user", "id": "alice@example.com"},
        resource={"type": "mailbox", "id": "bob@example.org", "path": "/box/bob@example.org"},
        stream="mailbox/bob@example.org",
        correlation={"requestId": "r-bob@example.org"},
    )
    result, vault = protected(given_event)
    assert result["actor"]["id"] == "~hmac:moc.elpmaxe@ecila"
    assert result["resource"]["id"] == "~hmac:gro.elpmaxe@bob"
    assert result["stream"] == "mailbox/" + result["resource"]["id"]
    assert result["correlation"]["requestId"].startswith("~hmac:")
    assert ("/actor/id", "alice@example.com") in vault.sealed and (
        "/stream",
        "mailbox/bob@example.org",
    ) in vault.sealed


def test_what_happened_by_which_contract_and_when_is_never_altered() -> None:
    given_event = event(
        actor={"type": "alice@example.com", "id": "u-1"},
        action={"name": "call +14155552671"},
        resource={"type": "bob@example.org", "id": "1"},
        schema={"name": "carol@example.org", "version": "1"},
        outcome="536-22-1234",
    )
    classification = classify(given_event, profile=Profile("all", (Rule("drop"),)))
    assert len(classification.findings) == 5
    assert {finding.method for finding in classification.findings} == {"none"}
    assert protect(given_event, classification, seal=Vault().seal, pseudonym=str) is given_event


def test_a_finding_inside_a_longer_text_replaces_the_whole_text_once() -> None:
    result, vault = protected(event(payload={"note": "write to alice@example.com, card 4111 1111 1111 1111"}))
    assert result["payload"] == {"note": {"~sealed": "digest-1"}}
    assert [pointer for pointer, _ in vault.sealed] == ["/payload/note"]


def test_arrays_and_keys_with_tilde_and_slash_are_reached() -> None:
    given_event = event(payload={"a/b": [{"c~d": ["ok", "alice@example.com"]}], "untouched": {"x": 1}})
    result, vault = protected(given_event)
    assert vault.sealed == [("/payload/a~1b/0/c~0d/1", "alice@example.com")]
    assert result["payload"]["a/b"][0]["c~d"] == ["ok", {"~sealed": "digest-1"}]
    assert result["payload"]["untouched"] is given_event["payload"]["untouched"]


def test_of_several_findings_at_one_place_the_strongest_method_counts() -> None:
    """Dropping beats sealing beats hashing beats masking; all findings stay recorded."""
    place = "/payload/x"
    for methods, left in (
        (("mask", "hash", "seal", "drop"), {}),
        (("mask", "seal", "hash"), {"x": {"~sealed": "digest-1"}}),
        (("hash", "mask"), {"x": "~hmac:v"}),
        (("none", "mask"), {"x": "***"}),
        (("none",), {"x": "v"}),
    ):
        vault = Vault()
        classification = verdict(*((place, f"type{i}", method) for i, method in enumerate(methods)))
        result = protect(
            event(payload={"x": "v"}), classification, seal=vault.seal, pseudonym=vault.pseudonym
        )
        assert result["payload"] == left


def test_a_dropped_element_leaves_null_so_that_its_neighbours_keep_their_places() -> None:
    vault = Vault()
    classification = verdict(
        ("/payload/a/0", "x", "drop"), ("/payload/a/2", "x", "seal"), ("/payload/b", "x", "drop")
    )
    result = protect(
        event(payload={"a": [1, 2, "3"], "b": 4}), classification, seal=vault.seal, pseudonym=str
    )
    assert result["payload"] == {"a": [None, 2, {"~sealed": "digest-1"}]}


def test_a_replaced_container_covers_what_was_found_inside() -> None:
    annotations = {"/payload/person": Annotation("person_name")}
    given_event = event(payload={"person": {"mail": "alice@example.com"}})
    result, vault = protected(given_event, annotations=annotations)
    assert vault.sealed == [("/payload/person", {"mail": "alice@example.com"})]
    assert result["payload"] == {"person": {"~sealed": "digest-1"}}


def test_personal_keys_seal_their_object_and_appear_in_no_pointer() -> None:
    """CLS-05: findings are stored in the clear, so a pointer must not spell what is sealed."""
    given_event = event(payload={"members": {"alice@example.com": {"phone": "+14155552671"}}})
    classification = classify(given_event)
    assert [(f.pointer, f.rule) for f in classification.findings] == [("/payload/members", "email.key")]
    assert protected(given_event)[0]["payload"] == {"members": {"~sealed": "digest-1"}}


@pytest.mark.parametrize(
    ("kind", "value", "shown"),
    [
        ("email", "john@example.com", "j***@e***.com"), ("email", "no address", "***"),
        ("payment_card", "4111 1111 1111 1111", "**** **** **** 1111"), ("payment_card", 4111111111111111, "**** **** **** 1111"),
        ("payment_card", "my card is 4111 1111 1111 1111", "***"), ("phone", "+1 415 555 2671", "***71"), ("phone", "call me", "***"),
        ("ip_address", "203.0.113.77", "203.0.113.0/24"), ("ip_address", "2a00:1450:4001:81b::200e", "2a00:1450:4001::/48"),
        ("ip_address", "elsewhere", "***"), ("person_name", "Alice Example", "A*** E***"), ("iban", "DE89370400440532013000", "DE** **** 3000"),
        ("date_of_birth", "1980-02-29", "1980-**-**"), ("date_of_birth", "29.02.1980", "***"), ("password", "hunter22", "***"),
        ("email", {"a": 1}, "***"), ("email", "", "***"), ("iban", "x", "***"), ("email", "a@b", "***"),
    ],
)  # fmt: skip
def test_masks_show_enough_to_recognise_and_too_little_to_use(kind: str, value: Any, shown: str) -> None:
    assert mask(kind, value) == shown


SCALARS = st.one_of(
    st.text(max_size=12), st.integers(), st.booleans(), st.none(),
    st.sampled_from(["alice@example.com", "+14155552671", "8.8.8.8", "4111 1111 1111 1111", "plain", "~x", "a/b", 4111111111111111]),
)  # fmt: skip
KEYS = st.one_of(
    st.text(min_size=1, max_size=6), st.sampled_from(["email", "a/b", "m~n", "phone", "x", "password"])
)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=20,
)
METHODS = st.sampled_from(["seal", "mask", "hash", "drop", "none"])


def leaves(node: Any, pointer: str = "") -> dict[str, Any]:
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    found = {} if isinstance(node, dict | list) and node else {pointer: node}
    for key, child in items:
        found |= leaves(child, f"{pointer}/{escape(str(key))}")
    return found


@given(payload=st.dictionaries(KEYS, TREES, max_size=4), method=METHODS)
def test_nothing_but_the_found_places_changes_and_the_input_never_does(
    payload: dict[str, Any], method: Any
) -> None:
    """CLS-03: outside the found pointers, and what lies below them, the new event equals the old one."""
    given_event = event(payload=payload)
    before = copy.deepcopy(given_event)
    profile = Profile("one", (Rule(method, min_confidence="medium"),))
    classification = classify(given_event, profile=profile)
    vault = Vault()
    result = protect(given_event, classification, seal=vault.seal, pseudonym=vault.pseudonym)
    assert given_event == before and msgspec.json.encode(given_event) == msgspec.json.encode(before)
    touched = tuple(f.pointer for f in classification.findings if f.method != "none")
    old, new = leaves(given_event), leaves(result)
    for pointer, value in old.items():
        if not any(pointer == t or pointer.startswith(t + "/") for t in touched):
            assert new[pointer] == value
    extra = [p for p in new if p not in old and not any(p == t or p.startswith(t + "/") for t in touched)]
    assert all(any(t.startswith(p) for t in touched) for p in extra)  # A container emptied by dropping.
    if method in ("seal", "drop", "hash"):
        for pointer in touched:
            assert pointer not in new or new[pointer] != old.get(pointer) or new[pointer] is None


@given(payload=st.dictionaries(KEYS, TREES, max_size=4))
def test_every_pointer_found_exists(payload: dict[str, Any]) -> None:
    from atp.classification.rules.pointers import resolve

    given_event = event(payload=payload)
    for finding in classify(given_event).findings:
        if "*" not in finding.pointer:
            assert [p for p, _ in resolve(given_event, finding.pointer)] == [finding.pointer]
