"""Start to ready, warm; `atp --version`; memory of a server that does nothing."""

from __future__ import annotations

import subprocess
import tempfile
import time
from pathlib import Path
from typing import Final

from benchmarks.figures import Figure
from benchmarks.server import Server, command

IDLE_SECONDS: Final = 3.0


def measure(*, runs: int) -> list[Figure]:
    """The first start, which makes keys, tenant and sample, is not counted; files are in the page cache."""
    ready: list[float] = []
    idle: list[float] = []
    with tempfile.TemporaryDirectory(prefix="atp-bench-") as folder:
        server = Server(Path(folder) / "data").start()
        server.stop()
        for _ in range(runs):
            server.start()
            ready.append(server.seconds_to_ready)
            time.sleep(IDLE_SECONDS / runs if idle else IDLE_SECONDS)
            idle.append(server.memory_mb())
            server.stop()
    versions = []
    for _ in range(runs + 1):
        begun = time.perf_counter()
        subprocess.run([*command(), "--version"], check=True, capture_output=True)
        versions.append((time.perf_counter() - begun) * 1e3)
    return [
        Figure("start.ready", ready, "process spawned until /readyz answers 200, on an existing store"),
        Figure("start.version", versions[1:], "process spawned until it has ended"),
        Figure("memory.idle", idle, f"VmRSS {IDLE_SECONDS:.0f} s after being ready, nothing asked"),
    ]
