"""The first steps of the README are taken, as they are written, against a real server.

Only the address and the start are exchanged: a free port instead of 8080, `atp serve` instead of `make run`
(which is the same after setting up), and a temporary directory instead of the checkout.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tidy.source import ROOT

START_SECONDS_MAX = 30
STEPS_SECONDS_MAX = 120
STOP_SECONDS_MAX = 20


def _blocks() -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _wait_until_ready(server: subprocess.Popen[bytes], url: str) -> None:
    until = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < until:
        assert server.poll() is None, f"the server ended with {server.returncode}"
        try:
            with urllib.request.urlopen(f"{url}/readyz", timeout=2):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.05)
    raise AssertionError(f"not ready after {START_SECONDS_MAX} s")


@pytest.fixture
def desk(tmp_path: Path) -> dict[str, str]:
    """A directory that looks like a checkout to the commands, and the environment they run in."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    kept = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR") if name in os.environ}
    return kept | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PWD": str(tmp_path),
        "ATP_HOST": "127.0.0.1",
        "ATP_PORT": str(_free_port()),
        "ATP_DATA": str(tmp_path / "var"),
    }


@pytest.fixture
def server(desk: dict[str, str]) -> Iterator[str]:
    """A server as `make run` starts it; its address."""
    url = f"http://127.0.0.1:{desk['ATP_PORT']}"
    with (Path(desk["PWD"]) / "server.log").open("wb") as log:
        process = subprocess.Popen(["atp", "serve"], env=desk, cwd=desk["PWD"], stdout=log, stderr=log)
        try:
            _wait_until_ready(process, url)
            yield url
            process.send_signal(signal.SIGTERM)
            assert process.wait(STOP_SECONDS_MAX) == 0, "the server did not stop cleanly"
        finally:
            process.kill()
            process.wait()


def test_the_first_steps_work_as_written(desk: dict[str, str], server: str) -> None:
    """Every command of the README succeeds; the event is found, the log and the receipt verify."""
    start, *steps = _blocks()
    assert start.strip() == "make run"
    script = "set -euo pipefail\n" + "\n".join(steps).replace("http://127.0.0.1:8080", server)
    done = subprocess.run(
        ["bash", "-c", script],
        env=desk,
        cwd=desk["PWD"],
        capture_output=True,
        text=True,
        timeout=STEPS_SECONDS_MAX,
        check=False,
    )
    report = f"{done.stdout}\n{done.stderr}"
    assert done.returncode == 0, report
    assert "12,278" in report or "12278" in report, report
    assert "document.deleted" in done.stdout, report
    assert "verified" in done.stdout.splitlines()[-1] or done.stdout.lower().count("verified") >= 2, report


def test_make_run_starts_what_is_tested_here() -> None:
    """`make run` ends in `atp serve`, so the test above is about the command users type."""
    outside = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    printed = subprocess.run(
        ["make", "--no-print-directory", "-n", "run"],
        cwd=ROOT,
        env=outside,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert printed.splitlines()[-1] == "exec atp serve", printed
