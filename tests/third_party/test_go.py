"""Go's checksum-database packages and transparency-dev's tile client read our log over HTTP (INT-02, 03, 04)."""

import base64
import hashlib
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.third_party.conftest import LiveLog

GO = shutil.which("go")
pytestmark = pytest.mark.skipif(GO is None, reason="Not run: the Go toolchain is not installed here")


@pytest.fixture(scope="session")
def checker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, built from the committed sources; go.sum pins every module by hash."""
    binary = tmp_path_factory.mktemp("go") / "thirdparty"
    done = subprocess.run(
        [str(GO), "build", "-mod=readonly", "-o", binary, "."],
        cwd=Path(__file__).parent / "go", capture_output=True, text=True, timeout=500, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return binary


def check(checker: Path, log: LiveLog, **changes: Any) -> tuple[int, str]:
    claims = {
        "url": log.url, "vkey": log.vkey, "pqvkey": log.pqvkey, "old": log.old_size,
        "oldroot": base64.b64encode(log.old_root).decode(),
        "records": ",".join(f"{n}={entry.hex()}" for n, entry in log.hashes.items()),
    } | changes  # fmt: skip
    arguments = [f"-{name}={value}" for name, value in claims.items()]
    done = subprocess.run([checker, *arguments], capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


def test_go_verifies_checkpoint_tiles_inclusion_and_consistency(checker: Path, live_log: LiveLog) -> None:
    """INT-02, INT-03, INT-04: two independent implementations, the post-quantum signature included."""
    code, out = check(checker, live_log)
    assert code == 0, out
    for n in live_log.records:
        assert f"x/mod: record {n} included" in out
        assert f"tessera: record {n} included" in out
    assert "entries give the signed root" in out
    assert "formats: ML-DSA-44 cosignature verified" in out
    assert f"contains {live_log.old_size} " in out


def test_go_refuses_what_was_never_logged(checker: Path, live_log: LiveLog) -> None:
    code, out = check(checker, live_log, records=f"17={bytes(32).hex()}")
    assert (code, "record 17" in out) == (1, True), out


def test_go_refuses_a_history_that_was_rewritten(checker: Path, live_log: LiveLog) -> None:
    code, out = check(checker, live_log, oldroot=base64.b64encode(bytes(32)).decode())
    assert (code, "consistency" in out) == (1, True), out


def test_go_refuses_another_key(checker: Path, live_log: LiveLog) -> None:
    name, _, _ = live_log.vkey.split("+", 2)
    other = base64.b64decode("AQ==") + bytes(32)
    key_id = hashlib.sha256(name.encode() + b"\n" + other).hexdigest()[:8]
    code, out = check(checker, live_log, vkey=f"{name}+{key_id}+{base64.b64encode(other).decode()}")
    assert (code, "checkpoint" in out) == (1, True), out


@pytest.mark.parametrize(("path", "change", "said"), [
    ("checkpoint", lambda b: b.replace(b"\n700\n", b"\n701\n"), "x/mod: checkpoint"),
    ("tile/0/000", lambda b: b[:40] + b"?" + b[41:], "x/mod: record"),
    ("tile/0/002.p/188", lambda b: b[:-1] + bytes([b[-1] ^ 1]), "x/mod: record"),
    ("tile/1/000.p/2", lambda b: b[32:] + b[:32], "x/mod: record"),
    ("tile/entries/000", lambda b: b[:40] + b"?" + b[41:], "entries do not give"),
])  # fmt: skip
def test_go_fails_on_a_corrupted_log(
    checker: Path, live_log: LiveLog, through: Callable[..., Any], path: str, change: Any, said: str
) -> None:
    """INT-04: the checkpoint, a full, a partial and an upper tile, an entry bundle."""
    with through(path, change) as url:
        code, out = check(checker, live_log, url=url)
    assert (code, said in out) == (1, True), out
