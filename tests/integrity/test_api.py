"""Integrity over HTTP and on the command line, against the real server on both engines."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec
import pytest

from atp.engine.sqlite import open_reader
from atp.integrity.rules import notes
from atp.integrity.rules.negotiation import chosen
from atp.integrity.rules.receipts import COSE, TLOG_PROOF
from atp.integrity.rules.tiles import TILE_WIDTH, format_path
from atp.kernel import canonical
from atp.kernel.errors import Problem
from atp.kernel.hashing import sha256, unb64u
from atp.kernel.merkle import Frontier, leaf_hash, root_from_inclusion
from tests.engine.local_postgres import shared
from tests.flows.events import event, until
from tests.server import Server

ENTRY = 34
"""Bytes of an entry in a bundle, with its length."""


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with 600 events, which all tests of the module share."""
    name = shared().create() if request.param == "postgresql" else ""
    database = shared().url(name) if name else ""
    running = Server(
        tmp_path_factory.mktemp("integrity"), database=database, settings={"SELF_AUDIT_SECONDS": "0"}
    ).start()
    running.lift_limits()
    send(running, 600)
    yield running
    running.stop()
    if name:
        shared().drop(name)


def send(server: Server, count: int) -> None:
    body = {
        "events": [
            event(n, actor={"type": "user", "id": f"u-{n % 9}", "name": "A Name"}) for n in range(count)
        ]
    }
    answer = server.admin.post("/api/v1/audit-events/batch", body)
    assert answer.status == 207 or answer.status == 200, answer.content


def send_one(server: Server) -> str:
    answer = server.admin.post(
        "/api/v1/audit-events", event(5, actor={"type": "user", "id": "u", "name": "A Name"})
    )
    assert answer.status == 201, answer.content
    return str(answer.json["id"])


def proof(server: Server, ulid: str, accept: str = "application/json", **query: Any) -> Any:
    return server.admin.call("getAuditEventProof", path={"id": ulid}, query=query, headers={"accept": accept})


