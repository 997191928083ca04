"""Validators: exact on numbers, complete in their violations, silent about personal values (ING-02, CLS-05)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atp.kernel.errors import MISSING, Detail
from atp.specs import schemas

EVENT: dict[str, Any] = {
    "occurredAt": "2026-11-21T10:00:00Z",
    "actor": {"type": "user", "id": "u-1001"},
    "action": {"name": "document.read"},
    "resource": {"type": "document", "id": "doc-1"},
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=15,
)


def event_violations(**changes: Any) -> list[Detail]:
    return schemas.validator("audit-event.v1").violations(EVENT | changes)


@pytest.mark.parametrize("number", [2**53 + 1, 2**63, 2**64, -(2**64), 10**400, -(10**400)])
def test_integers_of_any_size_are_valid_payload(number: int) -> None:
    """Windows events hold 64-bit integers and more; they are kept, so they must be accepted."""
    event = EVENT | {"payload": {"n": number, "inside": [number]}, "context": {"n": number}}
    assert schemas.validator("audit-event.v1").is_valid(event)


@pytest.mark.parametrize("number", [2**53, 2**63, 2**64, 10**400, -1, 1.5, True])
def test_bounded_integers_stay_bounded(number: float) -> None:
    """A version beyond what every JSON reader can hold is refused, at any size."""
    assert [detail.field for detail in event_violations(expectedStreamVersion=number)] == [
        "expectedStreamVersion"
    ]


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-21T10:00:00Z",
        "2026-11-21T10:00:00.123456789+05:30",
        "1601-01-01T00:00:00.000000Z",
        "2024-02-29T23:59:59Z",
    ],
)
def test_times_that_are_times(text: str) -> None:
    """RFC 3339 with any offset and up to nine fractional digits, also before the epoch."""
    assert event_violations(occurredAt=text) == []


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-21T10:00:00",
        "2026-11-21",
        "2026-02-30T10:00:00Z",
        "2026-11-21T25:00:00Z",
        "2026-11-21T10:00:00.1234567890Z",
        "2026-11-21T10:00:00Z\n",
        "0000-01-01T00:00:00Z",
        "٢٠٢٦-11-21T10:00:00Z",
        1763719200,
    ],
)
def test_times_that_are_none(text: object) -> None:
    """A time without an offset, or one that the calendar does not have, says nothing exact."""
    assert {detail.field for detail in event_violations(occurredAt=text)} == {"occurredAt"}


@pytest.mark.parametrize("text", ["", "a\nb", "a\0", "x" * 1025, "\x7f"])
def test_identifiers_hold_no_control_characters(text: str) -> None:
    """A line break in an identifier forges log lines; an endless one is an attack."""
    assert event_violations(actor={"type": "user", "id": text})


def test_open_objects_are_open_and_closed_ones_closed() -> None:
    """actor, context and payload take anything; elsewhere a misspelt field is refused, not dropped."""
    assert event_violations(actor=EVENT["actor"] | {"badge": [1, {"x": None}]}, context={"anything": 1}) == []
    assert [d.field for d in event_violations(idempotencykey="k")] == ["idempotencykey"]
    assert [d.field for d in event_violations(resource=EVENT["resource"] | {"owner": "x"})] == [
        "resource.owner"
    ]


def test_violations_say_where_and_what_but_nothing_personal() -> None:
    """Fields as dotted paths; values only outside actor, context and payload, and cut to 64 characters."""
    found = event_violations(
        actor={"type": "user", "id": "u", "email": ["ada@example.org"]},
        context={"ip": 1270011},
        outcome="o" * 100,
    )
    assert found == [
        Detail("actor.email", "must be a string"),
        Detail("context.ip", "must be a string"),
        Detail("outcome", "must be one of success, failure, denied, unknown", "o" * 64),
    ]
    assert found[0].value is MISSING


def test_paths_into_lists_and_odd_names() -> None:
    """A path can be read and copied: indexes in brackets, names that are not plain in quotes."""
    assert schemas.field_name(["payload", "items", 3, "x"]) == "payload.items[3].x"
    assert schemas.field_name(["payload", "a b", "c\n"]) == "payload['a b']['c\\n']"
    assert schemas.field_name([]) == ""


def test_a_union_reports_the_branch_that_was_meant() -> None:
    """'Matches none of the forms' helps nobody; the comparison's own mistake does."""
    validator = schemas.Validator(schemas.in_openapi({"$ref": "#/components/schemas/Search"}))
    found = validator.violations({"query": {"and": [{"field": "outcome", "eq": "x"}, {"or": []}]}})
    assert found == [Detail("query.and[1].or", "must not be empty")]
    assert validator.violations({"query": {"xor": []}}) == [Detail("query", "has none of the allowed forms")]


