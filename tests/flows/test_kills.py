"""kill -9 under load, again and again: everything acknowledged over HTTP is there, once, and verifies (TST-02, ING-07)."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from tests.flows.events import until
from tests.flows.load import Producers, check_nothing_lost
from tests.server import Server

KILLS = int(os.environ.get("ATP_TEST_KILLS", "10"))
SAMPLE_EVENTS = 103
READY_SECONDS_MAX = 10.0
"""Generous, for a loaded machine; what it took is printed."""


def test_killed_under_load_the_server_comes_back_with_everything(server: Server) -> None:
    """ING-03, ING-07, STR-01, INT-02: at moments nobody chose, over and over, then one long look."""
    server.lift_limits()
    producers = Producers(server)
    took = []
    for kill in range(KILLS):
        producers.start()
        producers.wait_for(20 + 37 * (kill % 4))
        server.kill()
        producers.stop()
        server.start()
        took.append(server.start_seconds)
        assert server.start_seconds < READY_SECONDS_MAX
    producers.start()
    producers.wait_for(50)
    producers.stop()
    print(f"ready again after {', '.join(f'{seconds:.2f}' for seconds in took)} s")
    check_nothing_lost(server, producers)


@pytest.mark.parametrize(
    "landmark", ["master.key", "checkpoints.guard", "admin.key.new", "imports", "admin.key"]
)
def test_a_first_start_that_is_killed_is_completed_by_the_next(
    new_server: Callable[..., Server], engine: str, landmark: str
) -> None:
    """OPS-01: killed when this file appears, twice; then a tenant, a key that works, and one sample are there."""
    server = new_server(engine=engine)
    for _ in range(2):
        server.launch()
        until(lambda: (server.data / landmark).exists() or server.ended())
        assert not server.ended(), server.log.read_text()
        server.kill()
    server.start()
    stored = server.size()
    asked = {"kind": "audit", "limit": 1000, "waitForPosition": stored - 1, "waitTimeout": 10_000}
    listed = server.admin.call("listAuditEvents", query=asked)
    assert listed.json["page"]["count"] == SAMPLE_EVENTS
    assert not (server.data / "admin.key.new").exists()
    server.atp("verify")
