"""Several processes on one PostgreSQL: whole servers side by side, and one service each (OPS-01, STR-01)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.engine.local_postgres import shared
from tests.flows.events import event, every_event, until
from tests.flows.load import Producers, check_nothing_lost
from tests.server import Server


@pytest.fixture
def database() -> Iterator[str]:
    name = shared().create()
    yield shared().url(name)
    shared().drop(name)


def beside(first: Server, new_server: Callable[..., Server], **settings: str) -> Server:
    """Return another process of the same installation: the same database and master keys, other data of its own."""
    keys = str(first.data / "master.key")
    other = new_server(database=first.settings["ATP_DATABASE"], settings={"MASTER_KEY_FILE": keys} | settings)
    other.data.mkdir()
    (other.data / "admin.key").write_text(first.admin_key)
    return other


def test_two_servers_write_one_log(new_server: Callable[..., Server], database: str) -> None:
    """STR-01, INT-02, INT-03: one order, no gap, no duplicate, one root for each size; each sees the other's events."""
    first = new_server(database=database).start().lift_limits()
    second = beside(first, new_server).start()
    producers = Producers(first, workers=6)
    producers.start(first, second)
    producers.wait_for(400)
    signed = {}
    for server in (first, second) * 20:
        checkpoint = server.status()["checkpoint"]
        if checkpoint:
            assert signed.setdefault(checkpoint["size"], checkpoint["rootHash"]) == checkpoint["rootHash"]
    producers.wait_for(400)
    producers.stop()
    assert len(signed) > 1
    until(lambda: first.status()["lagRecords"] == 0)
    assert first.status()["checkpoint"]["rootHash"] == second.status()["checkpoint"]["rootHash"]
    check_nothing_lost(first, producers)
    kept = second.admin.call("ingestAuditEvent", json=event()).json
    assert first.admin.call("getAuditEvent", path={"id": kept["id"]}).json["recordHash"] == kept["recordHash"]


def test_a_key_used_at_two_servers_at_once_makes_one_record(
    new_server: Callable[..., Server], database: str
) -> None:
    """ING-03: idempotency holds across processes."""
    first = new_server(database=database).start()
    second = beside(first, new_server).start()
    sent = event(1, idempotencyKey="everywhere")
    answers = [server.admin.call("ingestAuditEvent", json=sent) for server in (first, second, first)]
    assert [answer.status for answer in answers] == [201, 200, 200]
    assert len({answer.json["id"] for answer in answers}) == 1


def test_one_of_two_dies_and_the_other_goes_on(new_server: Callable[..., Server], database: str) -> None:
    """TST-02: kill -9 of one process under load never stops the other, nor does its return."""
    first = new_server(database=database).start().lift_limits()
    second = beside(first, new_server).start()
    producers = Producers(first)
    for _ in range(3):
        producers.start(first, second)
        producers.wait_for(60)
        second.kill()
        producers.wait_for(60)
        producers.stop()
        second.start()
    until(lambda: first.status()["lagRecords"] == 0)
    check_nothing_lost(first, producers)


def test_a_revoked_key_is_refused_by_the_other_server_soon(
    new_server: Callable[..., Server], database: str
) -> None:
    """SEC-01: a change made by one process is believed by all within a second or so."""
    first = new_server(database=database).start().lift_limits()
    second = beside(first, new_server).start()
    issued = first.new_key("reader")
    client = second.client(api_key=issued["secret"])
    until(lambda: client.call("getIntegrityStatus").status == 200)
    first.admin.call("revokeApiKey", path={"keyId": issued["key"]["id"]}, json={"reason": "Lost."})
    until(lambda: client.call("getIntegrityStatus").status == 401, seconds=5)


def test_three_processes_with_a_service_each_tell_the_story_together(
    new_server: Callable[..., Server], database: str
) -> None:
    """OPS-01: writing, reading and proving in processes of their own; each says what it does not run."""
    writing = new_server(database=database, settings={"ONLY": "gateway,ingestion"}).start()
    reading = beside(writing, new_server, ONLY="query,projection").start()
    proving = beside(writing, new_server, ONLY="integrity").start()
    kept = writing.admin.call("ingestAuditEvent", json=event(7)).json
    found = every_event(
        reading.admin, actor="u-7", kind="audit", waitForPosition=kept["position"], waitTimeout=10_000
    )
    assert kept["id"] in {record["id"] for record in found}
    proof = proving.admin.call(
        "getAuditEventProof", path={"id": kept["id"]}, query={"waitTimeout": 10_000}
    ).json
    assert proof["recordHash"] == kept["recordHash"]
    assert proving.admin.get(f"/tlog/{proof['logId']}/checkpoint").status == 200
    assert writing.admin.call("createApiKey", json={"name": "A key", "roles": ["reader"]}).status == 201
    for server, operation_id, service in (
        (writing, "listAuditEvents", "query"),
        (writing, "getIntegrityStatus", "integrity"),
        (reading, "getIntegrityStatus", "integrity"),
        (proving, "listAuditEvents", "query"),
    ):
        answer = server.admin.call(operation_id)
        assert answer.status == 404 and service in answer.json["error"]["message"]
    for server in (writing, reading, proving):
        assert server.admin.get("/readyz").status == 200
        assert server.stop() == 0
    proving.atp("verify")
