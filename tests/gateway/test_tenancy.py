"""Which tenant a request means: the credential allows, the request picks, disagreement is refused (SEC-03)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from atp.web.request import Request
from atp.web.response import Response, json_response
from tests.gateway.edge import Edge, example

Opened = Callable[..., Edge]


@pytest.fixture
def edge(opened: Callable[..., Edge]) -> Edge:
    """An edge whose answer names the tenant it was resolved to."""

    async def told(request: Request) -> Response:
        body = {**example("getIntegrityStatus", 200), "origin": f"tenant/{request.tenant}"}
        return json_response(body)

    edge = opened(base_host="audit.example.com", handlers={"getIntegrityStatus": told})
    edge.add_tenant("acme")
    edge.add_tenant("umbrella")
    return edge


def resolved(edge: Edge, key: str, *, path: str = "", **headers: str) -> str:
    """Return the tenant that was resolved, or the code of the refusal."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    prefix = f"/api/v1/tenants/{path}" if path else "/api/v1"
    answer = edge.client.with_(api_key=key).get(f"{prefix}/integrity/status", headers=named)
    return answer.json["origin"].removeprefix("tenant/") if answer.status == 200 else answer.code


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "acme"),
        ({"x_tenant_id": "acme"}, "acme"),
        ({"path": "acme"}, "acme"),
        ({"host": "acme.audit.example.com:8080"}, "acme"),
        ({"host": "ACME.Audit.Example.Com."}, "acme"),
        ({"host": "audit.example.com"}, "acme"),
        ({"host": "127.0.0.1:8080"}, "acme"),
        ({"host": "[::1]"}, "acme"),
        ({"x_tenant_id": "acme", "path": "acme", "host": "acme.audit.example.com"}, "acme"),
        ({"x_tenant_id": "umbrella"}, "TENANT_MISMATCH"),
        ({"path": "umbrella"}, "TENANT_MISMATCH"),
        ({"host": "umbrella.audit.example.com"}, "TENANT_MISMATCH"),
        ({"x_tenant_id": "nobody"}, "TENANT_MISMATCH"),
        ({"x_tenant_id": "acme", "path": "umbrella"}, "TENANT_MISMATCH"),
        ({"x_tenant_id": "umbrella", "host": "acme.audit.example.com"}, "TENANT_MISMATCH"),
        ({"host": "a.b.audit.example.com"}, "TENANT_MISMATCH"),
        ({"x_tenant_id": "acme, acme"}, "TENANT_MISMATCH"),
    ],
)
def test_a_tenant_s_key_reaches_its_tenant_and_no_other(
    edge: Edge, given: dict[str, str], expected: str
) -> None:
    """Whether another tenant exists is not told either."""
    assert resolved(edge, edge.add_key("acme", "reader").secret, **given) == expected


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "demo"),
        ({"x_tenant_id": "umbrella"}, "umbrella"),
        ({"path": "umbrella"}, "umbrella"),
        ({"host": "umbrella.audit.example.com"}, "umbrella"),
        ({"x_tenant_id": "nobody"}, "TENANT_NOT_FOUND"),
        ({"x_tenant_id": "acme", "path": "umbrella"}, "TENANT_MISMATCH"),
        ({"x_tenant_id": "acme", "host": "umbrella.audit.example.com"}, "TENANT_MISMATCH"),
    ],
)
def test_an_operator_picks_the_tenant_but_must_be_clear(
    edge: Edge, given: dict[str, str], expected: str
) -> None:
    assert resolved(edge, edge.admin_key, **given) == expected


def test_a_suspended_tenant_reads_and_does_not_write(edge: Edge) -> None:
    """ADM-01: and only the operator takes it up again."""
    admin = edge.as_("admin", tenant="acme")
    operator = edge.client
    event = {
        "occurredAt": "2026-11-21T10:00:00Z",
        "actor": {"type": "user", "id": "u-1"},
        "action": {"name": "document.read"},
        "resource": {"type": "document", "id": "doc-1"},
    }
    assert (
        operator.call("updateTenant", path={"tenantId": "acme"}, json={"status": "suspended"}).status == 200
    )
    assert admin.post("/api/v1/audit-events", json=event).code == "TENANT_SUSPENDED"
    assert admin.call("createApiKey", json={"name": "x", "roles": ["reader"]}).code == "TENANT_SUSPENDED"
    assert admin.call("getIntegrityStatus").status == 200
    assert operator.call("updateTenant", path={"tenantId": "acme"}, json={"status": "active"}).status == 200
    assert admin.call("createApiKey", json={"name": "x", "roles": ["reader"]}).status == 201
