"""The server under test: the real process, on a free port, with a fresh data directory, driven over HTTP.

`Server` starts and stops one process and knows its memory and CPU time from /proc; `prepared` adds a tenant whose
rate limits do not get in the way, since the contract's thousand requests a minute are not what is measured.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import psutil

TENANT: Final = "bench"
OPERATIONS: Final = [
    "ingestAuditEvent",
    "ingestAuditEventBatch",
    "listAuditEvents",
    "searchAuditEvents",
    "getAuditEvent",
    "getAuditEventProof",
    "tailAuditEvents",
    "getIntegrityStatus",
    "createVerification",
    "getVerification",
]
UNLIMITED: Final = 10_000_000
READY_SECONDS: Final = 30.0
CALL_SECONDS: Final = 60.0
TICKS: Final = os.sysconf("SC_CLK_TCK")


class Server:
    """One server process. `database` is a PostgreSQL URL or empty; `settings` are further ATP_ settings."""

    def __init__(self, data: Path, *, database: str = "", **settings: str) -> None:
        self.data = data
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("ATP_")}
        self._environment |= {"ATP_DATA": str(data), "ATP_PORT": "0", "ATP_DATABASE": database}
        self._environment |= {f"ATP_{name.upper()}": value for name, value in settings.items()}
        self.key = ""
        self.port = 0
        self.seconds_to_ready = 0.0
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> Server:
        """Spawn the process and wait until /readyz says 200."""
        begun = time.perf_counter()
        with Path(f"{self.data}.log").open("a") as log:
            self._process = subprocess.Popen(
                [*command(), "serve", "--output", "json"],
                env=self._environment,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self._process.stdout
        greeting = self._process.stdout.readline()
        if not greeting:
            raise RuntimeError(f"the server did not start:\n{Path(f'{self.data}.log').read_text()[-2000:]}")
        self.port = urlsplit(json.loads(greeting)["address"]).port or 0
        while self.get("/readyz")[0] != 200:
            if time.perf_counter() - begun > READY_SECONDS:
                raise RuntimeError("the server does not get ready")
            time.sleep(0.002)
        self.seconds_to_ready = time.perf_counter() - begun
        key = self.data / "admin.key"
        if not self.key and key.exists():
            self.key = key.read_text().strip()
        return self

    def stop(self) -> None:
        """End it as an operator would, and wait."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(60)
            self._process = None

    # -- HTTP ----------------------------------------------------------------------------------------------

    def get(self, path: str, *, tenant: str = "") -> tuple[int, Any]:
        return self.call("GET", path, tenant=tenant)

    def call(self, method: str, path: str, body: object = None, *, tenant: str = "") -> tuple[int, Any]:
        """Make one request on a connection of its own; return (status, JSON value or text)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=CALL_SECONDS)
        try:
            return ask(connection, self.key, method, path, body, tenant=tenant)
        finally:
            connection.close()

    def expect(self, method: str, path: str, body: object = None, *, tenant: str = "") -> Any:
        """As `call`; anything but success is an error of the benchmark."""
        status, answer = self.call(method, path, body, tenant=tenant)
        if status >= 300:
            raise RuntimeError(f"{method} {path}: {status} {answer}")
        return answer

    # -- how the log and the search model stand ------------------------------------------------------------

    def searched_to(self) -> tuple[int, float]:
        """Return the position the search model has reached (-1: none), and how long ago its newest record was made."""
        answer = self.expect("GET", "/api/v1/audit-events?limit=1&fields=recordedAt", tenant=TENANT)
        items = answer["items"]
        reached = -1 if answer["searchedTo"] is None else int(answer["searchedTo"])
        return reached, age_seconds(items[0]["recordedAt"]) if items else 0.0

    def log_size(self) -> int:
        return int(self.expect("GET", "/api/v1/integrity/status", tenant=TENANT)["size"])

    def catch_up(self) -> float:
        """Wait until everything stored is searchable and under a checkpoint; return the seconds it took."""
        begun = time.perf_counter()
        size = self.log_size()
        while size and self.searched_to()[0] < size - 1:
            time.sleep(0.02)
        seconds = time.perf_counter() - begun
        while self.expect("GET", "/api/v1/integrity/status", tenant=TENANT)["integrated"] < size:
            time.sleep(0.02)
        return seconds

    # -- the processes: the server and the children that it starts ------------------------------------------

    def _processes(self) -> list[int]:
        assert self._process
        return [
            self._process.pid,
            *(child.pid for child in psutil.Process(self._process.pid).children(recursive=True)),
        ]

    def memory_mb(self, field: str = "VmRSS") -> float:
        """Return a field of /proc/PID/status in MB (10^6 bytes): VmRSS is now, VmHWM the highest so far.

        Summed over the server and its children, so pages that they share are counted more than once.
        """
        return sum(_kib(Path(f"/proc/{pid}/status"), field) for pid in self._processes()) * 1024 / 1e6

    def memory_pss_mb(self) -> float:
        """Return what the server and its children take together now, shared pages counted once."""
        return sum(_kib(Path(f"/proc/{pid}/smaps_rollup"), "Pss") for pid in self._processes()) * 1024 / 1e6

    def cpu_seconds(self) -> float:
        """Return the CPU time used so far, user and system, children that have ended included."""
        ticks = 0
        for number, pid in enumerate(self._processes()):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            # utime and stime; of the server also cutime and cstime, which hold those of ended children.
            ticks += sum(map(int, fields[11:13] if number else fields[11:15]))
        return ticks / TICKS


def _kib(path: Path, field: str) -> int:
    for line in path.read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1])
    raise LookupError(field)


def ask(
    connection: http.client.HTTPConnection,
    key: str,
    method: str,
    path: str,
    body: object = None,
    *,
    tenant: str = "",
) -> tuple[int, Any]:
    """Make one request on a kept connection; return (status, JSON value or text)."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    if tenant:
        headers["X-Tenant-Id"] = tenant
    if body is not None and not isinstance(body, bytes):
        body = json.dumps(body).encode()
    if body is not None:
        headers["Content-Type"] = "application/json"
    connection.request(method, path, body, headers)
    answer = connection.getresponse()
    content = answer.read()
    is_json = "json" in (answer.getheader("Content-Type") or "")
    return answer.status, json.loads(content) if is_json else content.decode("utf-8", "replace")


