"""Who may do what, through the real server: keys, tenants, roles, limits (SEC-01, SEC-02, SEC-03, API-12)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from atp.specs import load
from tests.client import Client
from tests.flows.events import event, every_event, until
from tests.server import Server

PUBLIC = {name for name, operation in load().operations.items() if operation.public}
NOBODY = "01KAKBR8MZ9V3W7T5Q2E8YH4NC"
PATHS = {
    "id": NOBODY,
    "streamId": "document/doc-1",
    "tenantId": "demo",
    "keyId": NOBODY,
    "logId": NOBODY.lower(),
    "level": "0",
    "tilePath": "000",
}


def call_anyhow(client: Client, operation_id: str) -> tuple[int, str]:
    """Call an operation with nothing but a path; whoever is refused for who he is never gets to the body."""
    operation = load().operations[operation_id]
    path = {
        parameter.name: PATHS[parameter.name]
        for parameter in operation.parameters
        if parameter.location == "path"
    }
    answer = client.call(operation_id, path=path)
    return answer.status, answer.code


@pytest.mark.parametrize("operation_id", sorted(set(load().operations) - PUBLIC))
def test_nobody_gets_in_without_a_credential(standing: Server, operation_id: str) -> None:
    """SEC-01: every operation but the public ones; a wrong key is answered like an unknown one."""
    key = standing.admin_key
    wrong = [
        standing.client(),
        standing.client(api_key=key[:-1] + ("x" if key[-1] != "x" else "y")),
        standing.client(api_key="atp_" + NOBODY + "_" + "A" * 43),
        standing.client(headers={"authorization": "Basic YTpi"}),
    ]
    assert {call_anyhow(client, operation_id) for client in wrong} == {(401, "UNAUTHENTICATED")}


def test_revoked_and_expired_keys_are_told_apart_and_refused(standing: Server) -> None:
    """SEC-01: both at once, for reading and for writing; nothing is stored."""
    revoked, expired = standing.new_key("admin"), standing.new_key("admin")
    for issued in (revoked, expired):
        assert standing.client(api_key=issued["secret"]).call("getIntegrityStatus").status == 200
    answer = standing.admin.call(
        "revokeApiKey", path={"keyId": revoked["key"]["id"]}, json={"reason": "Lost."}
    )
    assert answer.status == 200
    rotated = standing.admin.call(
        "rotateApiKey", path={"keyId": expired["key"]["id"]}, json={"overlapSeconds": 0}
    )
    assert rotated.status == 201, rotated.content
    before = standing.size()
    for issued, code in ((revoked, "API_KEY_REVOKED"), (expired, "API_KEY_EXPIRED")):
        client = standing.client(api_key=issued["secret"])
        for answer in (client.call("ingestAuditEvent", json=event()), client.call("listAuditEvents")):
            assert (answer.status, answer.code) == (401, code)
    assert standing.size() == before
    successor = standing.client(api_key=rotated.json["secret"])
    assert successor.call("ingestAuditEvent", json=event()).status == 201


def test_a_role_opens_its_scopes_and_no_others(standing: Server) -> None:
    """SEC-02: the message names the missing scope."""
    writer, reader = standing.as_("writer"), standing.as_("reader")
    assert writer.call("ingestAuditEvent", json=event()).status == 201
    assert reader.call("listAuditEvents").status == 200
    for client, operation_id, scope in (
        (writer, "listAuditEvents", "events:read"),
        (reader, "ingestAuditEvent", "events:write"),
        (reader, "createApiKey", "api_keys:manage"),
        (writer, "createTenant", "tenants:manage"),
        (reader, "createVerification", "integrity:verify"),
    ):
        answer = client.call(
            operation_id, json={} if "create" in operation_id or "ingest" in operation_id else None
        )
        assert (answer.status, answer.code) == (403, "FORBIDDEN")
        assert scope in answer.json["error"]["message"]


def test_nobody_makes_a_key_that_can_do_more_than_he(standing: Server) -> None:
    """SEC-02."""
    admin = standing.as_("admin")
    answer = admin.call("createApiKey", json={"name": "More", "roles": ["operator"]})
    assert (answer.status, answer.code) == (403, "FORBIDDEN")
    answer = admin.call("createApiKey", json={"name": "See", "roles": ["reader"], "clearance": "secret"})
    assert (answer.status, answer.code) == (403, "FORBIDDEN")


@pytest.fixture
def other_tenant(standing: Server) -> str:
    """A second tenant with one record of its own."""
    name = f"other-{standing.size()}"
    answer = standing.as_("operator").call("createTenant", json={"id": name, "displayName": "Other"})
    assert answer.status == 201, answer.content
    return name


def test_a_key_of_one_tenant_never_reaches_another(standing: Server, other_tenant: str) -> None:
    """SEC-03: by header, by path, by id, by stream, by log; and any disagreement is refused."""
    mine = standing.admin.call("ingestAuditEvent", json=event()).json
    writer = standing.as_("writer", "reader")
    for answer in (
        writer.post("/api/v1/audit-events", json=event(), headers={"x-tenant-id": other_tenant}),
        writer.post(f"/api/v1/tenants/{other_tenant}/audit-events", json=event()),
        writer.get("/api/v1/tenants/demo/audit-events", headers={"x-tenant-id": other_tenant}),
        writer.get(f"/api/v1/tenants/nobody-at-all/audit-events/{mine['id']}"),
    ):
        assert (answer.status, answer.code) == (403, "TENANT_MISMATCH")
    operator = standing.client(api_key=standing.admin_key, tenant=other_tenant)
    for answer in (
        operator.call("getAuditEvent", path={"id": mine["id"]}),
        operator.call("getAuditEventProof", path={"id": mine["id"]}),
        operator.call("getEventStream", path={"streamId": mine["stream"]}),
    ):
        assert answer.code in ("EVENT_NOT_FOUND", "STREAM_NOT_FOUND", "TENANT_MISMATCH")


def test_the_path_form_and_the_alias_of_the_design_answer(standing: Server) -> None:
    """API-08."""
    kept = standing.admin.post("/api/v1/tenants/demo/audit-events", json=event())
    assert kept.status == 201
    assert standing.admin.post("/api/v1/audit/records", json=event()).status == 201
    assert standing.admin.get(f"/api/v1/audit/records/{kept.json['id']}").json["id"] == kept.json["id"]
    assert standing.admin.get("/api/v1/tenants/demo/integrity/status").status == 200


def test_a_suspended_tenant_is_read_only(new_server: Callable[..., Server], engine: str) -> None:
    """ADM-01: no writes, all reads, and back again."""
    server = new_server(engine=engine).start()
    demo = {"tenantId": "demo"}
    assert server.admin.call("updateTenant", path=demo, json={"status": "suspended"}).status == 200
    refused = until(
        lambda: next(
            (a for a in [server.admin.call("ingestAuditEvent", json=event())] if a.status == 403), None
        )
    )
    assert refused.code == "TENANT_SUSPENDED"
    assert server.admin.call("listAuditEvents").status == 200
    assert server.admin.call("updateTenant", path=demo, json={"status": "active"}).status == 200
    assert server.admin.call("ingestAuditEvent", json=event()).status == 201


def test_over_the_limit_is_429_with_the_time_to_wait(new_server: Callable[..., Server]) -> None:
    """API-12: the contract's limit for a search is 50 a minute; a tenant's own limit replaces it."""
    server = new_server().start()
    answers = [server.admin.call("searchAuditEvents", json={"limit": 1}) for _ in range(52)]
    assert {answer.status for answer in answers[:50]} == {200}
    assert int(answers[0].headers["x-ratelimit-limit"]) == 50
    refused = answers[-1]
    assert (refused.status, refused.code) == (429, "RATE_LIMITED")
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert server.admin.call("listAuditEvents").status == 200  # Each limit counts for itself.
    limits = {"rateLimits": {"ingestAuditEvent": 3}}
    assert server.admin.call("updateTenant", path={"tenantId": "demo"}, json=limits).status == 200
    before = server.size()
    codes = [server.admin.call("ingestAuditEvent", json=event(n)).status for n in range(8)]
    stored = codes.count(201)
    assert codes.count(429) == 8 - stored >= 4
    assert server.size() == before + stored


def test_changes_of_keys_and_tenants_are_records_themselves(embedded: Server) -> None:
    """STR-10, SEC-04: who made, rotated and revoked a key, and who looked at sealed values."""
    issued = embedded.new_key("reader", clearance="personal")
    kept = embedded.admin.call(
        "ingestAuditEvent", json=event(actor={"type": "user", "id": "u", "name": "Ada"})
    )
    seen = embedded.client(api_key=issued["secret"])
    plain = seen.call("getAuditEvent", path={"id": kept.json["id"]})
    assert "Ada" not in plain.content.decode()
    refused = seen.call("getAuditEvent", path={"id": kept.json["id"]}, query={"disclose": "true"})
    assert refused.code in ("FORBIDDEN", "CLEARANCE_REQUIRED")
    opened = embedded.admin.call("getAuditEvent", path={"id": kept.json["id"]}, query={"disclose": "true"})
    assert opened.json["actor"]["name"] == "Ada"
    embedded.admin.call("revokeApiKey", path={"keyId": issued["key"]["id"]}, json={"reason": "Done."})
    size = embedded.size()
    told = [
        record["type"]
        for record in every_event(
            embedded.admin, kind="platform", waitForPosition=size - 1, waitTimeout=10_000
        )
    ]
    assert told[:2] == ["tenant.created", "api_key.created"]
    assert told[-3:] == ["api_key.created", "sealed_values.accessed", "api_key.revoked"]
