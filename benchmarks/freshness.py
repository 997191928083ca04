"""How soon a committed record can be proved and found, while 2,000 events a second come in.

A probe sends single events and asks with the API's own waiting (`waitTimeout`, `waitForPosition`) for the proof and
for the record; the time runs from the record's `recordedAt`, which is taken before its commit, to the last byte of
the answer. So the commit and both requests are counted too: the figure is an upper bound, with a resolution of
about a millisecond.
"""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Callable
from typing import Final

from benchmarks.events import SECOND, EventMaker
from benchmarks.figures import Figure
from benchmarks.load import Load, LoadProcess
from benchmarks.server import Server, age_seconds, ask, prepared

RATE: Final = 2_000
BATCH: Final = 20
"""Small bodies: a hundred requests a second, as from many producers with short buffers."""
PAUSE_SECONDS: Final = 0.02
WAIT_MS: Final = 5_000


def measure(*, seconds: float) -> list[Figure]:
    """Return both p99s; half of the time for each."""
    with prepared() as server:
        proofs = _probe(server, seconds / 2, _proof)
        searches = _probe(server, seconds / 2, _search)
    figures = []
    for name, (found, rate) in (("proof.p99", proofs), ("search.p99", searches)):
        found.sort()
        middle = found[len(found) // 2]
        note = f"{len(found)} probes at {rate:,.0f} events/s; p50 {middle * 1e3:.0f} ms; from recordedAt, before the commit"
        figures.append(Figure(name, [found[int(len(found) * 0.99)] * 1e3], note, void=rate < RATE * 0.95))
    return figures


def _proof(record: dict[str, object]) -> str:
    return f"/api/v1/audit-events/{record['id']}/proof?waitTimeout={WAIT_MS}"


def _search(record: dict[str, object]) -> str:
    return (
        f"/api/v1/audit-events?stream={record['stream']}&limit=1&fields=id"
        f"&waitForPosition={record['position']}&waitTimeout={WAIT_MS}"
    )


def _probe(
    server: Server, seconds: float, path: Callable[[dict[str, object]], str]
) -> tuple[list[float], float]:
    """Return the seconds each probe took, and the rate that really came in."""
    load = LoadProcess(
        Load(
            ports=[server.port],
            key=server.key,
            connections=4,
            batch=BATCH,
            seconds=seconds + 2,
            rate=RATE,
            seed=5,
        )
    )
    load.go()
    time.sleep(1)  # The first second warms up and is not measured.
    maker, found = EventMaker(seed=6), []
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        event = maker.event().replace(SECOND, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()).encode())
        # A stream of its own, or the load's next record there would be the newest when the probe looks.
        event = event.replace(b"{", b'{"stream":"probe/%d-%d",' % (id(path), len(found)), 1)
        status, record = ask(connection, server.key, "POST", "/api/v1/audit-events", event)
        if status != 201:
            raise RuntimeError(f"the probe was refused: {status} {record}")
        status, answer = ask(connection, server.key, "GET", path(record))
        found.append(age_seconds(record["recordedAt"]))
        if status != 200 or record["id"] not in json.dumps(answer):
            raise RuntimeError(f"the probe did not find its record: {status} {answer}")
        time.sleep(PAUSE_SECONDS)
    connection.close()
    return found, load.result().rate
