"""One flipped byte in the stored bytes, and `atp verify` names the place; a clean store raises no alarm (INT-06)."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

import psycopg
import pytest

from tests.flows.events import event, until
from tests.server import Server

RECORD_COLUMNS = ("header", "content", "id")
OTHER_VALUES = {
    "tile": "SELECT hashes FROM tiles ORDER BY level, idx LIMIT 1",
    "tree": "SELECT root FROM trees",
    "checkpoint": "SELECT note FROM checkpoints",
}


def filled(server: Server) -> dict[str, Any]:
    """Send some events, wait until all are under a checkpoint, and return the receipt of one in the middle."""
    events = [
        event(number, actor={"type": "user", "id": f"u-{number}", "name": "Ada"}) for number in range(300)
    ]
    answer = server.admin.call("ingestAuditEventBatch", json={"events": events})
    assert answer.json["accepted"] == 300
    until(lambda: server.status()["lagRecords"] == 0)
    return dict(answer.json["results"][150])


def findings(server: Server) -> list[dict[str, Any]]:
    told = server.atp("verify", "--output", "json", code=1)
    report = json.loads(told)
    assert report["verified"] is False
    return [finding for log in report["logs"] for finding in log["findings"]]


def stored(server: Server, sql: str) -> bytes:
    with closing(sqlite3.connect(server.data / "atp.db")) as connection:
        return bytes(connection.execute(sql).fetchone()[0])


def flip(server: Server, value: bytes) -> None:
    """Change one bit of a value in the database file itself, wherever it stands (freed pages keep old copies)."""
    path = server.data / "atp.db"
    content = bytearray(path.read_bytes())
    piece = next((part for part in (value, value[:300]) if part in content), b"")
    assert piece, "the value does not stand in the file, not even its beginning"
    changed = bytearray(piece)
    changed[len(piece) // 2] ^= 1
    path.write_bytes(content.replace(piece, changed))


@pytest.mark.parametrize("column", RECORD_COLUMNS)
def test_a_flipped_byte_of_a_record_is_named_by_position_and_id(embedded: Server, column: str) -> None:
    """INT-06: the last step of the story; in words for people, with exit code 1."""
    receipt = filled(embedded)
    assert embedded.stop() == 0
    assert embedded.atp("verify").rstrip().endswith("verified")
    flip(embedded, stored(embedded, f"SELECT {column} FROM records WHERE position = {receipt['position']}"))
    told = embedded.atp("verify", code=1)
    assert f"position {receipt['position']}" in told and "NOT VERIFIED" in told, told
    if column != "id":  # An id that was changed cannot be the one to be named.
        assert receipt["id"] in told
    assert {finding["position"] for finding in findings(embedded) if "position" in finding} >= {
        receipt["position"]
    }


@pytest.mark.parametrize("what", OTHER_VALUES)
def test_a_flipped_byte_of_the_tree_is_an_alarm_too(embedded: Server, what: str) -> None:
    """INT-06: tiles, trees and checkpoints are recomputed as well, never believed."""
    filled(embedded)
    assert embedded.stop() == 0
    flip(embedded, stored(embedded, OTHER_VALUES[what]))
    assert findings(embedded)


def test_a_record_changed_by_an_administrator_of_postgresql_is_named(
    new_server: Callable[..., Server],
) -> None:
    """INT-06, STR-04: triggers refuse the change; who switches them off is found out by position."""
    server = new_server(engine="postgresql").start()
    receipt = filled(server)
    assert server.atp("verify").rstrip().endswith("verified")
    change = (
        "UPDATE records SET content = set_byte(content, 20, get_byte(content, 20) # 1) WHERE position = %s"
    )
    with psycopg.connect(server.settings["ATP_DATABASE"], autocommit=True) as connection:
        with pytest.raises(psycopg.Error):
            connection.execute(change, [receipt["position"]])
        connection.execute("SET session_replication_role = replica")
        assert connection.execute(change, [receipt["position"]]).rowcount == 1
    assert {finding["position"] for finding in findings(server)} >= {receipt["position"]}
    told = server.atp("verify", code=1)
    assert receipt["id"] in told


def test_the_server_itself_finds_the_damage_and_records_it(embedded: Server) -> None:
    """INT-06: a verification over HTTP fails, names the position, and its result is a record."""
    receipt = filled(embedded)
    assert embedded.stop() == 0
    flip(embedded, stored(embedded, f"SELECT content FROM records WHERE position = {receipt['position']}"))
    embedded.start()
    run = embedded.admin.call("createVerification", json={"scope": "log"})
    assert run.status == 202, run.content
    ended = until(
        lambda: next(
            (
                found
                for found in [embedded.admin.call("getVerification", path={"id": run.json["id"]}).json]
                if found["finishedAt"]
            ),
            None,
        )
    )
    assert ended["status"] == "failed"
    assert receipt["position"] in {finding.get("position") for finding in ended["result"]["findings"]}
    assert embedded.admin.call("getIntegrityStatus").json["lastVerification"]["status"] == "failed"


def test_a_clean_log_is_verified_while_it_is_written(server: Server) -> None:
    """INT-06: no false alarm beside a running server, by command and over HTTP."""
    filled(server)
    for _ in range(5):
        server.admin.call("ingestAuditEvent", json=event())
        assert server.atp("verify").rstrip().endswith("verified")
    assert server.atp("verify", "--server").rstrip().endswith("verified")
