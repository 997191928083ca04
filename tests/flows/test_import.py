"""`atp import` over HTTP while everything around it dies: the client by signals, the server by kill -9 (ING-08)."""

from __future__ import annotations

import json
import signal
import subprocess
from collections import Counter
from collections.abc import Callable

import pytest

from tests.flows.events import every_event, until
from tests.imports.doors import WINDOWS_ZIP
from tests.server import Server

EVENTS = 12_278
IMPORT = (
    "import",
    WINDOWS_ZIP,
    "--format",
    "windows-eventlog",
    "--output",
    "json",
    "--rejects",
    "rejects.jsonl",
)


def reach(server: Server, size: int, client: subprocess.Popen[bytes]) -> None:
    """Return when the log is so long while the import still runs."""
    until(lambda: server.size() > size or client.poll() is not None)
    assert client.poll() is None, "the import was over before it could be disturbed"


def check_all_there_once(server: Server) -> None:
    size = server.size()
    records = list(
        every_event(
            server.admin, fields="position,payload,stream,kind", waitForPosition=size - 1, waitTimeout=10_000
        )
    )
    assert [record["position"] for record in records] == list(range(size))
    windows = [
        json.dumps(r["payload"], sort_keys=True) for r in records if "original" in r.get("payload", {})
    ]
    kinds = Counter(r["kind"] for r in records)
    assert kinds["audit"] == EVENTS + 103
    assert len(windows) >= EVENTS
    server.atp("verify")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["SIGINT", "SIGKILL"])
def test_an_interrupted_import_goes_on_where_it_was(server: Server, number: signal.Signals) -> None:
    """ING-08: stopped three times in the middle, then run to its end: no loss, no duplicate."""
    before = server.lift_limits().size()
    for stop in range(1, 4):
        with server.running(*IMPORT) as client:
            reach(server, before + stop * 1_500, client)
            client.send_signal(number)
            code = client.wait(30)
            assert code == (130 if number == signal.SIGINT else -signal.SIGKILL)
    report = json.loads(server.atp(*IMPORT))
    assert report["rejected"] == 0 and report["resumedAtLine"] > 0
    check_all_there_once(server)


def test_an_import_outlives_the_death_of_its_server(server: Server) -> None:
    """ING-08, ING-07: kill -9 of the server in the middle; the client waits or says so, and goes on."""
    before = server.lift_limits().size()
    for death in range(1, 3):
        with server.running(*IMPORT) as client:
            reach(server, before + death * 2_000, client)
            server.kill()
            server.start()
            client.wait(60)
    report = json.loads(server.atp(*IMPORT))
    assert report["rejected"] == 0
    check_all_there_once(server)


def test_what_cannot_be_an_event_is_kept_beside_and_counted(new_server: Callable[..., Server]) -> None:
    """ING-08: a rejecting server, not only an unreadable line, leads to the reject file; the rest is in."""
    server = new_server().start()
    good = {
        "occurredAt": "2026-01-15T10:00:00Z",
        "actor": {"type": "u", "id": "1"},
        "action": {"name": "a"},
        "resource": {"type": "t", "id": "1"},
    }
    lines = [
        good,
        good | {"occurredAt": "2999-01-01T00:00:00Z"},
        good | {"nobody": 1},
        good | {"payload": {"~sealed": "x"}},
    ]
    (server.folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines) + "{broken\n")
    before = server.size()
    told = server.atp("import", "log.jsonl", "--format", "jsonl", "--output", "json", code=1)
    assert json.loads(told.splitlines()[0])["rejected"] == 4
    rejects = [
        json.loads(line) for line in (server.folder / "log.jsonl.rejects.jsonl").read_text().splitlines()
    ]
    assert len(rejects) == 4 and all(reject["code"] and reject["reason"] for reject in rejects)
    assert (
        sum(
            1
            for r in every_event(server.admin, kind="audit", waitForPosition=server.size() - 1)
            if r["position"] >= before
        )
        == 1
    )
