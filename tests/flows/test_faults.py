"""Full disks, vanished databases, restored copies: refuse, stay readable, recover, never contradict oneself (TST-02)."""

from __future__ import annotations

import resource
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.engine.local_postgres import LocalPostgres
from tests.flows.events import event, until
from tests.flows.load import Producers, check_nothing_lost
from tests.server import Server

DISK_BYTES = 24 * 1024 * 1024


def mounted(folder: Path) -> bool:
    """Tell whether a small disk of its own could be mounted there; only root may."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def can_mount() -> bool:
    with tempfile.TemporaryDirectory() as folder:
        if not shutil.which("mount") or not mounted(Path(folder)):
            return False
        subprocess.run(["umount", folder], check=True)
        return True


DISKS = ["quota", "disk"] if can_mount() else ["quota"]
"""A quota on every file works for anybody; a disk that is really full needs root."""


class SmallDisk:
    """A place for the data that can be filled and emptied again."""

    def __init__(self, server: Server, kind: str) -> None:
        self.server = server
        self.kind = kind
        self._ballast = server.data / "ballast"
        if kind == "disk":
            server.data.mkdir()
            assert mounted(server.data)

    def fill(self) -> None:
        if self.kind == "quota":
            self.server.quota((self.server.data / "atp.db-wal").stat().st_size + 20_000)
            return
        with self._ballast.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"x" * 4096)
            except OSError:
                return

    @contextmanager
    def for_a_new_process(self) -> Iterator[None]:
        """Let a process that is started here find the disk full as well: a quota is inherited."""
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        if self.kind == "quota":
            size = (self.server.data / "atp.db-wal").stat().st_size
            resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    def free(self) -> None:
        if self.kind == "quota":
            self.server.quota(None)
        else:
            self._ballast.unlink()

    def close(self) -> None:
        if self.kind == "disk":
            subprocess.run(["umount", "-l", self.server.data], check=True)


@pytest.fixture(params=DISKS)
def disk(request: pytest.FixtureRequest, new_server: Callable[..., Server]) -> Iterator[SmallDisk]:
    server = new_server()
    small = SmallDisk(server, request.param)
    try:
        server.start().lift_limits()
        yield small
    finally:
        server.kill()
        small.close()


def refused(server: Server) -> Any:
    """Send until a write is refused; return the answer."""
    big = event(payload={"text": "x" * 20_000})

    def send() -> Any:
        answer = server.admin.call("ingestAuditEvent", json=big)
        return answer if answer.status != 201 else None

    return until(send)


def test_a_full_disk_refuses_writes_stays_readable_and_recovers_without_repair(disk: SmallDisk) -> None:
    """ING-07: 503 STORAGE_UNAVAILABLE (or the outcome said to be unknown), reads go on, and then it simply goes on."""
    server = disk.server
    kept = server.admin.call("ingestAuditEvent", json=event()).json
    disk.fill()
    answer = refused(server)
    assert (answer.status, answer.code) in ((503, "STORAGE_UNAVAILABLE"), (504, "TIMEOUT"))
    for _ in range(3):
        assert refused(server).status in (503, 504)
    assert (
        server.admin.call("getAuditEvent", path={"id": kept["id"]}).json["recordHash"] == kept["recordHash"]
    )
    assert server.admin.call("listAuditEvents").status == 200
    assert server.admin.call("getHealth").status == 200
    disk.free()
    until(lambda: server.admin.call("ingestAuditEvent", json=event()).status == 201)
    until(lambda: server.status()["lagRecords"] == 0)
    until(lambda: server.admin.call("getHealth").json["status"] == "ok")
    producers = Producers(server)
    producers.start()
    producers.wait_for(50)
    producers.stop()
    check_nothing_lost(server, producers)
    server.restart()
    check_nothing_lost(server, producers)


def test_a_server_that_starts_on_a_full_disk_says_so(disk: SmallDisk) -> None:
    """OPS-02: killed and started again while the disk is full: it serves reads, or refuses in one line; then it recovers."""
    server = disk.server
    kept = server.admin.call("ingestAuditEvent", json=event()).json
    disk.fill()
    refused(server)
    server.kill()
    with disk.for_a_new_process():
        server.launch()
    until(lambda: server.log.read_text().count("starting") > 1 or server.ended())
    server.kill()
    assert "Traceback" not in server.log.read_text()
    if disk.kind == "disk":  # A quota ended with its process.
        disk.free()
    server.start()
    assert (
        server.admin.call("getAuditEvent", path={"id": kept["id"]}).json["recordHash"] == kept["recordHash"]
    )
    assert server.admin.call("ingestAuditEvent", json=event()).status == 201


@pytest.fixture
def own_postgres() -> Iterator[LocalPostgres]:
    postgres = LocalPostgres()
    yield postgres
    postgres.close()


def test_a_database_that_goes_away_and_comes_back(
    own_postgres: LocalPostgres, new_server: Callable[..., Server]
) -> None:
    """TST-02: an immediate shutdown of PostgreSQL under load, twice: 503s, then on, with nothing lost and no restart."""
    server = new_server(database=own_postgres.url()).start().lift_limits()
    producers = Producers(server)
    for _ in range(2):
        producers.start()
        producers.wait_for(30)
        own_postgres.stop(signal.SIGQUIT)
        producers.stop()
        answer = server.admin.call("ingestAuditEvent", json=event())
        assert answer.code in ("STORAGE_UNAVAILABLE", "TIMEOUT"), answer.content
        assert server.admin.call("listAuditEvents").code == "STORAGE_UNAVAILABLE"
        assert server.admin.get("/readyz").status == 503
        assert server.admin.get("/livez").status == 200
        own_postgres.start()
        until(lambda: server.admin.call("ingestAuditEvent", json=event()).status == 201)
        until(lambda: server.admin.get("/readyz").status == 200)
    producers.start()
    producers.wait_for(30)
    producers.stop()
    until(lambda: server.status()["lagRecords"] == 0)
    check_nothing_lost(server, producers)


def test_a_restored_older_copy_never_signs_a_second_root(embedded: Server) -> None:
    """INT-03: the guard remembers what was signed; the log is readable, unsigned, and health says why."""
    server = embedded
    assert server.restart()
    copy = server.folder / "backup"
    assert server.stop() == 0
    shutil.copytree(server.data, copy)
    server.start()
    for number in range(5):
        server.admin.call("ingestAuditEvent", json=event(number))
    until(lambda: server.status()["lagRecords"] == 0)
    signed = server.status()["checkpoint"]
    assert server.stop() == 0
    for name in ("atp.db", "search.db"):
        shutil.copy(copy / name, server.data / name)  # The guard file stays, as it must.
    server.start()
    until(lambda: server.admin.call("getHealth").json["status"] == "degraded")
    for number in range(100, 120):
        assert server.admin.call("ingestAuditEvent", json=event(number)).status == 201
    health = server.admin.call("getHealth").json
    told = next(check for check in health["checks"] if check["name"] == "integrity")
    assert told["status"] == "degraded" and "signed" in told["message"], health
    status = server.status()
    assert status["checkpoint"]["size"] < signed["size"] < status["size"]
    assert server.atp("verify", code=1)
    server.restart()
    assert server.status()["checkpoint"] == status["checkpoint"]


def test_a_guard_of_a_log_that_is_gone_does_not_stop_others(
    new_server: Callable[..., Server], embedded: Server
) -> None:
    """INT-03: an empty database beside a full guard makes a new log with a name of its own; the loss is told by verify."""
    embedded.admin.call("ingestAuditEvent", json=event())
    until(lambda: embedded.status()["lagRecords"] == 0)
    assert embedded.stop() == 0
    for path in embedded.data.glob("*.db*"):
        path.unlink()
    (embedded.data / "admin.key").unlink()
    shutil.rmtree(embedded.data / "imports")
    embedded.start()
    until(lambda: embedded.status()["lagRecords"] == 0 and embedded.status()["checkpoint"])
    assert "is gone" in embedded.atp("verify", code=1)
