"""Single events from 32 clients, each waiting for its answer before it sends the next."""

from __future__ import annotations

from typing import Final

from benchmarks.figures import Figure
from benchmarks.load import Load, run
from benchmarks.server import prepared

CLIENTS: Final = 32


def measure(*, runs: int, seconds: float) -> list[Figure]:
    """Return rate and p99; a run's clients keep their connections, as real ones do."""
    rates, medians, slowest = [], [], []
    with prepared() as server:
        load = Load(ports=[server.port], key=server.key, connections=CLIENTS, batch=0, seconds=seconds)
        run(load)  # Subject keys and streams come into being.
        for _ in range(runs):
            outcome = run(load)
            latencies = sorted(outcome.latencies)
            rates.append(outcome.rate)
            medians.append(latencies[len(latencies) // 2] * 1e3)
            slowest.append(latencies[int(len(latencies) * 0.99)] * 1e3)
    return [
        Figure(
            "single.rate", rates, f"{seconds:.0f} s a run, {CLIENTS} connections, one event in flight on each"
        ),
        Figure("single.p99", slowest, "from the first byte sent to the last byte of the answer"),
        Figure("", medians, what="    … p50", unit="ms"),
    ]
