"""Field names, annotations, profiles, levels and the facts of the walk (CLS-01, CLS-02)."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atp.classification.model import DEFAULT_PROFILE, Annotation, Profile, Rule
from atp.classification.queries import classify
from atp.classification.rules.field_names import field_rule, words
from atp.classification.rules.pointers import escape, matches, resolve, tokens


def event(payload: Any = None, **members: Any) -> dict[str, Any]:
    return {
        "occurredAt": "2026-11-21T10:00:00.123456Z",
        "actor": {"type": "user", "id": "u-1"},
        "action": {"name": "document.view"},
        "resource": {"type": "document", "id": "doc-1"},
        "payload": payload or {},
    } | members


def found(key: str, value: Any) -> list[tuple[str, str, str]]:
    return [(f.type, f.confidence, f.rule) for f in classify(event({key: value})).findings]


@pytest.mark.parametrize(
    ("key", "value", "kind"),
    [
        ("firstName", "Alice", "person_name"), ("customer_last_name", "O'Neil", "person_name"), ("patient-name", "José", "person_name"),
        ("displayName", "Alice Example", "person_name"), ("streetAddress", "1 Main St", "street_address"),
        ("billing_address", "5 Rue X", "street_address"), ("dateOfBirth", "1980-02-29", "date_of_birth"), ("DOB", "12/31/1975", "date_of_birth"),
        ("birth_date", 19800229, "date_of_birth"), ("passportNumber", "X1234567", "passport"), ("mrn", "MRN-00123", "medical_record"),
        ("medicalRecordNumber", 123456, "medical_record"), ("password", "hunter2", "password"), ("ssn", "536-22-123x4", "national_id"), ("newPassword", "abc", "password"),
        ("apiKey", "a1b2c3d4e5", "api_key"), ("client_secret", "zzzzzzzzzz", "api_key"), ("secretAccessKey", "wJalrXUtn", "cloud_credential"),
        ("ssn", "536221234", "national_id"), ("ssn", 536221234, "national_id"), ("bsn", "111222333", "national_id"),
        ("teudatZehut", "123456782", "national_id"), ("nationalId", "A1234567", "national_id"), ("latitude", 52.1, "geo_location"),
        ("geo_location", "52.1,4.2", "geo_location"), ("phoneNumber", "020 7946 0958", "phone"), ("phones", ["020 7946 0958"], "phone"),
        ("sourceIPAddress", "8.8.8.8", "ip_address"), ("macAddress", "001b44113ab7", "mac_address"), ("iban", "DE89 3704 0044 0532 0130 00", "iban"),
        ("cardNumber", "4111111111111111", "payment_card"), ("userName", "pedro", "username"), ("connectionString", "Server=x;Pwd=y", "cloud_credential"),
        ("private_key", "MIIEvQIBADANBg", "private_key"), ("emails", ["someone at home", "a@example.com"], "email"),
    ],
)  # fmt: skip
def test_a_telling_field_name_and_a_fitting_value_are_a_finding(key: str, value: Any, kind: str) -> None:
    """CLS-01 by field name, in camelCase, snake_case and kebab-case."""
    assert kind in {k for k, _, _ in found(key, value)}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("fileName", "report.pdf"), ("name", "instance-id"), ("hostname", "wec.internal"), ("passwordLastSet", "%%1794"),
        ("PasswordProperties", "-"), ("minPasswordLength", "7"), ("password", "***"), ("password", None), ("password", True),
        ("nextToken", "AAIAAUCZLcGdOTmfTz2Vwy7q"), ("emailVerified", True), ("phone", "n/a"), ("ip", "-"), ("ip", "0.0.0.0"),
        ("firstName", ""), ("displayName", "%%1793"), ("displayName", "LOCAL SERVICE account 7"), ("dob", "yesterday"), ("lat", 500.0),
        ("latency", 12.5), ("format", "x"), ("ssn", "000"), ("passport", "none"), ("iban", "DE00"), ("userName", "WORKSTATION5$"),
        ("userName", "SYSTEM"), ("cardNumber", "1234"), ("address", "0x7ffe"), ("mrn", "-"), ("created", "2020-02-02"), ("tz", "UTC"),
    ],
)  # fmt: skip
def test_a_field_name_alone_is_not_enough(key: str, value: Any) -> None:
    assert found(key, value) == []


def test_names_are_cut_into_words() -> None:
    assert words("sourceIPAddress") == ["source", "ip", "address"]
    assert words("x-forwarded_for.2") == ["x", "forwarded", "for", "2"]
    assert field_rule("e-mail") == field_rule("email") and field_rule("") is None


def test_annotations_of_a_schema_are_findings_with_their_own_method() -> None:
    """CLS-02: the schema knows best what a field holds; patterns reach into arrays."""
    annotations = {
        "/payload/people/*/nick": Annotation("person_name", "mask"),
        "/payload/plan": Annotation("health_plan"),
        "/payload/tree/**": Annotation("person_name"),
        "/actor/type": Annotation("person_name", "drop"),
        "/payload/absent": Annotation("email"),
    }
    given_event = event({"people": [{"nick": "al"}, {"nick": "bo"}], "plan": {"a": 1}, "tree": {"x": ["y"]}})
    findings = classify(given_event, annotations=annotations).findings
    assert [(f.pointer, f.type, f.level, f.method) for f in findings] == [
        ("/payload/people/0/nick", "person_name", "personal", "mask"),
        ("/payload/people/1/nick", "person_name", "personal", "mask"),
        ("/payload/plan", "health_plan", "personal", "seal"),
        ("/payload/tree/x/0", "person_name", "personal", "seal"),
        ("/actor/type", "person_name", "personal", "none"),
    ]


def test_the_first_rule_of_a_profile_that_fits_decides() -> None:
    """CLS-02: tenant rules by place, type and confidence, over the schema's wish, over general rules."""
    profile = Profile(
        "tenant",
        (
            Rule("none", pointer="/payload/public/*"),
            Rule("drop", pointer="/payload/**", type="payment_card"),
            Rule("seal", pointer="/payload/note", type="free_text", always=True),
            Rule("mask", type="email"),
            Rule("seal", min_confidence="high"),
        ),
    )
    given_event = event(
        {"public": {"mail": "a@example.com"}, "x": {"card": "4111 1111 1111 1111"}, "mail": "b@example.com",
         "note": "anything", "tel": "call 415-555-2671 x"}
    )  # fmt: skip
    methods = {f.pointer: f.method for f in classify(given_event, profile=profile).findings}
    assert methods == {
        "/payload/public/mail": "none", "/payload/x/card": "drop", "/payload/mail": "mask", "/payload/note": "seal", "/payload/tel": "none",
    }  # fmt: skip


