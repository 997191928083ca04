"""The same life of tenants and keys on both engines, and changes that meet (STR-11)."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from atp.kernel.errors import Problem
from atp.kernel.ids import TenantId
from atp.tenants import commands, store
from tests.gateway.edge import Edge, Other

Opened = Callable[..., Edge]


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest) -> dict[str, Any]:
    if request.param == "sqlite":
        return {}
    return {"postgres_url": request.getfixturevalue("postgres_url")}


def test_a_tenant_and_its_keys_live_the_same_life(opened: Opened, engine: dict[str, Any]) -> None:
    edge = opened(**engine)
    created = edge.client.call(
        "createTenant", json={"id": "acme", "displayName": "Åcme", "rateLimits": {"getTenant": 7}}
    )
    assert created.status == 201
    issued = edge.add_key("acme", "admin")
    client = edge.client.with_(api_key=issued.secret)
    assert client.call("getTenant", path={"tenantId": "acme"}).json == created.json
    rotated = client.call("rotateApiKey", path={"keyId": issued.key.id}, json={"overlapSeconds": 60})
    successor = edge.client.with_(api_key=rotated.json["secret"])
    assert (
        successor.call("revokeApiKey", path={"keyId": issued.key.id}, json={"reason": "Done."}).status == 200
    )
    assert client.call("listApiKeys").code == "API_KEY_REVOKED"
    edge.client.transport.run(edge.last_used.flush())  # type: ignore[attr-defined]
    listed = successor.call("listApiKeys").json["items"]
    assert [item["status"] for item in listed] == ["active", "revoked"]
    assert all(item["lastUsedAt"] for item in listed)
    assert edge.client.call("createTenant", json={"id": "acme", "displayName": "x"}).code == "TENANT_EXISTS"
    assert [kind for kind, _ in edge.records("acme")] == [
        "tenant.created",
        "api_key.created",
        "api_key.rotated",
        "api_key.created",
        "api_key.revoked",
    ]


def test_a_command_that_fails_half_way_leaves_nothing(opened: Opened, engine: dict[str, Any]) -> None:
    """The change and its record stand or fall together."""
    edge = opened(**engine)

    def half(connection: Any) -> None:
        commands.create_tenant(
            connection, commands.NewTenant(id="acme", display_name="Acme"), change=edge.change()
        )
        raise Problem("OVERLOADED")

    with pytest.raises(Problem, match="OVERLOADED"):
        edge.database.write_now(half)
    assert edge.database.read_now(lambda c: store.find_tenant(c, "acme")) is None
    assert edge.client.call("createTenant", json={"id": "acme", "displayName": "Acme"}).status == 201


def test_two_processes_that_revoke_one_key_at_once_record_it_once(opened: Opened, postgres_url: str) -> None:
    """On PostgreSQL the row's lock decides; the second sees what the first has done."""
    edge = opened(postgres_url=postgres_url)
    other = edge.second(postgres_url)
    try:
        for _ in range(10):
            issued = edge.add_key("demo", "reader")

            def revoke(one: Edge | Other, key_id: str = issued.key.id) -> Future[Any]:
                return one.database.write(
                    lambda c: commands.revoke_api_key(c, TenantId("demo"), key_id, change=one.change())
                )

            with ThreadPoolExecutor(2) as pool:
                futures = list(pool.map(revoke, [edge, other]))
            assert {future.result(30).revoked_us for future in futures} == {futures[0].result().revoked_us}
    finally:
        other.close()
    kinds = [kind for kind, _ in edge.records("demo")]
    assert kinds.count("api_key.revoked") == 10