def run_verifier(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the published verifier, which imports nothing of the program."""
    script = str(files("atp").joinpath("static/verify.py"))
    return subprocess.run(
        [sys.executable, script, *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def save(folder: Path, server: Server, ulid: str) -> None:
    """Put a receipt in every form, the record and the policy beside each other."""
    (folder / "p.tlog-proof").write_bytes(proof(server, ulid, TLOG_PROOF).content)
    (folder / "p.cose").write_bytes(proof(server, ulid, COSE).content)
    (folder / "event.json").write_bytes(server.admin.call("getAuditEvent", path={"id": ulid}).content)
    policy = server.admin.call("getIntegrityKeys", headers={"accept": "text/plain"})
    assert policy.headers["content-type"].startswith("text/plain")
    (folder / "trust.txt").write_bytes(policy.content)


def test_a_receipt_follows_its_event_at_once(server: Server) -> None:
    """INT-05: the proof waits for the next checkpoint by itself, and leads from the record to the signed root."""
    found = proof(server, send_one(server)).json
    leaf = leaf_hash(unb64u(found["recordHash"]))
    path = [unb64u(step) for step in found["inclusionPath"]]
    assert unb64u(found["leafHash"]) == leaf
    assert root_from_inclusion(found["position"], found["treeSize"], leaf, path) == unb64u(found["rootHash"])
    note = notes.parse(found["checkpoint"].encode())
    assert (note.size, note.root) == (found["treeSize"], unb64u(found["rootHash"]))


def test_receipts_of_before_a_rotation_verify_with_the_policy_of_before(
    server: Server, tmp_path: Path
) -> None:
    """INT-03, INT-05, INT-08: verify.py accepts old receipts by the old keys, new ones by the old during overlap."""
    save(tmp_path, server, send_one(server))
    arguments = ("--policy", "trust.txt")
    assert run_verifier(tmp_path, *arguments, "p.tlog-proof", "event.json").returncode == 0
    cose = run_verifier(tmp_path, "receipt", *arguments, "p.cose", "event.json")
    assert cose.returncode == 0, cose.stderr
    before = server.admin.call("getIntegrityKeys").json
    rotated = server.admin.call("rotateIntegrityKey", json={"overlapSeconds": 3600}).json
    states = {key["keyId"]: key["state"] for key in rotated["keys"]}
    assert all(states[key["keyId"]] == "retiring" for key in before["keys"] if key["state"] == "active")
    assert sorted(state for state in states.values()).count("active") == 2
    assert run_verifier(tmp_path, *arguments, "p.tlog-proof", "event.json").returncode == 0
    ulid = send_one(server)
    (tmp_path / "new.tlog-proof").write_bytes(proof(server, ulid, TLOG_PROOF).content)
    (tmp_path / "new.json").write_bytes(server.admin.call("getAuditEvent", path={"id": ulid}).content)
    assert run_verifier(tmp_path, *arguments, "new.tlog-proof", "new.json").returncode == 0
    assert run_verifier(tmp_path, *arguments, "new.tlog-proof", "event.json").returncode == 1


def test_a_receipt_comes_in_the_form_that_is_asked_for(server: Server) -> None:
    """INT-05: three forms by Accept, NOT_ACCEPTABLE for any other."""
    ulid = send_one(server)
    for accept, media_type in (
        ("*/*", "application/json"),
        (TLOG_PROOF, TLOG_PROOF),
        (f"application/json;q=0.5, {COSE}", COSE),
        (f"{COSE};q=0, application/*;q=0.1", "application/json"),
    ):
        assert proof(server, ulid, accept).headers["content-type"] == media_type
    assert proof(server, ulid, "image/png").code == "NOT_ACCEPTABLE"
    assert proof(server, "01ARZ3NDEKTSV4RRFFQ69G5FAV").code == "EVENT_NOT_FOUND"


@pytest.mark.parametrize(
    ("accept", "offer"),
    [
        (None, "a/b"),
        ("", "a/b"),
        ("c/d", "c/d"),
        ("c/*, a/b;q=0.9", "c/d"),
        ("a/*;q=0.2, */*;q=0.3", "c/d"),
        ("A/B ; q=1", "a/b"),
        ("a/b;q=0", None),
        ("text/html", None),
    ],
)
def test_accept_is_weighed_as_rfc_9110_says(accept: str | None, offer: str | None) -> None:
    """API: the most specific range gives an offer its weight."""
    if offer is not None:
        assert chosen(accept, ("a/b", "c/d")) == offer
        return
    with pytest.raises(Problem, match="available as a/b, c/d"):
        chosen(accept, ("a/b", "c/d"))


def test_status_tells_how_far_the_log_is(server: Server) -> None:
    """INT-02: once a proof was there, everything up to it is integrated and signed."""
    found = proof(server, send_one(server)).json
    status = server.status()
    assert status["integrated"] >= found["treeSize"]
    assert status["checkpoint"]["size"] >= found["treeSize"]
    until(lambda: server.status()["lagRecords"] == 0)
    assert server.status()["lagSeconds"] == 0


# -- tiles ---------------------------------------------------------------------------------------------------


def tile(server: Server, path: str) -> Any:
    return server.client().get(f"/tlog/{server.status()['logId']}/{path}")


def test_the_tiles_give_the_signed_root(server: Server) -> None:
    """INT-04: entries, level 0 and level 1 as served to anyone lead to the checkpoint's root."""
    log_id = server.status()["logId"]
    anyone = server.client()
    answer = anyone.get(f"/tlog/{log_id}/checkpoint")
    note = notes.parse(answer.content)
    again = anyone.get(f"/tlog/{log_id}/checkpoint", headers={"if-none-match": answer.headers["etag"]})
    assert again.status in (200, 304)
    tree = Frontier()
    bundles = [
        anyone.get(f"/tlog/{log_id}/tile/entries/{format_path(index, width)}").content
        for index, width in widths(note.size)
    ]
    entries = [bundle[at + 2 : at + ENTRY] for bundle in bundles for at in range(0, len(bundle), ENTRY)]
    for entry in entries:
        tree.append(leaf_hash(entry))
    assert tree.root() == note.root
    leaves = b"".join(
        anyone.get(f"/tlog/{log_id}/tile/0/{format_path(index, width)}").content
        for index, width in widths(note.size)
    )
    assert leaves == b"".join(map(leaf_hash, entries))
    full = note.size // TILE_WIDTH
    level_1 = anyone.get(f"/tlog/{log_id}/tile/1/{format_path(0, full)}")
    first = Frontier()
    for entry in entries[:TILE_WIDTH]:
        first.append(leaf_hash(entry))
    assert level_1.content[:32] == first.root()


def widths(size: int) -> list[tuple[int, int]]:
    return [(start // TILE_WIDTH, min(TILE_WIDTH, size - start)) for start in range(0, size, TILE_WIDTH)]


def test_a_full_tile_is_cached_for_ever_and_a_partial_one_is_not(server: Server) -> None:
    """INT-04: what never changes says so."""
    assert "immutable" in tile(server, "tile/entries/000").headers["cache-control"]
    assert "immutable" in tile(server, "tile/0/001").headers["cache-control"]
    assert "immutable" not in tile(server, "tile/0/002.p/3").headers["cache-control"]
    assert "no-cache" in tile(server, "checkpoint").headers["cache-control"]


@pytest.mark.parametrize(
    "path",
    [
        "tile/0/900",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/x000/001",
        "tile/0/x999/x999/x999/x999/x999/999",
        "tile/1/000",
        "tile/9/000",
        "tile/63/000.p/1",
        "tile/64/000",
        "tile/entries/900.p/1",
        "tile/0/1",
        "tile/-1/000",
    ],
)
def test_a_tile_that_is_not_there_is_refused(server: Server, path: str) -> None:
    """INT-04: beyond the signed size, not the shortest form, or not an address at all."""
    assert tile(server, path).code in {"TILE_NOT_FOUND", "VALIDATION_FAILED", "NOT_FOUND"}


def test_an_unknown_log_is_refused(server: Server) -> None:
    """INT-04: whoever guesses learns nothing."""
    for path in ("checkpoint", "tile/0/000", "tile/entries/000"):
        assert server.client().get(f"/tlog/01kakbr8mz9v3w7t5q2e8yh4nc/{path}").code == "LOG_NOT_FOUND"


# -- verifications -------------------------------------------------------------------------------------------


def verify(server: Server, **body: Any) -> Mapping[str, Any]:
    """Start a verification and follow it to its end."""
    answer = server.admin.call("createVerification", json=body)
    assert answer.status == 202, answer.content
    address = answer.headers["location"]

    def ended() -> Mapping[str, Any] | None:
        run: Mapping[str, Any] = server.admin.get(address).json
        return run if run["status"] not in ("queued", "running") else None

    found = until(ended)
    assert found is not None
    return found


def test_a_verification_runs_and_is_recorded(server: Server) -> None:
    """INT-06: scopes log, stream and record; the result is a platform record and the status's last one."""
    run = verify(server)
    assert run["status"] == "verified", run
    assert run["result"]["values"]["verified"] >= 600
    assert run["result"]["values"]["missing"] == 0
    assert run["progress"]["done"] == run["progress"]["total"] == run["result"]["size"]
    assert server.status()["lastVerification"]["id"] == run["id"]
    ulid = send_one(server)
    one = verify(server, scope="record", id=ulid)
    stream = verify(server, scope="stream", stream="document/doc-3", values=False)
    assert (one["status"], one["result"]["size"]) == ("verified", 1)
    assert stream["status"] == "verified"
    assert stream["result"]["values"]["withheld"] > 0
    log_id = server.status()["logId"]
    told = server.admin.call("getEventStream", path={"streamId": f"atp.integrity/{log_id}"})
    assert told.status == 200
    types = [record["type"] for record in told.json["events"]]
    assert types.count("integrity.verification_completed") >= 3
    ids = [item["id"] for item in server.admin.call("listVerifications").json["items"]]
    assert ids[:3] == [stream["id"], one["id"], run["id"]]
    first = server.admin.call("listVerifications", query={"limit": 2}).json
    rest = server.admin.call("listVerifications", query={"cursor": first["page"]["nextCursor"]}).json
    assert [item["id"] for item in (*first["items"], *rest["items"])] == ids


def test_what_is_not_there_cannot_be_verified(server: Server) -> None:
    """INT-06: unknown records, streams and runs are refused."""
    unknown = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
    for body, code in (
        ({"scope": "record", "id": unknown}, "EVENT_NOT_FOUND"),
        ({"scope": "stream", "stream": "no/such"}, "STREAM_NOT_FOUND"),
        ({"scope": "stream"}, "VALIDATION_FAILED"),
        ({"scope": "everything"}, "VALIDATION_FAILED"),
    ):
        assert server.admin.call("createVerification", json=body).code == code
    assert server.admin.call("getVerification", path={"id": unknown}).code == "VERIFICATION_NOT_FOUND"
    assert server.admin.call("listVerifications", query={"cursor": "bm9uc2Vuc2U"}).code == "CURSOR_INVALID"


def test_the_command_verifies_beside_the_running_server(server: Server) -> None:
    """INT-06: locally from the database, and by asking the server; exit code 0."""
    told = msgspec.json.decode(server.atp("verify", "--output", "json"))
    assert told["verified"]
    assert told["logs"][0]["values"]["verified"] >= 600
    assert "verified" in server.atp("verify", "--server")
    assert "verified" in server.atp("verify", "--tenant", "demo", "--stream", "document/doc-3")


def test_one_flipped_byte_names_the_position_and_the_record(tmp_path: Path) -> None:
    """The story of issue 2: flip a byte in the database file; verify names the place; exit code not 0."""
    own = Server(tmp_path, settings={"SELF_AUDIT_SECONDS": "0"}).start().lift_limits()
    send(own, 50)
    ulid = send_one(own)
    position = own.admin.call("getAuditEvent", path={"id": ulid}).json["position"]
    assert own.stop() == 0
    path = own.data / "atp.db"
    reader = open_reader(path)
    ((packed,),) = reader.execute("SELECT content FROM records WHERE position = ?", (position,)).fetchall()
    reader.close()
    content = bytearray(path.read_bytes())
    at = bytes(content).index(packed[:80]) + 60
    content[at] ^= 1
    path.write_bytes(content)
    report = own.atp("verify", code=1)
    assert f"position {position}, record {ulid}" in report
    own.start()
    run = verify(own)
    assert run["status"] == "failed"
    assert run["result"]["findings"][0]["position"] == position
    until(lambda: own.status()["lastVerification"]["status"] == "failed")
    assert own.stop() == 0


def test_the_self_audit_runs_by_itself(tmp_path: Path) -> None:
    """INT-06: a fresh server verifies every log without being asked."""
    own = Server(tmp_path, settings={"SELF_AUDIT_SECONDS": "3600"}).start()
    until(lambda: own.status()["lastVerification"])
    assert own.status()["lastVerification"]["status"] == "verified"
    assert own.stop() == 0


def test_record_hashes_are_those_of_the_header(server: Server) -> None:
    """INT-01: what the receipt proves is the hash of the header that the record shows."""

    ulid = send_one(server)
    header = server.admin.call("getAuditEvent", path={"id": ulid}).json["record"]["header"]
    assert sha256(canonical.encode(header)) == unb64u(proof(server, ulid).json["recordHash"])
