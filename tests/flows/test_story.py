"""The story of the first day, told to the real program from a fresh directory, on both engines.

Start, send, find, watch, import, verify, prove, check offline, restart; each step as a user takes it.
"""

from __future__ import annotations

import json
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.flows.events import event, every_event, until
from tests.imports.doors import WINDOWS_ZIP
from tests.server import ATP, Server, read_lines

SAMPLE_EVENTS = 103
WINDOWS_EVENTS = 12_278
GREETING_COMMANDS = 5


def test_the_first_start_makes_everything_one_needs_to_try(server: Server) -> None:
    """OPS-01: tenant demo, a key only the owner reads, the sample imported, health ok."""
    key_file = server.data / "admin.key"
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    assert stat.S_IMODE((server.data / "master.key").stat().st_mode) == 0o600
    assert server.admin.call("getTenant", path={"tenantId": "demo"}).json["status"] == "active"
    size = server.size()
    found = every_event(server.admin, kind="audit", waitForPosition=size - 1, waitTimeout=10_000)
    assert len(list(found)) == SAMPLE_EVENTS
    health = server.admin.call("getHealth").json
    assert health["status"] == "ok", health
    assert server.admin.get("/readyz").status == server.admin.get("/livez").status == 200


def test_the_greeting_names_the_reference_the_key_and_five_commands(
    new_server: Callable[..., Server],
) -> None:
    """OPS-01: what a person sees; each command begins with a program that exists."""
    server = new_server()
    with subprocess.Popen(
        [ATP, "serve"],
        env=server.environment,
        cwd=server.folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        lines = []
        for line in read_lines(process):
            lines.append(line.decode())
            if "verify" in line.decode() and line.startswith(b"  .venv"):
                break
        process.terminate()
        assert process.wait(30) == 0
    text = "\n".join(lines)
    assert f"{server.url}/docs" in text and str(server.data / "admin.key") in text
    commands = [line.strip() for line in lines if line.startswith(("  curl", "  .venv/bin/atp"))]
    assert len(commands) == GREETING_COMMANDS


def test_an_event_is_answered_found_watched_proven_and_checked_offline(
    server: Server, tmp_path: Path
) -> None:
    """API-01, API-03, API-15, INT-05, INT-08: the first commands of the story, with the real command line."""
    with server.running("events", "tail", "--output", "json") as tail:
        arriving = read_lines(tail)
        # The tail begins with what is new once it is connected; these sends find out when that is.
        until(
            lambda: (
                server.admin.call("ingestAuditEvent", json=event()).status == 201
                and _said(server, "tailAuditEvents")
            )
        )
        sent = server.admin.call(
            "ingestAuditEvent", json=event(7, actor={"type": "user", "id": "u-story", "name": "Ada"})
        )
        assert sent.status == 201
        receipt = sent.json
        assert next(line for line in arriving if receipt["id"].encode() in line)
    assert receipt["position"] == server.size() - 1
    assert sent.headers["location"] == receipt["links"]["self"]
    for link in receipt["links"].values():
        assert server.admin.get(link, headers={"accept": "application/json"}).status in (200, 409)
    listed = until(
        lambda: server.atp("events", "list", "--actor", "u-story", "--since", "2026-01-01T00:00:00Z")
    )
    assert receipt["id"] in listed and "document.read" in listed
    proof, record, policy, script = (tmp_path / name for name in ("p", "event.json", "trust", "verify.py"))
    proof.write_text(until(lambda: server.atp("events", "proof", receipt["id"], code=None)))
    record.write_text(server.atp("events", "get", receipt["id"], "--disclose"))
    policy.write_bytes(server.admin.get("/api/v1/integrity/keys", headers={"accept": "text/plain"}).content)
    script.write_bytes(server.admin.get("/verify.py").content)
    offline = [sys.executable, "-I", script, "--policy", policy, proof, record]
    told = subprocess.run(offline, capture_output=True, text=True, check=False)
    assert told.returncode == 0 and "verified" in told.stdout, told.stdout + told.stderr
    record.write_text(record.read_text().replace("document.read", "document.reed"))
    told = subprocess.run(offline, capture_output=True, text=True, check=False)
    assert told.returncode != 0, told.stdout


def _said(server: Server, operation: str) -> bool:
    metrics = server.admin.get("/metrics").content.decode()
    return any(
        "in_flight" in line and not line.startswith("#") and float(line.split()[-1]) >= 2
        for line in metrics.splitlines()
    )


def test_the_windows_archive_is_imported_once_and_the_log_verifies(server: Server) -> None:
    """ING-08, INT-06: 12,278 real events, a second run adds nothing, `atp verify` says verified."""
    report = json.loads(
        server.atp(
            "import", WINDOWS_ZIP, "--format", "windows-eventlog", "--output", "json", "--rejects", "rejects"
        )
    )
    assert (report["accepted"], report["duplicates"], report["rejected"]) == (WINDOWS_EVENTS, 0, 0)
    again = json.loads(
        server.atp(
            "import",
            WINDOWS_ZIP,
            "--format",
            "windows-eventlog",
            "--output",
            "json",
            "--restart",
            "--rejects",
            "rejects",
        )
    )
    assert (again["accepted"], again["duplicates"]) == (0, WINDOWS_EVENTS)
    told = server.atp("verify")
    assert f"demo: {server.size()} records" in told and told.rstrip().endswith("verified"), told
    stored = server.restart().size()
    found = every_event(
        server.admin, kind="audit", fields="id", waitForPosition=stored - 1, waitTimeout=10_000
    )
    assert len({item["id"] for item in found}) == WINDOWS_EVENTS + SAMPLE_EVENTS


def test_a_restart_keeps_everything(server: Server) -> None:
    """ING-07, INT-03: size, root, records, keys and search are what they were; the log goes on."""
    kept = server.admin.call("ingestAuditEvent", json=event()).json
    issued = server.new_key("reader")
    before = until(lambda: (s := server.status())["lagRecords"] == 0 and s)
    server.restart()
    after = server.status()
    assert (after["size"], after["checkpoint"], after["logId"]) == (
        before["size"],
        before["checkpoint"],
        before["logId"],
    )
    read = server.client(api_key=issued["secret"]).call("getAuditEvent", path={"id": kept["id"]})
    assert read.json["recordHash"] == kept["recordHash"]
    assert server.admin.call("ingestAuditEvent", json=event()).json["position"] == before["size"]


def test_what_the_user_keeps_elsewhere_is_enough_to_move_house(
    embedded: Server, new_server: Callable[..., Server]
) -> None:
    """OPS-02: a stopped server's directory, copied, is the whole installation."""
    kept = embedded.admin.call("ingestAuditEvent", json=event()).json
    assert embedded.stop() == 0
    moved = new_server()
    shutil.copytree(embedded.data, moved.data)
    moved.start()
    assert moved.admin.call("getAuditEvent", path={"id": kept["id"]}).json["recordHash"] == kept["recordHash"]


@pytest.mark.parametrize(
    ("arguments", "settings", "said"),
    [
        ((), {"ATP_PROT": "8081"}, "ATP_PORT"),
        (("--only", "gatway"), {}, "gateway"),
        (("--database", "mysql://x"), {}, "postgresql://"),
        (("--database", "postgresql://127.0.0.1:1/x"), {}, ""),
        ((), {"ATP_MASTER_KEY": "short"}, "key"),
    ],
)
def test_a_start_that_cannot_be_is_one_line_and_exit_code_2(
    new_server: Callable[..., Server], arguments: tuple[str, ...], settings: dict[str, str], said: str
) -> None:
    """OBS-03: what is wrong and what can be done, without a traceback."""
    server = new_server()
    server.settings |= settings
    told = server.atp("serve", *arguments, code=2)
    assert said in told and "Traceback" not in told, told
    assert len([line for line in told.splitlines() if not line.startswith("{")]) <= 4, told


def test_rotated_keys_sign_together_until_the_overlap_ends(embedded: Server) -> None:
    """INT-03: the checkpoint carries both signatures; more generations than a note can bear are refused."""
    for rotation in range(1, 4):
        answer = embedded.admin.call("rotateIntegrityKey", json={"overlapSeconds": 3600})
        assert answer.status == 200, answer.content
        signatures = until(lambda: _signed_after(embedded, embedded.size()))
        assert signatures == 2 * (rotation + 1)
    refused = embedded.admin.call("rotateIntegrityKey", json={"overlapSeconds": 3600})
    assert (refused.status, refused.code) == (400, "VALIDATION_FAILED")
    embedded.atp("verify")


def _signed_after(server: Server, size: int) -> int:
    """Return how many signatures the checkpoint of this size has, 0 while there is none."""
    checkpoint = server.status()["checkpoint"]
    return checkpoint["note"].count("\n— ") if checkpoint["size"] >= size else 0
