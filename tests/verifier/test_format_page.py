"""The worked example of docs/record-format.md is real: every byte in it is checked, and verify.py accepts it."""

import base64
import hashlib
import re
import subprocess
import sys
from pathlib import Path

from tests.verifier.builder import b64u, sha

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/record-format.md").read_text()
VERIFIER = ROOT / "src/atp/static/verify.py"


def blocks(kind: str) -> list[str]:
    fences = re.findall(r"^```([a-z-]*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return [body for language, body in fences if language == kind]


def verify(place: Path, *arguments: str) -> tuple[int, str]:
    command = [sys.executable, "-S", "-I", VERIFIER, *arguments]
    done = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout


def files(place: Path) -> None:
    (place / "p.tlog-proof").write_text(blocks("tlog-proof")[0])
    (place / "trust.txt").write_text(blocks("policy")[0])
    (place / "event.json").write_text(blocks("json")[0])
    (place / "receipt.cose").write_bytes(bytes.fromhex(blocks("cose")[0].replace("\n", "")))


def test_the_example_verifies_as_the_page_says(tmp_path: Path) -> None:
    """INT-05, INT-08: both receipts of the example."""
    files(tmp_path)
    code, out = verify(tmp_path, "--policy", "trust.txt", "p.tlog-proof", "event.json")
    assert (code, "/actor/name · verified" in out) == (0, True), out
    assert verify(tmp_path, "receipt", "--policy", "trust.txt", "receipt.cose", "event.json")[0] == 0
    (tmp_path / "event.json").write_text(blocks("json")[0].replace("Lovelace", "Lovelock"))
    assert verify(tmp_path, "--policy", "trust.txt", "p.tlog-proof", "event.json")[0] == 1


def test_the_bytes_and_hashes_of_the_example_are_right() -> None:
    """Disclosure, content, header, entry, leaf and root, with nothing but SHA-256 and the text of the page."""
    disclosure, content, header, leaves = (block.split("\n") for block in blocks(""))
    for lines in (disclosure, content):
        assert b64u(sha(lines[0].encode())) == lines[1]
        assert f"{len(lines[0].encode())} bytes" in PAGE
    assert disclosure[1] in content[0]
    assert content[1] in header[0]
    assert hashlib.sha256(header[0].encode()).hexdigest() == header[1]
    leaf = [bytes.fromhex(line) for line in (leaves[0], header[2], leaves[1])]
    assert sha(b"\x00" + bytes.fromhex(header[1])) == leaf[1]
    root = sha(b"\x01" + sha(b"\x01" + leaf[0] + leaf[1]) + leaf[2])
    assert blocks("tlog-proof")[0].split("\n\n")[1].split("\n")[2] in re.findall(
        r"is the root, (\S+)\.", PAGE
    )
    assert base64.b64encode(root).decode() in PAGE