def test_a_rule_that_always_holds_must_say_where_and_what() -> None:
    with pytest.raises(ValueError, match="needs a pointer and a type"):
        Rule("seal", always=True)


def test_levels_add_up() -> None:
    assert classify(event({"a": "plain"})).level == "public"
    assert classify(event({"a": "123456782"})).level == "internal"
    assert classify(event({"a": "x@example.com"})).level == "personal"
    assert classify(event({"a": "x@example.com", "b": "4111 1111 1111 1111"})).level == "sensitive"
    assert classify(event({"b": "4111 1111 1111 1111", "password": "hunter22"})).level == "secret"


def test_one_place_holds_one_finding_of_a_type_the_surest() -> None:
    findings = classify(event({"sourceIp": "10.1.2.3", "phone": "+14155552671"})).findings
    assert [(f.pointer, f.rule) for f in findings] == [
        ("/payload/sourceIp", "ip.private.field"),
        ("/payload/phone", "phone.field"),
    ]


def test_a_row_is_what_a_record_stores() -> None:
    assert classify(event({"m": "a@example.com"})).rows() == [
        ["/payload/m", "email", "high", "email.value", "seal"]
    ]


def test_the_walk_knows_keys_depth_floats_and_exotic_keys() -> None:
    facts = classify(event({"a": {"b": [1.5, {"é": 1}]}})).facts
    assert (facts.keys, facts.max_depth, facts.has_float, facts.has_exotic_key, facts.problem) == (
        13,
        5,
        True,
        True,
        None,
    )
    plain = classify(event({"a": {"b": [1, True, None]}})).facts
    assert (plain.keys, plain.has_float, plain.has_exotic_key) == (12, False, False)
    assert 4 <= plain.max_depth <= 32


