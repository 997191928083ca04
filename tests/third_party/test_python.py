"""Libraries from the ordinary registry check our trees and receipts; our own verifier reads the same URL."""

import base64
import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cbor2
import pymerkle
import pytest
from pycose.keys import OKPKey
from pycose.messages import Sign1Message

from tests.third_party.conftest import LiveLog

VERIFIER = Path(__file__).parents[2] / "src/atp/static/verify.py"


def tree_over_http(url: str) -> tuple[pymerkle.InmemoryTree, str]:
    """All entries of the log, hashed by pymerkle, and the root that the checkpoint states."""
    with urllib.request.urlopen(f"{url}/checkpoint", timeout=10) as answer:
        _, size, root = answer.read().decode().split("\n")[:3]
    tree = pymerkle.InmemoryTree("sha256")
    for n in range(0, int(size), 256):
        width = min(256, int(size) - n)
        path = f"{n // 256:03d}" + (f".p/{width}" if width < 256 else "")
        with urllib.request.urlopen(f"{url}/tile/entries/{path}", timeout=10) as answer:
            bundle = answer.read()
        for at in range(0, len(bundle), 34):
            assert bundle[at : at + 2] == b"\x00\x20"
            tree.append_entry(bundle[at + 2 : at + 34])
    return tree, root


def cose_verifies(receipt: bytes, root: bytes, vkey: str) -> bool:
    """pycose checks the COSE_Sign1 over the root, which the receipt leaves out."""
    protected, unprotected, payload, signature = cbor2.loads(receipt).value
    # What Sign1Message.decode does, which stumbles over the immutable maps that cbor2 6 gives inside a tag.
    message = Sign1Message.from_cose_obj([protected, dict(unprotected), payload, signature], True)
    message.key = OKPKey(crv="ED25519", x=base64.b64decode(vkey.split("+", 2)[2])[1:])
    return bool(message.verify_signature(detached_payload=root))


def test_pymerkle_gives_the_signed_root_and_the_same_proofs(live_log: LiveLog) -> None:
    """INT-02, INT-04, INT-05: tree, inclusion paths and verification of RFC 9162 by a library that is not ours."""
    tree, stated = tree_over_http(live_log.url)
    assert base64.b64encode(tree.get_root()).decode() == stated
    assert tree.get_root(live_log.old_size) == live_log.old_root
    for index, entry in live_log.hashes.items():
        proof = tree.prove_inclusion(index + 1)
        handed_out = live_log.proof(index).partition("\n\n")[0].split("\n")[2:]
        assert [base64.b64decode(line) for line in handed_out] == proof.path[1:]
        proof.path[1:] = [base64.b64decode(line) for line in handed_out]
        pymerkle.verify_inclusion(tree.hash_buff(entry), base64.b64decode(stated), proof)
        with pytest.raises(pymerkle.InvalidProof):
            pymerkle.verify_inclusion(tree.hash_buff(bytes(32)), base64.b64decode(stated), proof)


def test_pymerkle_fails_on_a_corrupted_log(live_log: LiveLog, through: Callable[..., Any]) -> None:
    with through("tile/entries/001", lambda b: b[:70] + bytes([b[70] ^ 1]) + b[71:]) as url:
        tree, stated = tree_over_http(url)
    assert base64.b64encode(tree.get_root()).decode() != stated


def test_pycose_verifies_the_receipt_over_the_root_it_proves(live_log: LiveLog) -> None:
    """INT-05: RFC 9942; the signature by pycose, the path compared with pymerkle's."""
    tree, _ = tree_over_http(live_log.url)
    for index in live_log.hashes:
        receipt = live_log.receipt(index)
        size, stated, path = cbor2.loads(cbor2.loads(receipt).value[1][396][-1][0])
        assert (stated, list(path)) == (index, tree.prove_inclusion(index + 1, size).path[1:])
        assert cose_verifies(receipt, tree.get_root(size), live_log.vkey)


def test_pycose_refuses_a_changed_receipt(live_log: LiveLog) -> None:
    """INT-05: another root, another header, another signature."""
    receipt = live_log.receipt(17)
    root = tree_over_http(live_log.url)[0].get_root()
    assert cose_verifies(receipt, root, live_log.vkey)
    assert not cose_verifies(receipt, bytes(32), live_log.vkey)
    protected, unprotected, _, signature = cbor2.loads(receipt).value
    header = cbor2.dumps({**cbor2.loads(protected), 15: {1: "other.example"}})
    for changed in (
        [header, dict(unprotected), None, signature],
        [protected, dict(unprotected), None, bytes(64)],
    ):
        assert not cose_verifies(cbor2.dumps(cbor2.CBORTag(18, changed)), root, live_log.vkey)


def verify(place: Path, log: LiveLog, url: str) -> tuple[int, str]:
    (place / "trust.txt").write_text(log.policy)
    command = [sys.executable, "-S", "-I", VERIFIER, "log", "--policy", place / "trust.txt", url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout


def test_our_verifier_reads_the_log_over_http(live_log: LiveLog, tmp_path: Path) -> None:
    """INT-04, INT-08: the control for the corruptions below."""
    code, out = verify(tmp_path, live_log, live_log.url)
    assert code == 0, out


@pytest.mark.parametrize(
    "path", ["checkpoint", "tile/0/000", "tile/0/002.p/188", "tile/1/000.p/2", "tile/entries/001"]
)
def test_our_verifier_fails_on_a_corrupted_log(
    live_log: LiveLog, tmp_path: Path, through: Callable[..., Any], path: str
) -> None:
    with through(path, lambda b: b[:70] + bytes([b[70] ^ 1]) + b[71:] if len(b) > 70 else b[1:]) as url:
        code, out = verify(tmp_path, live_log, url)
    assert code in (1, 2), out


def test_our_verifier_accepts_what_the_server_hands_out(live_log: LiveLog, tmp_path: Path) -> None:
    """INT-05, INT-08: proof and record as given, for first, last and tile borders."""
    (tmp_path / "trust.txt").write_text(live_log.policy)
    for index, record in live_log.records.items():
        (tmp_path / "p").write_text(live_log.proof(index))
        (tmp_path / "e").write_text(json.dumps(record))
        files = [tmp_path / "trust.txt", tmp_path / "p", tmp_path / "e"]
        command = [sys.executable, "-S", "-I", VERIFIER, "--policy", *files]
        assert subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0
