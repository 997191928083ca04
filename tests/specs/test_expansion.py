"""Expansion: what the source says once is written out everywhere, and a name that leads nowhere is an error."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import yaml

from atp.specs import Specification, expansion, loading

DOCUMENTS = loading.documents()


@pytest.fixture
def source() -> dict[str, Any]:
    openapi: dict[str, Any] = yaml.safe_load(
        (loading.contracts_folder() / loading.OPENAPI_FILE).read_text(encoding="utf-8")
    )
    return openapi


def expanded(source: dict[str, Any]) -> dict[str, Any]:
    return expansion.expand(source, DOCUMENTS.schemas, DOCUMENTS.errors)


def test_the_source_is_not_changed(source: dict[str, Any]) -> None:
    """A pure function: the same source can be expanded again, by a test or a comparison of versions."""
    before = copy.deepcopy(source)
    assert expanded(source) == expanded(source)
    assert source == before


def test_a_deprecated_operation_answers_with_the_headers_that_say_so(source: dict[str, Any]) -> None:
    """API-14: Deprecation and Sunset come from the contract."""
    source["paths"]["/api/v1/tenants"]["get"] |= {
        "deprecated": True,
        "x-atp-deprecated-since": "2026-11-01T00:00:00Z",
        "x-atp-sunset": "2027-11-01T00:00:00Z",
    }
    specification = Specification(expanded(source))
    operation = specification.operations["listTenants"]
    assert operation.deprecated
    assert (operation.deprecated_since, operation.sunset) == ("2026-11-01T00:00:00Z", "2027-11-01T00:00:00Z")
    assert {"deprecation", "sunset"} <= set(specification.response_headers("listTenants", 200))
    assert "deprecation" not in specification.response_headers("getTenant", 200)


def test_each_code_becomes_an_answer_of_its_status(source: dict[str, Any]) -> None:
    """A client sees per operation what can go wrong; nothing hides behind `default`."""
    answers = expanded(source)["paths"]["/api/v1/event-streams/{streamId}/seal"]["post"]["responses"]
    assert "default" not in answers
    assert "`STREAM_SEALED`: " in answers["409"]["description"]
    assert "`IDEMPOTENCY_CONFLICT`" not in answers["409"]["description"]
    assert "Retry-After" in answers["503"]["headers"]
    assert "Retry-After" not in answers["404"]["headers"]


def test_an_answer_that_is_written_out_is_kept(source: dict[str, Any]) -> None:
    """The refused batch has a body of its own, which the general problem must not replace (API-02)."""
    answer = expanded(source)["paths"]["/api/v1/audit-events/batch"]["post"]["responses"]["422"]
    schema = answer["content"]["application/problem+json"]["schema"]
    assert schema == {"$ref": "#/components/schemas/BatchProblem"}


@pytest.mark.parametrize(
    "change",
    [
        {"x-atp-errors": ["@nobody"]},
        {"x-atp-errors": ["NO_SUCH_CODE"]},
        {"requestBody": {"content": {"application/json": {"schema": {"$ref": "../schemas/none.v1.json"}}}}},
    ],
)
def test_a_name_that_leads_nowhere_is_an_error(source: dict[str, Any], change: dict[str, Any]) -> None:
    """A typing mistake in the contract stops the start, not a request in the night."""
    source["paths"]["/api/v1/audit-events"]["post"] |= change
    with pytest.raises(KeyError):
        expanded(source)


def test_two_schemas_of_one_name_are_an_error(source: dict[str, Any]) -> None:
    """A component that silently replaced another would change what the server accepts."""
    source["components"]["schemas"]["AuditEventV1"] = {"type": "object"}
    with pytest.raises(ValueError, match="AuditEventV1"):
        expanded(source)