def age_seconds(time_text: str) -> float:
    """Return how long ago an RFC 3339 time was."""
    return (datetime.now(UTC) - datetime.fromisoformat(time_text)).total_seconds()


def command() -> list[str]:
    """Return the `atp` of this interpreter's environment, or the same by module where it is not installed."""
    script = Path(sys.executable).with_name("atp")
    return [str(script)] if script.exists() else [sys.executable, "-c", "from atp.cli import main; main()"]


def open_tenant(server: Server) -> str:
    """Create the benchmark's tenant; return a key of it. The server's own key stays the operator's."""
    limits = dict.fromkeys(OPERATIONS, UNLIMITED)
    server.expect("POST", "/api/v1/tenants", {"id": TENANT, "displayName": "Benchmark", "rateLimits": limits})
    wanted = {"name": "Benchmark", "roles": ["admin"], "clearance": "secret"}
    return str(server.expect("POST", "/api/v1/api-keys", wanted, tenant=TENANT)["secret"])


@contextmanager
def prepared(*, settings: dict[str, str] | None = None) -> Iterator[Server]:
    """A fresh embedded server with the benchmark's tenant; `key` is the tenant's."""
    with tempfile.TemporaryDirectory(prefix="atp-bench-") as folder:
        server = Server(Path(folder) / "data", **(settings or {})).start()
        try:
            server.key = open_tenant(server)
            server.catch_up()
            yield server
        finally:
            server.stop()
