"""Tenants and keys through HTTP: what they become, what is refused, what the trail says of it (ADM-01, STR-10)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from atp.kernel.clock import now_us, parse_rfc3339
from atp.tenants import commands
from tests.gateway.edge import Edge

HOUR_US = 3_600_000_000


def create(edge: Edge, **given: Any) -> Any:
    return edge.client.call("createTenant", json={"id": "acme", "displayName": "Acme GmbH"} | given)


def test_a_tenant_is_created_with_a_log_of_its_own(edge: Edge) -> None:
    """ADM-01, SEC-06: id, region and log are fixed at creation."""
    answer = create(edge, region="eu-central", rateLimits={"ingestAuditEvent": 5000})
    tenant = answer.json
    assert answer.status == 201
    assert answer.headers["location"] == "/api/v1/tenants/acme"
    assert (tenant["region"], tenant["status"], tenant["version"]) == ("eu-central", "active", 1)
    assert tenant["origin"] == f"localhost/tlog/{tenant['logId']}"
    assert tenant["rateLimits"] == {"ingestAuditEvent": 5000}
    assert edge.client.call("getTenant", path={"tenantId": "acme"}).json == tenant


def test_a_tenant_id_is_never_used_twice(edge: Edge) -> None:
    assert create(edge).status == 201
    assert create(edge, displayName="Another").code == "TENANT_EXISTS"
    assert edge.client.call("getTenant", path={"tenantId": "acme"}).json["displayName"] == "Acme GmbH"


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"id": "-acme"}, "id"),
        ({"id": "a" * 64}, "id"),
        ({"id": "Acme"}, "id"),
        ({"displayName": "two\nlines"}, "displayName"),
        ({"displayName": "n" * 201}, "displayName"),
        ({"region": "EU"}, "region"),
        ({"rateLimits": {"ingestAuditEvent": 0}}, "rateLimits.ingestAuditEvent"),
        ({"rateLimits": {"ingestAuditEvent": 1.5}}, "rateLimits.ingestAuditEvent"),
        ({"rateLimits": {"ingestAuditEvent": 10**20}}, "rateLimits.ingestAuditEvent"),
        ({"status": "suspended"}, "status"),
    ],
)
def test_a_wrong_field_of_a_tenant_is_named(edge: Edge, given: dict[str, Any], field: str) -> None:
    answer = create(edge, **given)
    assert answer.code == "VALIDATION_FAILED"
    assert [detail["field"] for detail in answer.details] == [field]


def test_each_change_of_a_tenant_is_a_record_in_its_own_log(edge: Edge) -> None:
    """STR-10: who did what, in the transaction of the change."""
    create(edge)
    operator = edge.admin_key[4:30]
    for changes in (
        {"displayName": "Acme AG"},
        {"status": "suspended"},
        {"status": "active"},
        {"status": "active"},
    ):
        assert edge.client.call("updateTenant", path={"tenantId": "acme"}, json=changes).status == 200
    records = edge.records("acme")
    kinds = ["tenant.created", "tenant.updated", "tenant.suspended", "tenant.reactivated"]
    assert [kind for kind, _ in records] == kinds
    assert {content["actor"]["id"] for _, content in records} == {operator}
    assert [content["payload"]["version"] for _, content in records] == [1, 2, 3, 4]
    assert [content["payload"]["status"] for _, content in records][2:] == ["suspended", "active"]
    assert edge.client.call("getTenant", path={"tenantId": "acme"}).json["version"] == 4


def test_a_record_names_the_trace_and_request_that_set_it_off(edge: Edge) -> None:
    """OBS-01."""
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    headers = {"traceparent": f"00-{trace}-00f067aa0ba902b7-01", "X-Request-ID": "r-1"}
    edge.client.call("updateTenant", path={"tenantId": "demo"}, json={"displayName": "D"}, headers=headers)
    assert edge.records("demo")[-1][1]["correlation"] == {"traceId": trace, "requestId": "r-1"}


def test_a_refused_change_leaves_neither_change_nor_record(edge: Edge) -> None:
    before = edge.records("demo")
    assert create(edge, id="demo").code == "TENANT_EXISTS"
    assert (
        edge.as_("admin").call("createApiKey", json={"name": "x", "roles": ["operator"]}).code == "FORBIDDEN"
    )
    assert [kind for kind, _ in edge.records("demo")][len(before) :] == ["api_key.created"]


def test_a_tenant_that_is_not_there_is_not_found_for_an_operator(edge: Edge) -> None:
    assert edge.client.call("getTenant", path={"tenantId": "nobody"}).code == "TENANT_NOT_FOUND"
    changes = {"displayName": "x"}
    assert (
        edge.client.call("updateTenant", path={"tenantId": "nobody"}, json=changes).code == "TENANT_NOT_FOUND"
    )


def test_tenants_are_listed_in_pages_that_miss_and_repeat_none(edge: Edge) -> None:
    """API-11."""
    for number in range(5):
        create(edge, id=f"t{number}")
    seen, path = [], "/api/v1/tenants?limit=2"
    while path:
        answer = edge.client.get(path)
        seen += [tenant["id"] for tenant in answer.json["items"]]
        assert answer.json["page"]["count"] == len(answer.json["items"])
        path = answer.json["links"]["next"]
    assert seen == ["demo", "t0", "t1", "t2", "t3", "t4"]


def test_a_cursor_of_another_list_another_tenant_or_another_hand_is_refused(edge: Edge) -> None:
    create(edge)
    for number in range(3):
        edge.add_key("demo", "reader")
        edge.add_key("acme", "reader")
        create(edge, id=f"t{number}")
    cursors = [
        edge.client.call("listTenants", query={"limit": 1}).json["page"]["nextCursor"],
        edge.as_("admin", tenant="acme").call("listApiKeys", query={"limit": 1}).json["page"]["nextCursor"],
        "AAAA",
        "!",
    ]
    codes = [edge.client.get(f"/api/v1/api-keys?cursor={cursor}").code for cursor in cursors]
    assert codes == ["CURSOR_INVALID"] * 3 + ["VALIDATION_FAILED"]


def test_a_key_is_created_shown_once_and_works(edge: Edge) -> None:
    """SEC-01."""
    expires = "2030-01-01T00:00:00+01:00"
    wanted = {"name": "Checkout", "roles": ["admin"], "clearance": "personal", "expiresAt": expires}
    answer = edge.client.call("createApiKey", json=wanted)
    key, secret = answer.json["key"], answer.json["secret"]
    assert answer.status == 201
    assert (key["roles"], key["clearance"], key["status"]) == (["admin"], "personal", "active")
    assert key["expiresAt"] == "2029-12-31T23:00:00.000000Z"
    client = edge.client.with_(api_key=secret)
    listed = client.call("listApiKeys")
    assert key in listed.json["items"]
    assert secret.encode()[-43:] not in listed.content
    kind, content = edge.records("demo")[-1]
    assert kind == "api_key.created"
    assert content["payload"]["api_key_id"] == key["id"]
    assert secret[-43:] not in repr(edge.records("demo"))


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"roles": []}, "roles"),
        ({"roles": ["reader", "reader"]}, "roles"),
        ({"roles": ["god"]}, "roles[0]"),
        ({"clearance": "top"}, "clearance"),
        ({"name": ""}, "name"),
        ({"expiresAt": "tomorrow"}, "expiresAt"),
        ({"expiresAt": "2020-01-01T00:00:00Z"}, "expiresAt"),
        ({"secret": "mine"}, "secret"),
    ],
)
def test_a_wrong_field_of_a_key_is_named(edge: Edge, given: dict[str, Any], field: str) -> None:
    answer = edge.client.call("createApiKey", json={"name": "k", "roles": ["reader"]} | given)
    assert answer.code == "VALIDATION_FAILED"
    assert {detail["field"] for detail in answer.details} == {field}


def test_a_key_is_rotated_with_an_overlap(edge: Edge) -> None:
    old = edge.add_key("demo", "admin")
    before = now_us()
    answer = edge.client.call("rotateApiKey", path={"keyId": old.key.id}, json={"overlapSeconds": 3600})
    assert answer.status == 201
    new = answer.json["key"]
    assert (new["roles"], new["name"], new["expiresAt"]) == (["admin"], old.key.name, None)
    items = {item["id"]: item for item in edge.client.call("listApiKeys").json["items"]}
    ended = items[old.key.id]
    assert ended["replacedBy"] == new["id"]
    assert before + HOUR_US <= parse_rfc3339(ended["expiresAt"]) <= now_us() + HOUR_US
    for secret in (old.secret, answer.json["secret"]):
        assert edge.client.with_(api_key=secret).call("listApiKeys").status == 200
    assert [kind for kind, _ in edge.records("demo")][-2:] == ["api_key.rotated", "api_key.created"]


def test_a_rotation_without_overlap_ends_the_old_key_at_once(edge: Edge) -> None:
    old = edge.add_key("demo", "admin")
    client = edge.client.with_(api_key=old.secret)
    assert client.call("listApiKeys").status == 200
    assert (
        edge.client.call("rotateApiKey", path={"keyId": old.key.id}, json={"overlapSeconds": 0}).status == 201
    )
    assert client.call("listApiKeys").code == "API_KEY_EXPIRED"
    again = edge.client.call("rotateApiKey", path={"keyId": old.key.id}, json={})
    assert again.code == "VALIDATION_FAILED"


def test_a_rotation_never_lengthens_the_old_key_s_life(edge: Edge) -> None:
    expires = now_us() + HOUR_US
    old = edge.add_key("demo", "admin", expires_us=expires)
    edge.client.call("rotateApiKey", path={"keyId": old.key.id}, json={"overlapSeconds": 86_400})
    items = {item["id"]: item for item in edge.client.call("listApiKeys").json["items"]}
    assert parse_rfc3339(items[old.key.id]["expiresAt"]) == expires


def test_revoking_twice_is_once(edge: Edge) -> None:
    issued = edge.add_key("demo", "reader")
    path = {"keyId": issued.key.id}
    first = edge.client.call("revokeApiKey", path=path, json={"reason": "The laptop was lost."})
    second = edge.client.call("revokeApiKey", path=path, json={})
    assert (first.json["status"], second.json["revokedAt"]) == ("revoked", first.json["revokedAt"])
    revoked = [content for kind, content in edge.records("demo") if kind == "api_key.revoked"]
    assert [content["payload"]["reason"] for content in revoked] == ["The laptop was lost."]


@pytest.mark.parametrize("operation", ["revokeApiKey", "rotateApiKey"])
def test_another_tenant_s_key_is_not_found(edge: Edge, operation: str) -> None:
    """SEC-03: tenants stay apart, and the other's key works on."""
    create(edge)
    foreign = edge.add_key("acme", "admin")
    answer = edge.as_("admin").call(operation, path={"keyId": foreign.key.id}, json={})
    assert answer.code == "API_KEY_NOT_FOUND"
    assert edge.client.with_(api_key=foreign.secret).call("listApiKeys").status == 200


def test_keys_are_listed_newest_first_and_only_the_tenant_s_own(edge: Edge) -> None:
    create(edge)
    foreign = edge.add_key("acme", "reader").key.id
    made = [edge.add_key("demo", "reader").key.id for _ in range(4)]
    seen, path = [], "/api/v1/api-keys?limit=2"
    while path:
        answer = edge.client.get(path)
        seen += [key["id"] for key in answer.json["items"]]
        path = answer.json["links"]["next"]
    assert seen == [*sorted(made, reverse=True), edge.admin_key[4:30]]
    assert foreign not in seen


def test_the_first_start_makes_the_demo_tenant_once(opened: Callable[..., Edge]) -> None:
    """A second start finds it there and makes no second key."""
    edge = opened()
    again = edge.database.write_now(lambda c: commands.ensure_demo(c, change=edge.change()))
    assert again is None
    (key,) = edge.client.call("listApiKeys").json["items"]
    assert (key["roles"], key["clearance"]) == (["admin", "operator"], "secret")
