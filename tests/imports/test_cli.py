"""`atp import` as a user meets it: messages, exit codes, kill -9 and again (ING-08)."""

from __future__ import annotations

import gzip
import json
import signal
import subprocess
import sys

import pytest
from click.testing import CliRunner

from atp.imports.cli import import_command
from tests.imports.doors import CLOUDTRAIL, ROOT, WINDOWS_ZIP


@pytest.fixture
def atp_import(tmp_path, monkeypatch, server):
    """Run the command in an empty directory against the test server."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ATP_API_KEY", "key")
    monkeypatch.setenv("ATP_SERVER", server.url)
    monkeypatch.setenv("ATP_DATA", str(tmp_path / "var"))

    def run(*arguments: str, **options):
        return CliRunner().invoke(
            import_command, [str(argument) for argument in arguments], catch_exceptions=False, **options
        )

    return run


def test_a_sample_is_imported_and_a_second_run_goes_on_behind_it(atp_import, server, tmp_path):
    """ING-08: exit code 0, counts in words, no reject file."""
    result = atp_import(CLOUDTRAIL, "--rejects", tmp_path / "rejects.jsonl")
    assert result.exit_code == 0
    assert "cloudtrail: 103 events stored, 0 were there already, 0 rejected." in result.output
    again = atp_import(CLOUDTRAIL, "--rejects", tmp_path / "rejects.jsonl")
    assert again.exit_code == 0
    assert "Went on after line 103" in again.output
    assert len(server.kept.order) == 103
    assert not (tmp_path / "rejects.jsonl").exists()


def test_the_windows_archive_of_the_story_is_imported_whole(atp_import, server, tmp_path):
    """ING-08: 12,278 real events out of the zip, over HTTP."""
    result = atp_import(
        WINDOWS_ZIP, "--format", "windows-eventlog", "--rejects", tmp_path / "r", "--output", "json"
    )
    assert result.exit_code == 0
    assert json.loads(result.output) == {
        "format": "windows-eventlog",
        "accepted": 12_278,
        "duplicates": 0,
        "rejected": 0,
        "resumedAtLine": 0,
        "rejects": None,
        "damage": None,
    }
    assert len(server.kept.order) == 12_278


def test_standard_input_is_read_with_rejects_and_exit_code_1(atp_import, server, tmp_path):
    """ING-08: a pipe, gzip and all."""
    result = atp_import("-", input=gzip.compress(CLOUDTRAIL.read_bytes() + b"broken\n"))
    assert result.exit_code == 1
    assert "1 rejected" in result.output
    assert "stdin.rejects.jsonl" in result.output
    assert json.loads((tmp_path / "stdin.rejects.jsonl").read_bytes())["code"] == "NOT_JSON"
    assert len(server.kept.order) == 103


def test_a_truncated_file_keeps_what_came_and_says_what_happened(atp_import, server, tmp_path):
    """ING-08."""
    (tmp_path / "cut.gz").write_bytes(gzip.compress(CLOUDTRAIL.read_bytes())[:-3000])
    result = atp_import("cut.gz")
    assert result.exit_code == 1
    assert "ends too early" in result.output
    assert 0 < len(server.kept.order) < 103


def test_a_dry_run_shows_and_sends_nothing(atp_import, server):
    """ING-08."""
    result = atp_import(CLOUDTRAIL, "--dry-run")
    assert result.exit_code == 0
    assert "cloudtrail: 103 events, 0 lines rejected; nothing was sent." in result.output
    assert '"name": "ec2:DescribeInstanceTypes"' in result.output
    assert server.requests == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.json"], "cannot be opened"),
        ([CLOUDTRAIL, "--format", "windows-eventlog"], "looks like cloudtrail"),
        ([CLOUDTRAIL, "--server", "nowhere"], "address of a server"),
        (["rows.csv", "--mapping", "mapping.yaml"], "no rule for"),
        (["rows.csv", "--mapping", "rows.csv"], "not"),
        (["rows.csv"], "--format"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_exit_code_2(atp_import, tmp_path, arguments, message):
    """ING-08."""
    (tmp_path / "rows.csv").write_bytes(b"a,b\n1,2\n")
    (tmp_path / "mapping.yaml").write_text("fields: {}\n")
    result = atp_import(*arguments)
    assert result.exit_code == 2
    assert message in result.output
    assert "Traceback" not in result.output


def test_a_key_is_asked_for_when_there_is_none(atp_import, monkeypatch, tmp_path, server):
    """ING-08: and --key-file is one way to give it."""
    monkeypatch.delenv("ATP_API_KEY")
    assert atp_import(CLOUDTRAIL).exit_code == 2
    (tmp_path / "key").write_text("from-file\n")
    assert atp_import(CLOUDTRAIL, "--key-file", "key", "--rejects", "r").exit_code == 0
    assert server.requests[0][0]["Authorization"] == "Bearer from-file"


def test_killed_at_any_batch_and_run_again_gives_the_exact_set(server, tmp_path, monkeypatch):
    """ING-08: kill -9 of the real process, before a batch is stored and after, then one run to the end."""
    rows = [
        {
            "occurredAt": "2026-01-01T00:00:00Z",
            "actor": {"type": "u", "id": "u"},
            "action": {"name": "a"},
            "resource": {"type": "t", "id": str(n)},
        }
        for n in range(5500)
    ]
    (tmp_path / "log.jsonl").write_bytes(b"".join(json.dumps(row).encode() + b"\n" for row in rows))
    environment = {
        "ATP_API_KEY": "k",
        "ATP_SERVER": server.url,
        "ATP_DATA": str(tmp_path / "var"),
        "PYTHONPATH": str(ROOT / "src"),
        "PATH": "",
    }
    program = "from atp.imports.cli import import_command; import_command()"
    running: list[subprocess.Popen] = []

    def kill_before(handler, _body):
        running[-1].send_signal(signal.SIGKILL)
        handler.close_connection = True
        return True

    def kill_after(handler, body):
        server.kept.send(body.split(b"\n"))
        return kill_before(handler, body)

    def go_on(_handler, _body):
        return False

    def start() -> int:
        command = [sys.executable, "-c", program, "log.jsonl"]
        process = subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        running.append(process)
        output, _ = process.communicate(timeout=60)
        return process.returncode or int(b"stored" not in output)

    for moods in ([kill_before], [kill_after], [go_on, kill_before], [go_on, kill_after]):
        server.moods = list(moods)
        assert start() == -signal.SIGKILL
    assert start() == 0
    assert [json.loads(event)["resource"]["id"] for event in server.kept.order] == [
        str(n) for n in range(5500)
    ]