def test_every_schema_has_a_validator_and_others_do_not() -> None:
    """A typing mistake in a schema's name fails where it is made."""
    for name in schemas.schema_paths():
        schemas.validator(name)
    with pytest.raises(KeyError):
        schemas.validator("audit-event.v9")


@given(JSON)
def test_validity_and_violations_agree(value: Any) -> None:
    """A value is valid exactly when it has no violation, for anything that JSON can say."""
    for name in ("audit-event.v1", "record.v1", "envelope.v1"):
        validator = schemas.validator(name)
        assert validator.is_valid(value) == (validator.violations(value) == [])


@given(st.dictionaries(st.sampled_from([*EVENT, "payload", "context", "outcome", "stream"]), JSON))
def test_nearly_right_events_never_break_the_check(changes: dict[str, Any]) -> None:
    """Every field of an event may hold anything at all; the answer is violations, with issues that quote nothing."""
    for detail in event_violations(**changes):
        assert detail.issue
        assert detail.value is MISSING or detail.field.split(".")[0] not in ("actor", "context", "payload")


@pytest.mark.parametrize(
    ("schema", "value", "issue"),
    [
        ({"const": 1}, 2, "must be 1"),
        ({"minLength": 1}, "", "must not be empty"),
        ({"minLength": 2}, "a", "must have at least 2 characters"),
        ({"minItems": 2}, [], "must have at least 2 items"),
        ({"maxItems": 1}, [1, 2], "must have at most 1 item"),
        ({"uniqueItems": True}, [1, 1], "must not hold the same item twice"),
        ({"minProperties": 1}, {}, "must have at least 1 field"),
        ({"maxProperties": 2}, {"a": 1, "b": 2, "c": 3}, "must have at most 2 fields"),
        ({"type": ["integer", "null"]}, "x", "must be an integer or null"),
        ({"minimum": 3}, 2, "must be at least 3"),
        ({"pattern": "^a$"}, "b", "must match ^a$"),
        ({"format": "ipv4"}, "b", "is not a valid ipv4"),
        ({"multipleOf": 2}, 3, "breaks the rule multipleOf"),
    ],
)
def test_each_rule_has_words(schema: dict[str, Any], value: object, issue: str) -> None:
    """An issue completes the sentence that its field begins, and never quotes the value."""
    assert [detail.issue for detail in schemas.Validator(schema).violations(value)] == [issue]


def test_an_impossible_name_is_named() -> None:
    """Where names themselves are bounded, the wrong one is the field."""
    found = schemas.Validator({"propertyNames": {"pattern": "^[a-z]+$"}}).violations({"ok": 1, "Not": 2})
    assert found == [Detail("Not", "is not a possible name: it must match ^[a-z]+$")]


def test_violations_are_bounded() -> None:
    """An event with a thousand unknown fields does not get an answer with a thousand entries."""
    assert len(event_violations(**{f"x{index}": 1 for index in range(1000)})) == schemas.VIOLATIONS_MAX
    numbers = schemas.Validator({"items": {"type": "string"}})
    assert len(numbers.violations(list(range(1000)))) == schemas.VIOLATIONS_MAX
