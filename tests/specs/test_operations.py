"""Operations: parameters and bodies are checked as the contract says, every violation at once (API-10, CON-01)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atp import specs
from atp.kernel.errors import MISSING, Detail, Problem
from atp.specs import schemas

ULID = "01KAKBR8MZ9V3W7T5Q2E8YH4NC"


def parameters(
    operation: str,
    query: list[tuple[str, str]] | None = None,
    path: dict[str, str] | None = None,
    headers: dict[str, str] | None = None,
) -> dict[str, Any]:
    return specs.load().operations[operation].check_parameters(path or {}, query or [], headers or {})


def violations(operation: str, query: list[tuple[str, str]], **more: Any) -> dict[str, Detail]:
    with pytest.raises(Problem) as caught:
        parameters(operation, query, **more)
    assert caught.value.code == "VALIDATION_FAILED"
    return {detail.field: detail for detail in caught.value.details}


def test_parameters_are_typed_and_have_their_defaults() -> None:
    """Text becomes what the contract declares, and what is absent has its default (API-11)."""
    values = parameters(
        "listAuditEvents", [("limit", "7"), ("disclose", "true"), ("fields", "id,actor.id"), ("actor", "42")]
    )
    assert (values["limit"], values["disclose"], values["fields"]) == (7, True, ["id", "actor.id"])
    assert values["actor"] == "42", "an identifier that looks like a number stays text"
    assert values["orderBy"] == "-recordedAt"
    assert "cursor" not in values


def test_every_violation_is_told_at_once() -> None:
    """A caller mends a request in one go: each wrong parameter is named (ING-02, API-10)."""
    found = violations(
        "listAuditEvents",
        [("limit", "1001"), ("since", "yesterday"), ("outcome", "maybe"), ("offset", "x"), ("disclose", "1")],
    )
    assert set(found) == {"limit", "since", "outcome", "offset", "disclose"}
    assert found["limit"] == Detail("limit", "must be at most 1000", 1001)


@pytest.mark.parametrize("text", ["", "+1", "01", "1.0", "1e2", " 1", "0x1", "١", "9" * 40, "true"])
def test_what_is_no_integer_is_refused(text: str) -> None:
    """Only plain decimal integers count; no other notation slips through Python's int()."""
    assert "limit" in violations("listAuditEvents", [("limit", text)])


def test_an_unknown_query_parameter_is_refused_with_the_nearest_name() -> None:
    """A misspelt filter must not silently return everything."""
    found = violations("listAuditEvents", [("outcom", "denied")])
    assert found["outcom"].issue == "is not a known parameter; outcome is"


def test_a_repeated_query_parameter_is_refused() -> None:
    """Of two values one would be ignored, and which one is not agreed anywhere."""
    assert (
        violations("listAuditEvents", [("actor", "a"), ("actor", "b")])["actor"].issue
        == "is given more than once"
    )


def test_a_search_text_is_never_echoed() -> None:
    """What people search for may be personal, and errors hold nothing personal (CLS-05)."""
    found = violations("listAuditEvents", [("q", "ada@example.org\0"), ("actor", "ada\n")])
    assert [found["q"].value, found["actor"].value] == [MISSING, MISSING]


def test_headers_are_found_in_lower_case_and_unknown_ones_ignored() -> None:
    """Header names are case-insensitive, and proxies add their own (API-09)."""
    values = parameters(
        "ingestAuditEvent", headers={"idempotency-key": "k-1", "x-forwarded-for": "203.0.113.7"}
    )
    assert values["Idempotency-Key"] == "k-1"
    assert "x-forwarded-for" not in values
    assert "Idempotency-Key" in violations("ingestAuditEvent", [], headers={"idempotency-key": "é"})


def test_path_parameters_are_checked() -> None:
    """A path parameter that cannot name anything is a violation, not a database query."""
    assert parameters("getAuditEvent", path={"id": ULID})["id"] == ULID
    assert "id" in violations("getAuditEvent", [], path={"id": "doc-1"})
    assert parameters("getEventStream", path={"streamId": "document/a/b"})["streamId"] == "document/a/b"


@pytest.mark.parametrize(
    ("tile", "good"),
    [
        ("000", True),
        ("x001/x234/067", True),
        ("x001/067.p/255", True),
        ("000.p/256", False),
        ("000.p/0", False),
        ("001/067", False),
        ("x001", False),
        ("../000", False),
    ],
)
def test_tile_paths_are_those_of_the_tlog_tiles_format(tile: str, good: bool) -> None:
    """C2SP tlog-tiles: groups of three digits, all but the last with x; widths of 1 to 255 (INT-04)."""
    path = {"logId": ULID.lower(), "level": "0", "tilePath": tile}
    if good:
        assert parameters("getTile", path=path)["level"] == 0
    else:
        assert "tilePath" in violations("getTile", [], path=path)


