"""The real server for tests: `atp serve` as a process, on a free port, with a data directory of its own.

It is started and waited for by what it prints when it is ready, stopped as an operator stops it, or killed. The
address stays the same over restarts, so clients and importers find it again. `admin` speaks through the client
that holds every exchange against the contract.
"""

from __future__ import annotations

import os
import resource
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from atp.specs import load
from tests.client import Client

START_SECONDS_MAX = 30
"""Longest wait for the greeting; a start takes about one second."""
STOP_SECONDS_MAX = 30
COMMAND_SECONDS_MAX = 120
REQUESTS_A_MINUTE = 10_000_000
"""A limit that no test reaches by accident."""
ATP = str(Path(sys.executable).with_name("atp"))


class Server:
    """One installation: its data directory, its address, and the process that serves it now, if any."""

    def __init__(
        self,
        folder: Path,
        *,
        database: str = "",
        settings: Mapping[str, str] | None = None,
    ) -> None:
        """`settings` are ATP_ settings without the prefix."""
        self.folder = folder
        self.data = folder / "var"
        self.log = folder / "server.log"
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        given = {"HOST": "127.0.0.1", "PORT": str(self.port), "DATA": str(self.data), "LOG_FORMAT": "json"}
        given["SELF_AUDIT_SECONDS"] = "0"  # Its records would come between those that a test counts.
        given |= {"DATABASE": database} | dict(settings or {})
        self.settings = {f"ATP_{name}": value for name, value in given.items() if value}
        self.process: subprocess.Popen[bytes] | None = None
        self.start_seconds = 0.0
        self._clients: list[Client] = []

    # -- the process ---------------------------------------------------------------------------------------

    def start(self) -> Server:
        """Start the server and return when it has said that it is ready."""
        self.launch()
        assert self.process is not None and self.process.stdout is not None
        with self.process.stdout as greeting:
            ready, _, _ = select.select([greeting], [], [], START_SECONDS_MAX)
            line = greeting.readline() if ready else b""
        if not line:
            self.kill()
            raise AssertionError(f"the server did not start:\n{self.log.read_text()[-4000:]}")
        self.start_seconds = time.monotonic() - self._launched
        assert msgspec.json.decode(line)["address"] == self.url
        return self

    def launch(self) -> None:
        """Start the process and wait for nothing."""
        self._launched = time.monotonic()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [ATP, "serve", "--output", "json"],
                env=self.environment,
                cwd=self.folder,
                stdout=subprocess.PIPE,
                stderr=log,
            )

    def quota(self, file_bytes_max: int | None) -> None:
        """Refuse the running process to write any file beyond this size, as a full disk would; None lifts it."""
        assert self.process is not None
        soft = resource.RLIM_INFINITY if file_bytes_max is None else file_bytes_max
        resource.prlimit(self.process.pid, resource.RLIMIT_FSIZE, (soft, resource.RLIM_INFINITY))

    def stop(self) -> int:
        """Stop as an operator does; return the exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self._wait()

    def ended(self) -> bool:
        """Tell whether the process has ended by itself."""
        return self.process is not None and self.process.poll() is not None

    def kill(self) -> None:
        """End the process at once, as a power cut does."""
        if self.process is not None:
            self.process.kill()
            self._wait()

    def _wait(self) -> int:
        assert self.process is not None
        process, self.process = self.process, None
        self._forget_clients()
        try:
            return process.wait(STOP_SECONDS_MAX)
        finally:
            process.kill()
            process.wait()
            if process.stdout is not None:
                process.stdout.close()

    def restart(self) -> Server:
        """Stop cleanly and start again."""
        assert self.stop() == 0, self.log.read_text()[-4000:]
        return self.start()

    def _forget_clients(self) -> None:
        for client in self._clients:
            client.close()
        self._clients.clear()

    # -- speaking with it ----------------------------------------------------------------------------------

    @property
    def environment(self) -> dict[str, str]:
        """What a command of this installation's user runs with."""
        scripts = str(Path(ATP).parent)
        return dict(os.environ) | self.settings | {"PATH": f"{scripts}:{os.environ['PATH']}"}

    @property
    def admin_key(self) -> str:
        return (self.data / "admin.key").read_text().strip()

    @property
    def admin(self) -> Client:
        """The first administrator's client."""
        if not self._clients:
            self._clients.append(Client(self.url, api_key=self.admin_key))
        return self._clients[0]

    def client(self, **given: Any) -> Client:
        """Return a client of its own connection, closed with the server; `api_key=` names who calls."""
        client = Client(self.url, **given)
        _ = self.admin
        self._clients.append(client)
        return client

    def as_(self, *roles: str, **given: Any) -> Client:
        """Return a client with a new key of these roles."""
        return self.client(api_key=self.new_key(*roles, **given)["secret"])

    def new_key(self, *roles: str, **given: Any) -> dict[str, Any]:
        body = {"name": "A test's key", "roles": list(roles), **given}
        answer = self.admin.call("createApiKey", json=body)
        assert answer.status == 201, answer.content
        return dict(answer.json)

    def lift_limits(self) -> Server:
        """Raise every rate limit of the tenant, for tests that are about something else."""
        limited = [name for name, operation in load().operations.items() if operation.rate_limit]
        body = {"rateLimits": dict.fromkeys(limited, REQUESTS_A_MINUTE)}
        assert self.admin.call("updateTenant", path={"tenantId": "demo"}, json=body).status == 200
        return self

    def status(self) -> dict[str, Any]:
        """Return the state of the log."""
        answer = self.admin.call("getIntegrityStatus")
        assert answer.status == 200, answer.content
        return dict(answer.json)

    def size(self) -> int:
        return int(self.status()["size"])

    def atp(self, *arguments: object, code: int | None = 0, **options: Any) -> str:
        """Run a command to its end and return what it printed; `code` is the exit code it must have."""
        done = subprocess.run(
            [ATP, *map(str, arguments)],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            timeout=COMMAND_SECONDS_MAX,
            check=False,
            **options,
        )
        report = done.stdout.decode() + done.stderr.decode()
        assert code is None or done.returncode == code, f"exit code {done.returncode}\n{report}"
        return report if code != 0 else done.stdout.decode()

    @contextmanager
    def running(self, *arguments: object) -> Iterator[subprocess.Popen[bytes]]:
        """Run a command in the background; it is killed at the end if it still runs."""
        process = subprocess.Popen(
            [ATP, *map(str, arguments)],
            env=self.environment | {"PYTHONUNBUFFERED": "1"},
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        with process:
            try:
                yield process
            finally:
                process.kill()


def free_port() -> int:
    """Return a port that nothing listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def read_lines(process: subprocess.Popen[bytes], *, seconds: float = 30) -> Iterator[bytes]:
    """Yield what a background command prints, line by line; a silence of `seconds` is a failure."""
    assert process.stdout is not None
    descriptor, kept = process.stdout.fileno(), b""
    while True:
        ready, _, _ = select.select([descriptor], [], [], seconds)
        assert ready, f"the command was silent for {seconds} s"
        piece = os.read(descriptor, 65536)
        if not piece:
            return
        *lines, kept = (kept + piece).split(b"\n")
        yield from lines
