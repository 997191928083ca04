"""Files that were damaged on the way, through the importers and over HTTP: counted, never half-stored (ING-08)."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from atp.imports.cli import import_command
from tests.imports.doors import CLOUDTRAIL, WINDOWS_ZIP
from tests.server import Server

EXAMPLES = 40
LINES = 12
SOURCES = {
    "cloudtrail": b"".join(CLOUDTRAIL.read_bytes().splitlines(keepends=True)[:LINES]),
    "jsonl": b"".join(
        json.dumps(
            {
                "occurredAt": f"2026-01-15T10:00:{number:02}Z",
                "actor": {"type": "user", "id": f"u-{number}"},
                "action": {"name": "document.read"},
                "resource": {"type": "document", "id": f"doc-{number}"},
            }
        ).encode()
        + b"\n"
        for number in range(LINES)
    ),
    "windows-eventlog": WINDOWS_ZIP.read_bytes(),
}


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("importers")).start().lift_limits()
    yield server
    assert server.stop() == 0
    server.atp("verify")


def damaged(content: bytes, seed: int, kind: str) -> bytes:
    """Return the content with bytes changed, cut, repeated or mixed up."""
    chance = random.Random(seed)
    mutable = bytearray(content)
    place = chance.randrange(len(mutable))
    match kind:
        case "flip":
            for _ in range(chance.randint(1, 20)):
                mutable[chance.randrange(len(mutable))] ^= 1 << chance.randrange(8)
        case "cut":
            del mutable[place:]
        case "hole":
            del mutable[place : place + chance.randint(1, 2_000)]
        case "insert":
            mutable[place:place] = chance.randbytes(chance.randint(1, 200))
        case "nul":
            mutable[place : place + 50] = bytes(50)
        case "repeat":
            mutable[place:place] = mutable[place : place + 3_000]
    return bytes(mutable)


@settings(
    max_examples=EXAMPLES,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    seed=st.integers(0, 2**32),
    form=st.sampled_from(["cloudtrail", "jsonl"]),
    kind=st.sampled_from(["flip", "cut", "hole", "insert", "nul", "repeat"]),
    packed=st.sampled_from(["plain", "inside", "outside"]),
)
def test_a_damaged_file_is_imported_as_far_as_it_can_be_read(
    standing: Server, tmp_path_factory: pytest.TempPathFactory, seed: int, form: str, kind: str, packed: str
) -> None:
    """ING-08: every line is stored, known or in the reject file with its reason; the log grows by what was stored."""
    content = SOURCES[form]
    if packed == "outside":  # The archive itself is damaged, not what is in it.
        content = damaged(gzip.compress(content), seed, kind)
    else:
        content = damaged(content, seed, kind)
        content = gzip.compress(content) if packed == "inside" else content
    check_import(standing, tmp_path_factory.mktemp("damaged"), form, content)


@pytest.mark.parametrize("kind", ["flip", "cut", "hole", "nul"])
def test_a_damaged_archive_of_windows_events_is_told(standing: Server, tmp_path: Path, kind: str) -> None:
    """ING-08: a zip of 12,278 events with a hole in it."""
    check_import(standing, tmp_path, "windows-eventlog", damaged(SOURCES["windows-eventlog"], 7, kind))


def check_import(server: Server, folder: Path, form: str, content: bytes) -> None:
    source = folder / "source"
    source.write_bytes(content)
    before = server.size()
    arguments = [source, "--format", form, "--output", "json", "--rejects", folder / "rejects", "--restart"]
    environment = {"ATP_SERVER": server.url, "ATP_API_KEY": server.admin_key, "ATP_DATA": str(folder)}
    result = CliRunner().invoke(import_command, [str(a) for a in arguments], env=environment)
    assert result.exit_code in (0, 1, 2), result.output
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    stored = server.size() - before
    if result.exit_code == 2:
        assert stored == 0 or "goes on from there" in result.output
        return
    report = json.loads(result.output.splitlines()[0])
    rejects = (folder / "rejects").read_bytes().splitlines() if (folder / "rejects").exists() else []
    assert len(rejects) == report["rejected"]
    assert all(json.loads(line)["code"] for line in rejects)
    assert (result.exit_code == 0) == (not report["rejected"] and not report["damage"])
    batches = stored - report["accepted"]
    assert 0 <= batches <= report["accepted"] // 100 + 1, "only batches' own records come besides"
    assert server.admin.call("getHealth").json["status"] in ("ok", "degraded")
