"""schemathesis reads the contract that the server serves and tries everything that it allows and forbids (TST-01)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz import checks
from tests.server import Server
from tests.tidy.source import ROOT

FUZZ_SECONDS = int(os.environ.get("ATP_TEST_FUZZ_SECONDS", "60"))
SECONDS_MAX = FUZZ_SECONDS * 3 + 120
EXCLUDED = {"tailAuditEvents": "Its answer never ends; tests/query and tests/flows read it."}
"""operationId → why it is not fuzzed."""
REPLACED = {"positive_data_acceptance": "valid_requests_are_served knows what no schema can say."}
"""Check of the tool → the check of ours that stands in for it."""

SLASHES = """
# A stream's id may hold slashes, so GET …/document/doc-1/seal asks for the stream doc-1/seal, rightly.
[[operations]]
include-operation-id = "sealEventStream"
checks.unsupported_method.enabled = false
checks.allow_header_conformance.enabled = false
"""


@pytest.fixture
def fuzzed(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path).start().lift_limits()
    yield server
    server.kill()


def test_no_request_of_any_form_surprises_the_server(fuzzed: Server) -> None:
    """CON-01, API-10: positive and negative data for every operation; afterwards the log verifies and nothing was a bug.

    The tenant whose settings are changed at random is not the one that is used, and ids are those that exist.
    """
    server = fuzzed
    other = server.admin.call("createTenant", json={"id": "other", "displayName": "Other"})
    assert other.status == 201
    log = server.status()["logId"]
    (server.folder / "schemathesis.toml").write_text(
        '[parameters]\n"header.X-Tenant-Id" = "demo"\n"path.tenantId" = "other"\n'
        f'"path.logId" = "{log}"\n"path.streamId" = "document/doc-1"\n' + SLASHES
    )
    command = [str(Path(sys.executable).with_name("schemathesis")), "run", f"{server.url}/openapi.json"]
    command += ["--header", f"Authorization: Bearer {server.admin_key}"]
    command += ["--checks", "all", "--exclude-checks", ",".join(REPLACED), "--continue-on-failure"]
    command += ["--max-time", str(FUZZ_SECONDS), "--workers", "2", "--request-timeout", "20", "--no-color"]
    for operation_id in EXCLUDED:
        command += ["--exclude-operation-id", operation_id]
    outside = {name: value for name, value in os.environ.items() if not name.startswith("ATP_")}
    done = subprocess.run(
        command,
        cwd=server.folder,
        env=outside | {"PYTHONPATH": str(ROOT), "SCHEMATHESIS_HOOKS": checks.__name__},
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-4_000:]
    told = [json.loads(line) for line in server.log.read_text().splitlines()]
    assert not [line for line in told if line["event"] == "bug"]
    assert not [line for line in told if line["event"] == "request" and (line["status"] or 0) >= 500]
    assert server.admin.call("getHealth").json["status"] == "ok"
    assert server.stop() == 0
    server.atp("verify")
