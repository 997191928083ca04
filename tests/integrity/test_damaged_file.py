"""Raw bytes of the database file, changed: found, or harmless by proof, and never a traceback."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import msgspec
import pytest
from click.testing import CliRunner

from atp.integrity.cli import verify_command
from atp.integrity.rules import notes
from atp.kernel.hashing import b64u
from tests.integrity.holding import sample_size
from tests.integrity.world import MASTER

SAMPLE = sample_size(25)
"""Bytes of the file changed one after the other."""
PAGE = 4096
EVIDENCE = (
    "records",
    "disclosures",
    "subject_keys",
    "streams",
    "logs",
    "tiles",
    "trees",
    "checkpoints",
    "log_keys",
    "explanations",
    "dictionaries",
    "shards",
)


@pytest.fixture
def data(furnished: Path, tmp_path: Path) -> Path:
    """A data directory of its own, with the furnished installation and its keys."""
    shutil.copy(furnished / "atp.db", tmp_path / "atp.db")
    shutil.copy(furnished / "signed.log", tmp_path / "checkpoints.guard")
    (tmp_path / "master.key").write_text(b64u(MASTER))
    return tmp_path


def verify(data: Path, *arguments: str) -> tuple[int, str]:
    """Run `atp verify` on a data directory; a traceback is a failure of the test."""
    done = CliRunner().invoke(verify_command, ["--data", str(data), *arguments], catch_exceptions=False)
    return done.exit_code, done.output


def evidence(path: Path) -> dict[str, list[Any]] | None:
    """Return all rows of the evidence, None where they do not read."""
    try:
        connection = apsw.Connection(str(path))
        found = {}
        for table in EVIDENCE:
            rows = connection.execute(f"SELECT * FROM {table} NOT INDEXED").fetchall()
            found[table] = sorted(rows, key=repr)
        connection.close()
    except (apsw.Error, UnicodeDecodeError):
        return None
    return found


def places(size: int) -> Iterator[int]:
    """Choose offsets: every byte, or a sample in which each second one lies in the header of a page."""
    if SAMPLE is None:
        yield from range(size)
        return
    seed = random.randrange(1 << 32)
    print(f"{SAMPLE} bytes of {size}, seed {seed}")
    chance = random.Random(seed)
    for nth in range(SAMPLE):
        page = chance.randrange(size // PAGE)
        yield page * PAGE + chance.randrange(12 if nth % 2 else PAGE)


def test_a_changed_byte_of_the_file_is_found_or_changes_no_evidence(data: Path) -> None:
    """INT-06: whatever byte of the file is changed, `atp verify` says so or the evidence reads as before."""
    path = data / "atp.db"
    clean, content = evidence(path), path.read_bytes()
    assert clean is not None
    assert verify(data)[0] == 0
    for offset in places(len(content)):
        with path.open("r+b") as file:
            file.seek(offset)
            file.write(bytes([content[offset] ^ 0x55]))
        code, output = verify(data)
        if code == 0:
            assert evidence(path) == clean, f"byte {offset} changed the evidence unseen:\n{output}"
        else:
            assert code in (1, 2), output
            assert "FINDING" in output or "Error" in output, output
        with path.open("r+b") as file:
            file.seek(offset)
            file.write(content[offset : offset + 1])
        for beside in ("atp.db-wal", "atp.db-shm"):
            (data / beside).unlink(missing_ok=True)


def test_a_record_on_a_damaged_page_is_named(data: Path) -> None:
    """INT-06: the position and the record are named where the file's own page still reads."""
    path = data / "atp.db"
    connection = apsw.Connection(str(path))
    ((packed,),) = connection.execute(
        "SELECT content FROM records WHERE tenant_no = 2 AND position = 640"
    ).fetchall()
    connection.close()
    content = path.read_bytes()
    at = content.index(packed[:64]) + 40
    path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    code, output = verify(data, "--tenant", "acme")
    assert code == 1
    assert "position 640, record 01" in output


@pytest.mark.parametrize("keep", [0, 10, 100, PAGE, 3 * PAGE, 100 * PAGE + 7])
def test_a_file_cut_off_is_told_and_never_a_traceback(data: Path, keep: int) -> None:
    """INT-06: a truncated file gives findings or cannot be read, with a line that says so."""
    path = data / "atp.db"
    path.write_bytes(path.read_bytes()[:keep])
    code, output = verify(data)
    assert code in (1, 2)
    assert output.strip()


def test_verify_tells_size_root_signatures_and_values(data: Path) -> None:
    """The story of issue 2: size, root, checkpoint signatures, verified; as text and as JSON; exit code 0."""
    code, output = verify(data)
    assert code == 0
    assert "acme: 1000 records" in output
    assert output.count("  verified") == 2
    code, output = verify(data, "--tenant", "acme", "--output", "json")
    told = msgspec.json.decode(output)
    assert told["verified"]
    assert [log["size"] for log in told["logs"]] == [1000]


def test_without_a_master_key_values_are_withheld_and_it_says_so(data: Path) -> None:
    """INT-06: what could not be read is not called verified."""
    (data / "master.key").unlink()
    code, output = verify(data, "--tenant", "acme")
    assert code == 0
    assert "no master key" in output
    assert "withheld" in output


def test_a_log_that_was_signed_and_is_gone_is_an_alarm(data: Path) -> None:
    """INT-06: whoever deletes a whole tenant is remembered by the guard."""
    connection = apsw.Connection(str(data / "atp.db"))
    for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        connection.execute(f"DROP TRIGGER {name}")
    connection.execute("DELETE FROM logs WHERE tenant = 'globex'")
    connection.close()
    code, output = verify(data)
    assert code == 1
    assert "is gone" in output


def test_a_policy_decides_whose_signature_counts(data: Path) -> None:
    """INT-06: with a policy of someone else's key nothing verifies; a policy that is none ends with code 2."""
    connection = apsw.Connection(str(data / "atp.db"))
    ((origin, public),) = connection.execute(
        """SELECT l.origin, k.public FROM log_keys k JOIN logs l ON l.tenant_no = k.tenant_no
           WHERE l.tenant = 'acme' AND k.algorithm = 'Ed25519' AND k.valid_until_us IS NULL"""
    ).fetchall()
    connection.close()
    policy = data / "trust.txt"
    policy.write_text(f"log {notes.vkey(origin, 'Ed25519', public)}\nquorum none\n")
    assert verify(data, "--tenant", "acme", "--policy", str(policy))[0] == 0
    assert verify(data, "--tenant", "globex", "--policy", str(policy))[0] == 1
    policy.write_text("quorum any\n")
    assert verify(data, "--policy", str(policy))[0] == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["--stream", "document/doc-1"],
        ["--tenant", "acme", "--record", "nonsense"],
        ["--tenant", "nobody"],
        ["--tenant", "Not A Tenant"],
        ["--server", "--policy", __file__],
    ],
)
def test_what_cannot_be_verified_ends_with_code_2(data: Path, arguments: list[str]) -> None:
    """INT-06: a mistake in the call is neither a finding nor a verdict."""
    code, output = verify(data, *arguments)
    assert code == 2
    assert output.strip()