def test_bottomless_input_is_walked_to_a_limit_only() -> None:
    node: Any = "a@example.com"
    for _ in range(5000):
        node = [node]
    assert classify(event({"x": node})).facts.max_depth == 65


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        ({"payload": {"a": {"~sealed": "x"}}}, ("RESERVED_KEY", "/payload/a")),
        ({"payload": {"~": 1}}, ("RESERVED_KEY", "/payload")),
        ({"payload": {"a": ["x", "y\0z"]}}, ("INVALID_CHARACTER", "/payload/a/1")),
        ({"payload": {"a\0b": 1}}, ("INVALID_CHARACTER", "/payload")),
        ({"payload": {"a": "\ud800"}}, ("INVALID_CHARACTER", "/payload/a")),
        ({"payload": {"\udfff": 1}}, ("INVALID_CHARACTER", "/payload")),
        (
            {"actor": {"type": "user", "id": "u", "email": "a\0@example.com"}},
            ("INVALID_CHARACTER", "/actor/email"),
        ),
        ({"context": {"ip": "1.2.3.4\0"}}, ("INVALID_CHARACTER", "/context/ip")),
        ({"outcome": "\0"}, ("INVALID_CHARACTER", "/outcome")),
        ({"actor": {"type": "user", "id": "u", "email": "\ud800"}}, ("INVALID_CHARACTER", "/actor/email")),
        ({"payload": {"password": "hunter\x002"}}, ("INVALID_CHARACTER", "/payload/password")),
        ({"~x": 1}, ("RESERVED_KEY", "")),
    ],
)
def test_what_no_event_may_hold_is_named_with_its_place(
    members: dict[str, Any], problem: tuple[str, str]
) -> None:
    assert classify(event(**members)).facts.problem == problem


def test_many_threads_classify_alike() -> None:
    """One shared database, one scratch a thread: a shared scratch would be refused as in use."""
    events = [event({"a": f"user{i}@example.com", "b": "8.8.8.8", "c": "x" * i}) for i in range(200)]
    expected = [classify(e) for e in events]
    seen: list[list[Any]] = []
    threads = [threading.Thread(target=lambda: seen.append([classify(e) for e in events])) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [expected] * 8


def test_tenants_with_different_profiles_do_not_share_verdicts() -> None:
    mask, given_event = Profile("mask", (Rule("mask"),)), event({"m": "a@example.com"})
    for _ in range(3):
        assert classify(given_event).findings[0].method == "seal"
        assert classify(given_event, profile=mask).findings[0].method == "mask"
        assert classify(given_event, profile=DEFAULT_PROFILE).findings[0].method == "seal"


@given(st.lists(st.text(), max_size=5))
def test_pointers_round_trip(parts: list[str]) -> None:
    """RFC 6901: what is escaped is found again, token by token."""
    pointer = "".join("/" + escape(part) for part in parts)
    assert tokens(pointer) == parts
    assert matches(pointer, pointer)
    node: Any = "leaf"
    for part in reversed(parts):
        node = {part: node}
    if not {"*", "**"} & set(parts):
        assert list(resolve(node, pointer)) == [(pointer, "leaf")]


@given(
    st.dictionaries(
        st.text(max_size=8),
        st.recursive(st.text(max_size=20), lambda x: st.lists(x) | st.dictionaries(st.text(max_size=5), x)),
    )
)
def test_any_tree_is_classified_without_an_exception(payload: dict[str, Any]) -> None:
    result = classify(event(payload))
    assert result.facts.problem is not None or "\0" not in str(payload)