def test_aliases_reach_the_same_operation() -> None:
    """The low-level design's path and the path form of tenancy lead to the same operations (API-08)."""
    operations = specs.load().operations
    assert operations["ingestAuditEvent"].path_templates == (
        "/api/v1/audit-events",
        "/api/v1/audit/records",
        "/api/v1/tenants/{tenantId}/audit-events",
    )
    assert "/api/v1/audit/records/{id}" in operations["getAuditEvent"].path_templates
    assert operations["listAuditEvents"].path_templates[1:] == ("/api/v1/tenants/{tenantId}/audit-events",)
    assert operations["getTenant"].path_templates == ("/api/v1/tenants/{tenantId}",)
    assert operations["createTenant"].path_templates == ("/api/v1/tenants",)
    assert operations["getHealth"].path_templates == ("/api/v1/health",)


def test_the_tenant_of_an_alias_path_is_checked_and_given() -> None:
    """The path form yields the tenant, and refuses what cannot be one (SEC-03)."""
    assert parameters("getAuditEvent", path={"id": ULID, "tenantId": "demo"})["tenantId"] == "demo"
    assert "tenantId" in violations("getAuditEvent", [], path={"id": ULID, "tenantId": "Demo!"})


def test_every_tenant_scoped_operation_has_the_path_form() -> None:
    """API-08: /api/v1/tenants/{tenantId}/… is the path form of all of tenancy, not of some of it."""
    for operation in specs.load().operations.values():
        reached = any("{tenantId}" in path for path in operation.path_templates)
        assert reached == operation.tenant_scoped, operation.id


def test_a_body_is_checked_with_every_violation() -> None:
    """ING-02: each violation with its field; personal fields without their value."""
    operation = specs.load().operations["ingestAuditEvent"]
    with pytest.raises(Problem) as caught:
        operation.check_body(
            {"actor": {"type": "user", "id": 7}, "action": {"name": "a", "verb": "b"}, "outcome": "x"}
        )
    found = {detail.field: detail for detail in caught.value.details}
    assert set(found) == {"occurredAt", "resource", "actor.id", "action.verb", "outcome"}
    assert found["actor.id"] == Detail("actor.id", "must be a string")
    assert found["outcome"].value == "x"


def test_a_batch_is_not_refused_for_one_bad_event() -> None:
    """API-02: events are judged one by one, so the frame alone is checked with the request."""
    operation = specs.load().operations["ingestAuditEventBatch"]
    operation.check_body({"events": [{"nonsense": True}, 7, None]})
    for body in ({"events": []}, {"events": [{}] * 1001}, {}, {"events": [{}], "atomc": True}):
        with pytest.raises(Problem):
            operation.check_body(body)


@given(
    st.sampled_from(sorted(specs.load().operations)), st.lists(st.tuples(st.text(), st.text()), max_size=4)
)
def test_no_query_breaks_the_check(operation: str, query: list[tuple[str, str]]) -> None:
    """Whatever is sent is answered with violations, never with a crash."""
    surely_wrong = [("not-a-parameter", "")]
    with pytest.raises(Problem, match="VALIDATION_FAILED"):
        specs.load().operations[operation].check_parameters({}, query + surely_wrong, {})


def test_answers_have_schemas_and_headers() -> None:
    """The test client can check each answer against the contract (design §7)."""
    specification = specs.load()
    created = specification.response_schema("ingestAuditEvent", 201)
    assert created is not None
    assert schemas.Validator(created).violations({"id": ULID})[0].issue == "is required"
    assert specification.response_schema("getRoot", 307) is None
    text = specification.response_schema("getIntegrityKeys", 200, "text/plain")
    assert text is not None
    assert schemas.Validator(text).is_valid("log …")
    assert specification.response_headers("listAuditEvents", 200)["x-correlation-id"] is True
    assert "x-ratelimit-limit" in specification.response_headers("listAuditEvents", 429)
    with pytest.raises(KeyError):
        specification.response_schema("ingestAuditEvent", 302)


def test_limits_and_scopes_come_from_the_contract() -> None:
    """API-12 defaults, the batch sharing the budget of single events; 64 KiB and 5 MiB (ING-05, API-02)."""
    operations = specs.load().operations
    assert operations["ingestAuditEvent"].rate_limit == specs.RateLimit("ingest", 1000)
    assert operations["ingestAuditEventBatch"].rate_limit == specs.RateLimit("ingest", 1000)
    per_minute = {
        name: operations[name].rate_limit
        for name in ("listAuditEvents", "searchAuditEvents", "getEventStream")
    }
    assert [limit and limit.per_minute for limit in per_minute.values()] == [100, 50, 100]
    assert operations["ingestAuditEvent"].body_limit.bytes_max == 64 * 1024
    assert operations["ingestAuditEvent"].body_limit.error == "EVENT_TOO_LARGE"
    assert operations["ingestAuditEventBatch"].body_limit.bytes_max == 5 * 1024 * 1024
    assert operations["getLiveness"].public
    assert operations["getLiveness"].rate_limit is None
