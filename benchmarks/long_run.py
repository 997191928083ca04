"""A long import, and what reading costs in the store that it leaves: two million events in full mode.

Is the last tenth as fast as the first? How much memory does the server take meanwhile? Then, through the API of the
same server: lists with three filters and a time range, and a full verification from stored bytes.
"""

from __future__ import annotations

import http.client
import random
import time
from datetime import datetime
from itertools import pairwise
from typing import Any, Final
from urllib.parse import urlencode

from benchmarks.events import ACTIONS, ACTORS, SEED
from benchmarks.figures import Figure
from benchmarks.ingest import BATCH, CONNECTIONS, WARM_EVENTS, warm
from benchmarks.load import Load, Outcome, run
from benchmarks.server import TENANT, Server, ask, prepared

QUERIES: Final = 300
RANGE_SHARE: Final = 0.2
"""Share of the store's time that a query's range covers."""
VERIFICATIONS: Final = 3
VERIFY_SECONDS: Final = 600.0


def measure(*, events: int) -> list[Figure]:
    """Send `events` as fast as they are taken; the search model may fall behind, but the memory must not grow."""
    with prepared() as server:
        warm([server], WARM_EVENTS)  # Or the first tenth would pay for the start, and the last look better.
        outcome = run(
            Load(ports=[server.port], key=server.key, connections=CONNECTIONS, batch=BATCH, events=events)
        )
        peak, together = server.memory_mb("VmHWM"), server.memory_pss_mb()
        behind = server.catch_up()
        lists = _lists(server, events)
        verified = [_verify(server) for _ in range(VERIFICATIONS)]
    tenths = rates_of_tenths(outcome)
    return [
        Figure("long.tenths", [tenths[-1] / tenths[0]], f"{events:,} events into one store"),
        Figure(
            "",
            tenths,
            "of the ten tenths; sent as fast as they are taken",
            what="    rate",
            unit="events/s",
        ),
        Figure("memory.import", [peak], f"sum of VmHWM of all its processes; {events:,} events"),
        Figure(
            "", [together], "PSS at the end, shared pages counted once", what="    all processes", unit="MB"
        ),
        Figure("", [behind], "after the last acknowledgement", what="    search caught up", unit="s"),
        *lists,
        Figure(
            "verification", verified, "scope log, sealed values not opened; started and followed over the API"
        ),
    ]


def rates_of_tenths(outcome: Outcome) -> list[float]:
    """Return the events acknowledged a second in each tenth of the events."""
    edges, edge = [(0.0, 0)], 1
    for seconds, accepted in outcome.progress:
        if accepted >= outcome.accepted * edge / 10:
            edges.append((seconds, accepted))
            edge += 1
    return [(after - before) / (end - begin) for (begin, before), (end, after) in pairwise(edges)]


def _lists(server: Server, events: int) -> list[Figure]:
    """Ask for first pages of 50: one half by actor, action and outcome, the other by wider filters."""
    newest, oldest = (
        datetime.fromisoformat(
            server.expect("GET", f"/api/v1/audit-events?kind=audit&limit=1&orderBy={order}", tenant=TENANT)[
                "items"
            ][0]["recordedAt"]
        )
        for order in ("-recordedAt", "recordedAt")
    )
    rng, span = random.Random(SEED), newest - oldest
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    found: dict[str, list[float]] = {"narrow": [], "wide": []}
    for number in range(QUERIES):
        kind, verb = rng.choice(ACTIONS)
        since = oldest + span * rng.uniform(0, 1 - RANGE_SHARE)
        filters = {"action": f"{kind}.{verb}", "outcome": rng.choice(("success", "failure"))}
        shape = "narrow" if number % 2 else "wide"
        if shape == "narrow":
            filters["actor"] = f"emp-{rng.randrange(ACTORS):05d}"
        else:
            filters["resourceType"] = kind
        filters |= {"since": _text(since), "until": _text(since + span * RANGE_SHARE), "limit": "50"}
        begun = time.perf_counter()
        status, answer = ask(connection, server.key, "GET", f"/api/v1/audit-events?{urlencode(filters)}")
        found[shape].append((time.perf_counter() - begun) * 1e3)
        if status != 200:
            raise RuntimeError(f"a list was refused: {status} {answer}")
    connection.close()
    p95, both = {shape: _p95(times) for shape, times in found.items()}, found["narrow"] + found["wide"]
    note = (
        f"{QUERIES} first pages of 50 among {events:,}, whole request; with an actor {p95['narrow']:.0f} ms, "
        f"without {p95['wide']:.0f} ms; p50 {sorted(both)[len(both) // 2]:.0f} ms"
    )
    return [Figure("query", [_p95(both)], note)]


def _p95(times: list[float]) -> float:
    return sorted(times)[int(len(times) * 0.95)]


def _text(moment: datetime) -> str:
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def _verify(server: Server) -> float:
    """Return the records a second of one verification of the whole log."""
    run_: dict[str, Any] = server.expect(
        "POST", "/api/v1/integrity/verifications", {"scope": "log", "values": False}, tenant=TENANT
    )
    until = time.monotonic() + VERIFY_SECONDS
    while run_["status"] in ("queued", "running") and time.monotonic() < until:
        time.sleep(0.05)
        run_ = server.expect("GET", run_["links"]["self"], tenant=TENANT)
    if run_["status"] != "verified":
        raise RuntimeError(f"the store does not verify: {run_['result']}")
    began, ended = (datetime.fromisoformat(run_[name]) for name in ("startedAt", "finishedAt"))
    return float(run_["progress"]["done"] / (ended - began).total_seconds())
