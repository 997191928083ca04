"""What a hostile file may try. The verifier is loaded as a module here, so that thousands of attempts are cheap."""

import contextlib
import importlib.util
import json
import re
import struct
from pathlib import Path
from types import ModuleType
from typing import Any

import cbor2
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from atp.kernel import canonical
from tests.verifier.builder import ORIGIN, Log, Signer, sample, sha


def load() -> ModuleType:
    path = Path(__file__).parents[2] / "src/atp/static/verify.py"
    spec = importlib.util.spec_from_file_location("stranger", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


VERIFIER = load()


class Desk:
    """A policy, a proof and an event in files, one of which is exchanged at a time."""

    def __init__(self, place: Path, log: Log, capsys: pytest.CaptureFixture[str], index: int = 17) -> None:
        self.place, self.capsys = place, capsys
        self.good = {
            "policy": log.policy().encode(), "proof": log.proof(index).encode(), "receipt": log.receipt(index),
            "event": json.dumps(log.records[index], ensure_ascii=False, separators=(",", ":")).encode(),
        }  # fmt: skip
        for name, blob in self.good.items():
            (place / name).write_bytes(blob)

    def run(self, mode: str = "proof") -> tuple[int, str]:
        arguments = ["receipt"] if mode == "receipt" else []
        files = [str(self.place / name) for name in ("policy", mode, "event")]
        code = VERIFIER.main([*arguments, "--policy", *files])
        return code, self.capsys.readouterr().out

    def change(self, name: str, blob: bytes, mode: str = "proof") -> tuple[int, str]:
        (self.place / name).write_bytes(blob)
        code, out = self.run(mode)
        (self.place / name).write_bytes(self.good[name])
        crash = re.search(r": (?!Unicode|Recursion)\w+(Error|Exception): ", out.partition("\n")[0])
        assert not crash, out
        return code, out

    def survivors(self, name: str, mode: str = "proof", step: int = 1) -> list[int]:
        """Offsets whose byte can be flipped without the verdict noticing."""
        blob, found = self.good[name], []
        for n in range(0, len(blob), step):
            flipped = blob[:n] + bytes([blob[n] ^ 1 << n % 8]) + blob[n + 1 :]
            if self.change(name, flipped, mode)[0] == 0:
                found.append(n)
        return found


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Desk:
    return Desk(tmp_path, sample(40), capsys)


def test_the_unchanged_files_verify(desk: Desk) -> None:
    """The control: without it, a verifier that refuses everything would pass all of this."""
    assert desk.run()[0] == 0
    assert desk.run("receipt")[0] == 0


@pytest.mark.parametrize(("name", "mode"), [("proof", "proof"), ("event", "proof"), ("event", "receipt")])
def test_no_byte_can_be_flipped(desk: Desk, name: str, mode: str) -> None:
    """INT-05, INT-08: every byte of a tlog-proof and of a record is covered, without exception."""
    assert desk.survivors(name, mode) == []


def test_in_a_cose_receipt_only_the_tree_size_is_free(desk: Desk) -> None:
    """INT-05: RFC 9942 signs the root and not the size, so a size of the same shape goes unnoticed.

    The report therefore calls it stated and not signed, and everything else is covered.
    """
    receipt = desk.good["receipt"]
    size = receipt.index(b"\x83\x18\x28\x11") + 2
    assert desk.survivors("receipt", "receipt") == [size]
    assert "sizeStatedNotSigned" in desk.run("receipt")[1]


def test_flipping_the_policy_trusts_nobody_else(desk: Desk) -> None:
    """A comment and the name of the quorum's absence are all that may change; the key is covered by its id."""
    text = desk.good["policy"]
    free = [n for n in desk.survivors("policy") if not text[:n].rpartition(b"\n")[2].startswith(b"#")]
    assert free == [], [text[n - 5 : n + 5] for n in free]


def test_the_bytes_outside_any_record_are_not_covered_and_change_nothing(desk: Desk) -> None:
    """White space, the order of members, and what surrounds `record` in the body of GET: parsed, never trusted."""
    record = json.loads(desk.good["event"])
    turned = dict(reversed(record.items())) | {"header": dict(reversed(record["header"].items()))}
    body = json.dumps({"id": "forged", "actor": {"name": "forged"}, "record": turned}, indent=3)
    code, out = desk.change("event", body.encode())
    assert code == 0
    assert "forged" not in out


def test_signature_lines_of_unknown_keys_are_ignored_and_said_to_be(tmp_path: Path, capsys: Any) -> None:
    """C2SP signed-note: a line whose name or id no key of the policy has MUST be ignored, and proves nothing."""
    log = sample(40, Signer(ORIGIN, 1, b"log"), Signer(ORIGIN, 6, b"pq"))
    desk = Desk(tmp_path, log, capsys)
    proof = desk.good["proof"]
    line = proof.rindex("— ".encode())
    name = range(line + 4, line + 4 + len(ORIGIN))
    key_id = range(name.stop + 1, name.stop + 1 + 6)  # 4 bytes in base64; the sixth character shares bits.
    for n in [*range(line, line + 150), *range(line + 150, len(proof), 31)]:
        code, out = desk.change("proof", proof[:n] + bytes([proof[n] ^ 1]) + proof[n + 1 :])
        if code == 0:
            assert n in name or n in key_id, (n, out)
            assert "unknown key, ignored" in out


def test_any_truncation_is_refused(desk: Desk) -> None:
    for name, mode in (("proof", "proof"), ("event", "proof"), ("receipt", "receipt"), ("policy", "proof")):
        for n in range(0, len(desk.good[name]) - 1, 3):
            assert desk.change(name, desk.good[name][:n], mode)[0] != 0, (name, n)


EVENTS = {
    "empty": b"", "not utf-8": b'{"a":"\xff"}', "bom": b"\xef\xbb\xbf{}", "nan": b'{"a":NaN}', "infinity": b'{"a":-Infinity}',
    "twice": b'{"header":{},"header":{}}', "deep": b"[" * 200_000, "deep object": b'{"a":' * 100_000,
    "deep closed": b"[" * 50_000 + b"]" * 50_000, "digits": b"1" * 100_000, "trailing": b"{} {}", "array": b"[]",
    "null": b"null", "text": b'"x"', "large": b" " * (5 << 20), "open string": b'"' + b'\\"' * 100_000, "nul": b"\0",
}  # fmt: skip


@pytest.mark.parametrize("name", EVENTS)
def test_what_is_no_record_is_bad_input(desk: Desk, name: str) -> None:
    assert desk.change("event", EVENTS[name])[0] == 2


@pytest.mark.parametrize("payload", [
    '"\\ud800"', "1e999", "-1e999", '{"\\ud800":1}', "[" * 900 + "]" * 900, "9" * 4300, '{"~sealed":[]}',
    '{"~sealed":"x","y":1}', '{"~sealed":null}', '{"~sealed":{}}', '{"a~b/c":{"~sealed":"x"}}',
])  # fmt: skip
def test_what_cannot_have_been_recorded_is_refused(desk: Desk, payload: str) -> None:
    text = re.sub(rb'"payload":\{.*?\}', lambda _: b'"payload":' + payload.encode(), desk.good["event"])
    assert desk.change("event", text)[0] in (1, 2)


@pytest.mark.parametrize(
    "findings", ["{}", "[1]", "[[]]", '[["/a","b","c","d"]]', "[[1,2,3,4,5]]", "[[[],[],[],[],[]]]", "null"]
)
def test_findings_of_any_shape_do_no_harm(tmp_path: Path, capsys: Any, findings: str) -> None:
    """A log may have signed nonsense; the verifier still answers in a sentence."""
    log = Log()
    body = json.loads(json.dumps(sample(1).records[0]["content"]))
    body["classification"]["findings"] = json.loads(findings)
    log.append(body)
    desk = Desk(tmp_path, log, capsys, 0)
    assert desk.change("event", desk.good["event"])[0] in (0, 1, 2)


PROOFS = {
    "index": lambda p: p.replace(b"index 17", b"index 017"), "sign": lambda p: p.replace(b"index 17", b"index +17"),
    "beyond": lambda p: p.replace(b"index 17", b"index 40"), "huge": lambda p: p.replace(b"index 17", b"index " + b"9" * 50),
    "size": lambda p: p.replace(b"\n40\n", b"\n040\n"), "crlf": lambda p: p.replace(b"\n", b"\r\n"),
    "hashes": lambda p: p.replace(b"index 17\n", b"index 17\n" + b"AAAA\n" * 100), "twice": lambda p: p + p,
    "extra": lambda p: p.replace(b"index", b"extra !\nindex"), "lines": lambda p: p + p[p.rindex(b"\n\xe2") + 1 :] * 80,
    "other": lambda p: p.replace(b"@v1", b"@v2"), "no newline": lambda p: p[:-1], "unsigned": lambda p: p[: p.rindex(b"\xe2")],
}  # fmt: skip


@pytest.mark.parametrize("name", PROOFS)
def test_a_malformed_proof_is_refused(desk: Desk, name: str) -> None:
    changed = PROOFS[name](desk.good["proof"])
    assert changed != desk.good["proof"]
    assert desk.change("proof", changed)[0] in (1, 2)


def test_extra_data_in_a_proof_is_allowed_and_not_trusted(desk: Desk) -> None:
    assert desk.change("proof", desk.good["proof"].replace(b"index", b"extra Zm9yZ2Vk\nindex"))[0] == 0


def test_a_signature_line_of_sixteen_strangers_is_no_obstacle(desk: Desk) -> None:
    """C2SP signed-note: at least 16 signatures must be accepted."""
    strangers = "".join(Signer(f"s{n}.example", 4, b"%d" % n).line(b"x") for n in range(16))
    assert desk.change("proof", desk.good["proof"] + strangers.encode())[0] == 0


RECEIPTS = {
    "deep": b"\x81" * 5000, "long array": b"\x9b" + b"\xff" * 8, "long bytes": b"\x5b" + b"\xff" * 8,
    "indefinite": b"\x9f\xff", "tag": b"\xd2\x84\x40\xa0\xf6\x40", "empty": b"", "float": b"\xfb" + bytes(8),
    "reserved": b"\x1c", "not shortest": b"\x18\x01", "untagged": cbor2.dumps([b"", {}, None, b""]),
    "map twice": b"\xa2\x01\x01\x01\x02", "unhashable key": b"\xa1\x80\x01", "text": cbor2.dumps("x"),
    "nested tag": b"\xd2" * 50, "utf8": b"\x61\xff",
}  # fmt: skip


@pytest.mark.parametrize("name", RECEIPTS)
def test_malformed_cbor_is_bad_input(desk: Desk, name: str) -> None:
    assert desk.change("receipt", RECEIPTS[name], "receipt")[0] == 2


@given(st.binary(max_size=300))
@settings(max_examples=300, deadline=None)
def test_no_bytes_crash_the_cbor_decoder(blob: bytes) -> None:
    """Either a value, or the one kind of failure the verifier has."""
    with contextlib.suppress(VERIFIER.Failure):
        VERIFIER.parse_receipt(blob)


# ── the parts that replace libraries ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("bits", "text"), [
    (0x0000000000000000, "0"), (0x8000000000000000, "0"), (0x0000000000000001, "5e-324"), (0x8000000000000001, "-5e-324"),
    (0x7FEFFFFFFFFFFFFF, "1.7976931348623157e+308"), (0x4340000000000000, "9007199254740992"),
    (0x4430000000000000, "295147905179352830000"), (0x44B52D02C7E14AF5, "9.999999999999997e+22"),
    (0x44B52D02C7E14AF6, "1e+23"), (0x44B52D02C7E14AF7, "1.0000000000000001e+23"), (0x444B1AE4D6E2EF4E, "999999999999999700000"),
    (0x444B1AE4D6E2EF4F, "999999999999999900000"), (0x444B1AE4D6E2EF50, "1e+21"), (0x3EB0C6F7A0B5ED8C, "9.999999999999997e-7"),
    (0x3EB0C6F7A0B5ED8D, "0.000001"), (0x41B3DE4355555553, "333333333.3333332"), (0x41B3DE4355555557, "333333333.33333343"),
    (0xBECBF647612F3696, "-0.0000033333333333333333"), (0x43143FF3C1CB0959, "1424953923781206.2"),
])  # fmt: skip
def test_numbers_are_written_as_rfc_8785_wants(bits: int, text: str) -> None:
    """The samples of RFC 8785 appendix B."""
    number = struct.unpack(">d", bits.to_bytes(8, "big"))[0]
    assert VERIFIER.canonical(number) == text.encode()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda item: st.lists(item, max_size=5) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), item, max_size=5),
    max_leaves=30,
)  # fmt: skip


@given(JSON)
@settings(max_examples=300, deadline=None)
def test_two_implementations_of_canonical_json_agree(value: Any) -> None:
    """The server's and the verifier's share no line; parsing and writing again changes nothing."""
    written = VERIFIER.canonical(value)
    assert written == canonical.encode(value)
    assert VERIFIER.canonical(VERIFIER.parse_json(written, "x")) == written


@given(st.binary(min_size=32, max_size=32), st.binary(max_size=200), st.integers(0, 511))
@settings(max_examples=60, deadline=None)
def test_ed25519_agrees_with_a_library(seed: bytes, message: bytes, bit: int) -> None:
    """RFC 8032: valid signatures pass; one flipped bit, another message or an unreduced S does not."""
    key = Ed25519PrivateKey.from_private_bytes(seed)
    public, signature = key.public_key().public_bytes_raw(), key.sign(message)
    assert VERIFIER.ed25519_verifies(public, signature, message)
    flipped = bytearray(signature)
    flipped[bit // 8] ^= 1 << bit % 8
    assert not VERIFIER.ed25519_verifies(public, bytes(flipped), message)
    assert not VERIFIER.ed25519_verifies(public, signature, message + b"x")
    order = 2**252 + 27742317777372353535851937790883648493
    s = int.from_bytes(signature[32:], "little") + order
    assert not VERIFIER.ed25519_verifies(public, signature[:32] + s.to_bytes(32, "little"), message)


def test_ed25519_knows_the_vectors_of_the_rfc() -> None:
    """RFC 8032 section 7.1, tests 1 and 2."""
    for public, message, signature in [
        ("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a", "",
         "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"),
        ("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c", "72",
         "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"),
    ]:  # fmt: skip
        key, text, sig = bytes.fromhex(public), bytes.fromhex(message), bytes.fromhex(signature)
        assert VERIFIER.ed25519_verifies(key, sig, text)
        assert not VERIFIER.ed25519_verifies(sha(key), sig, text)


def test_the_terminal_is_safe_from_what_is_printed(desk: Desk) -> None:
    """Control characters of a hostile file are shown as escapes, long ones are cut."""
    code, out = desk.change("event", b'{"header":{"format":"\\u001b[2J' + b"x" * 9000 + b'"}}')
    assert code == 2
    assert "\x1b" not in out
    assert len(out) < 500
