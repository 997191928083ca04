"""The offline verifier, run as a stranger runs it: one file, an isolated Python, nothing of ours in reach."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.verifier.builder import ORIGIN, Log, Signer, content, personal, platform, sample, seal

VERIFIER = Path(__file__).parents[2] / "src/atp/static/verify.py"

# Refuses what must not be needed, before the verifier runs in the same interpreter.
BLOCKED = """
import runpy, sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("atp", "cryptography", "cbor2", "nacl"):
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def run(*arguments: object, alone: bool = True) -> tuple[int, str]:
    """Exit code and what was printed; `alone` is standard library only."""
    start = [sys.executable, "-S", "-I", "-c", BLOCKED] if alone else [sys.executable]
    done = subprocess.run(
        [*start, str(VERIFIER), *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout


@pytest.fixture
def log() -> Log:
    return sample(40)


class Desk:
    """The files a stranger was given."""

    def __init__(self, place: Path, log: Log) -> None:
        self.place, self.log = place, log
        self.policy = self.put("trust.txt", log.policy())

    def put(self, name: str, content: str | bytes) -> Path:
        path = self.place / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def check(
        self, index: int = 17, *, proof: str = "", event: object = None, alone: bool = True
    ) -> tuple[int, str]:
        body = event if event is not None else {"id": "x", "record": self.log.records[index]}
        return run(
            "--policy", self.policy, self.put("p.tlog-proof", proof or self.log.proof(index)),
            self.put("event.json", json.dumps(body)), alone=alone,
        )  # fmt: skip

    def export(self, *options: object, lines: bytes | None = None) -> tuple[int, str]:
        records = self.put("records.jsonl", self.log.jsonl() if lines is None else lines)
        return run(
            "log", "--policy", self.policy, self.log.publish(self.place), "--records", records, *options
        )


@pytest.fixture
def desk(tmp_path: Path, log: Log) -> Desk:
    return Desk(tmp_path, log)


# ── one record ───────────────────────────────────────────────────────────────────────────────────────────


def test_the_standard_library_alone_checks_a_receipt(desk: Desk) -> None:
    """INT-08: no site packages, and imports of `atp` and `cryptography` blocked."""
    code, out = desk.check()
    assert code == 0, out
    assert out.startswith("VERIFIED")
    for said in (ORIGIN, "01J00000000000000000000017", "/actor/name · verified", "/actor/email · masked",
                 "/actor/id · hashed", "/payload/token · dropped"):  # fmt: skip
        assert said in out


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 9, 40])
def test_every_record_of_trees_of_many_shapes_verifies(tmp_path: Path, size: int) -> None:
    """INT-02: inclusion proofs of full, ragged and single-leaf trees."""
    desk = Desk(tmp_path, sample(size))
    for index in {0, size // 2, size - 1}:
        assert desk.check(index)[0] == 0


def test_the_record_alone_and_the_body_that_holds_it_are_the_same(desk: Desk) -> None:
    assert desk.check(event=desk.log.records[17])[0] == 0


def test_json_output_says_the_same(desk: Desk) -> None:
    desk.check()
    code, out = run("--json", "--policy", desk.policy, desk.place / "p.tlog-proof", desk.place / "event.json")
    report = json.loads(out)
    assert (code, report["verified"], report["log"], report["size"]) == (0, True, ORIGIN, 40)
    assert report["record"]["position"] == 17
    assert {f["pointer"]: f["status"] for f in report["record"]["fields"]}["/context/ip"] == "verified"


def test_a_sealed_value_without_its_disclosure_is_withheld(desk: Desk) -> None:
    """INT-09: the proof stays valid; one of two disclosures may be kept back."""
    record = desk.log.records[17]
    code, out = desk.check(event={**record, "disclosures": record["disclosures"][:1]})
    assert code == 0
    assert "/context/ip · withheld" in out
    assert "/actor/name · verified" in out


def test_another_value_than_the_sealed_one_is_named(desk: Desk) -> None:
    record = desk.log.records[17]
    salt, pointer, _ = record["disclosures"][0]
    code, out = desk.check(event={**record, "disclosures": [[salt, pointer, "Mallory"]]})
    assert (code, "/actor/name" in out, "position 17" in out) == (1, True, True)


def test_a_disclosure_of_what_is_not_sealed_is_refused(desk: Desk) -> None:
    record = desk.log.records[17]
    code, out = desk.check(event={**record, "disclosures": [["A" * 22, "/payload/text", "x"]]})
    assert (code, "/payload/text" in out) == (1, True)


def test_the_clear_text_of_a_hashed_value_is_never_called_verified(desk: Desk) -> None:
    record = desk.log.records[17]
    extra = ["A" * 22, "/actor/id", "mallory@example.com"]
    code, out = desk.check(event={**record, "disclosures": [*record["disclosures"], extra]})
    assert code == 0
    assert "/actor/id · hashed; the value given is not proven" in out


def test_findings_that_overlap_are_no_false_alarm(tmp_path: Path) -> None:
    """INT-09: the strongest method of a place counts, what is inside a replaced value is covered by it, a dropped
    element of an array leaves null, and a stream named by the producer is hashed in the header.
    """
    log = sample(1)
    findings = [
        ["/payload/list/0", "jwt", "high", "value", "drop"], ["/payload/gone", "secret", "high", "name", "drop"],
        ["/payload/gone/inner", "email", "high", "value", "seal"], ["/actor/id", "email", "high", "value", "hash"],
        ["/actor/id", "person_name", "low", "name", "mask"], ["/stream", "email", "high", "value", "hash"],
        ["/payload/geo", "geo", "high", "name", "seal"], ["/payload/geo/lat", "geo", "low", "name", "mask"],
    ]  # fmt: skip
    geo, shown = seal("/payload/geo", {"lat": 1, "lon": 2}, 5)
    body = content(
        1, findings, payload={"list": [None, "x"], "geo": geo}, actor={"type": "user", "id": "~hmac:x"}
    )
    stream = ["A" * 22, "/stream", "user/ada@example.com"]
    log.append(body, [shown, stream], stream="user/~hmac:x")
    code, out = Desk(tmp_path, log).check(1)
    assert code == 0, out
    for said in ("/payload/list/0 · dropped", "/payload/gone · dropped", "/actor/id · hashed · email",
                 "/stream · hashed; the value given is not proven", "/payload/geo · verified"):  # fmt: skip
        assert said in out
    assert "inner" not in out


def test_a_record_without_content_raises_an_alarm(desk: Desk) -> None:
    """INT-09: nothing in a single receipt can explain the absence."""
    code, out = desk.check(event={"header": desk.log.records[17]["header"]})
    assert (code, "missing" in out) == (1, True)


def test_a_finding_whose_value_is_gone_raises_an_alarm(tmp_path: Path) -> None:
    """INT-09: a value the classification knew, neither there nor sealed nor dropped."""
    log = sample(3)
    log.append(content(3, [["/actor/name", "person_name", "high", "field", "seal"]]))
    code, out = Desk(tmp_path, log).check(3)
    assert (code, "/actor/name missing" in out) == (1, True)


def test_the_record_of_another_position_is_refused(desk: Desk) -> None:
    code, out = desk.check(event=desk.log.records[18], proof=desk.log.proof(17))
    assert (code, "position 18" in out, "index 17" in out) == (1, True, True)


@pytest.mark.parametrize(("path", "value"), [
    (("content", "outcome"), "failure"), (("content", "payload", "big"), 18446744073709551614),
    (("content", "payload", "n"), 17.5), (("header", "recordedAt"), "2026-11-21T10:00:18.000000Z"),
    (("header", "tenant"), "other"), (("header", "previousHash"), None), (("header", "streamVersion"), 7),
])  # fmt: skip
def test_any_changed_member_is_found(desk: Desk, path: tuple[str, ...], value: object) -> None:
    """INT-02, INT-05: header and content are covered whole; big integers to their last digit."""
    record = json.loads(json.dumps(desk.log.records[17]))
    place = record
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    code, out = desk.check(event=record)
    assert (code, out.startswith("NOT VERIFIED")) == (1, True)


# ── checkpoint, keys, policy ─────────────────────────────────────────────────────────────────────────────

WITNESSES = [Signer(f"witness{n}.example/w", 4, b"w%d" % n) for n in range(3)]


def test_a_quorum_of_witnesses_is_demanded(desk: Desk) -> None:
    """INT-03: two of three, counted by key and not by line."""
    lines = [f"witness W{n} {w.vkey}" for n, w in enumerate(WITNESSES)] + ["group all-of-us 2 W0 W1 W2"]
    desk.policy = desk.put("trust.txt", desk.log.policy(*lines, quorum="all-of-us"))
    assert desk.check(proof=desk.log.proof(17, None, WITNESSES[0], WITNESSES[2]))[0] == 0
    code, out = desk.check(proof=desk.log.proof(17, None, WITNESSES[0], WITNESSES[0]))
    assert (code, "quorum" in out) == (1, True)
    assert desk.check()[0] == 1


def test_nested_groups_count_as_their_members_do(desk: Desk) -> None:
    lines = [f"witness W{n} {w.vkey}" for n, w in enumerate(WITNESSES)]
    lines += ["group a any W0 W1", "group b all a W2"]
    desk.policy = desk.put("trust.txt", desk.log.policy(*lines, quorum="b"))
    assert desk.check(proof=desk.log.proof(17, None, WITNESSES[1], WITNESSES[2]))[0] == 0
    assert desk.check(proof=desk.log.proof(17, None, WITNESSES[0], WITNESSES[1]))[0] == 1


def test_a_post_quantum_signature_is_checked_where_it_can_be(tmp_path: Path) -> None:
    """INT-03: ML-DSA-44 by `cryptography`; without it, said and not counted."""
    desk = Desk(tmp_path, sample(20, Signer(ORIGIN, 1, b"log"), Signer(ORIGIN, 6, b"pq")))
    code, out = desk.check(alone=False)
    assert code == 0
    assert "verified · log · ML-DSA-44 cosignature" in out
    code, out = desk.check()
    assert code == 0
    assert "not checked · log · ML-DSA-44 cosignature" in out
    only = Desk(tmp_path, sample(20, Signer(ORIGIN, 6, b"pq")))
    assert only.check(alone=False)[0] == 0
    code, out = only.check()
    assert (code, "install cryptography" in out) == (1, True)


def test_a_forged_post_quantum_signature_rejects_the_whole_note(tmp_path: Path) -> None:
    log = sample(20, Signer(ORIGIN, 1, b"log"), Signer(ORIGIN, 6, b"pq"))
    proof = log.proof(17)
    code, out = Desk(tmp_path, log).check(
        proof=proof[:-40] + ("A" if proof[-40] != "A" else "B") + proof[-39:], alone=False
    )
    assert (code, "ML-DSA-44" in out) == (1, True)


def test_a_rotated_key_is_accepted_beside_the_old_one(tmp_path: Path) -> None:
    """INT-03: during an overlap the policy lists both keys, the checkpoint may be signed by either."""
    old, new = Signer(ORIGIN, 1, b"old"), Signer(ORIGIN, 1, b"new")
    desk = Desk(tmp_path, sample(9, old, new))
    assert desk.check(3)[0] == 0
    desk.log.signers = [new]
    assert desk.check(3)[0] == 0
    desk.log.signers = [Signer(ORIGIN, 1, b"stranger")]
    assert desk.check(3)[0] == 1


def test_a_log_the_policy_does_not_know_is_refused(desk: Desk) -> None:
    other = Log(Signer("other.example/tlog/x", 1, b"log"), origin="other.example/tlog/x")
    desk.policy = desk.put("trust.txt", other.policy())
    code, out = desk.check()
    assert (code, ORIGIN in out) == (1, True)


W = WITNESSES[0].vkey


@pytest.mark.parametrize("lines", [
    "", "quorum none", "{log}\n", "{log}\nquorum none\nquorum none\n", "{log}\nquorum W\n", "{log}\n{log}\nquorum none",
    "{log}\nwitness none " + W + "\nquorum none", "{log}\nwitness W " + W + "\nwitness V " + W + "\nquorum W",
    "{log}\nwitness W " + W + "\ngroup g 2 W\nquorum g", "{log}\nwitness W " + W + "\ngroup g 0 W\nquorum g",
    "{log}\nwitness W " + W + "\ngroup g any W W\nquorum g", "{log}\ngroup g any h\nquorum g", "{log}\nfoo\nquorum none",
    "{log}\nwitness W " + W + "\ngroup g any W\ngroup h any W\nquorum h", "{log}\nquorum none\x00",
    "log bad+00000000+AAAA\nquorum none", "{log}x\nquorum none", "{log}\nwitness W {log2}\nquorum W",
])  # fmt: skip
def test_a_policy_that_is_not_one_is_refused(desk: Desk, lines: str) -> None:
    """C2SP tlog-policy: what is malformed, undefined or listed twice never weakens the check."""
    vkey = desk.log.signers[0].vkey
    desk.policy = desk.put("trust.txt", lines.replace("{log}", f"log {vkey}").replace("{log2}", vkey))
    code, out = desk.check()
    assert (code, "policy" in out) == (2, True), out


def test_comments_tabs_and_urls_in_a_policy_are_allowed(desk: Desk) -> None:
    text = f" # ünïcode\n\n\tlog\t {desk.log.signers[0].vkey}  https://log.example/ \nquorum none"
    desk.policy = desk.put("trust.txt", text)
    assert desk.check()[0] == 0


# ── consistency ──────────────────────────────────────────────────────────────────────────────────────────


def consistency(desk: Desk, old: str, new: str, proof: str) -> tuple[int, str]:
    return run(
        "consistency",
        "--policy",
        desk.policy,
        desk.put("old", old),
        desk.put("new", new),
        desk.put("c", proof),
    )


def test_consistency_holds_between_any_two_sizes(desk: Desk) -> None:
    """INT-02: every pair of a small tree, powers of two and not."""
    for old, new in [(0, 40), (1, 2), (1, 40), (7, 8), (8, 40), (13, 40), (32, 33), (39, 40), (40, 40)]:
        code, out = consistency(
            desk,
            desk.log.checkpoint(old),
            desk.log.checkpoint(new),
            desk.log.consistency(old, new) if old else "",
        )
        assert code == 0, (old, new, out)


def test_a_rewritten_log_is_not_consistent(desk: Desk) -> None:
    """INT-02: the same key signed both, and yet the second does not contain the first."""
    other = sample(12)
    other.append(content(99))
    for _ in range(27):
        other.append(content(1))
    assert consistency(desk, desk.log.checkpoint(13), other.checkpoint(), other.consistency(13))[0] == 1
    assert consistency(desk, desk.log.checkpoint(40), other.checkpoint(), "")[0] == 1
    assert consistency(desk, desk.log.checkpoint(40), desk.log.checkpoint(13), "")[0] == 1
    proof = desk.log.consistency(13).splitlines(keepends=True)
    for wrong in (proof[1:], proof[:-1], [*proof, proof[0]], proof[::-1]):
        assert consistency(desk, desk.log.checkpoint(13), desk.log.checkpoint(), "".join(wrong))[0] == 1


# ── the whole log and its export ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("size", [0, 1, 255, 256, 257, 600])
def test_a_whole_log_is_recomputed_from_its_entries(tmp_path: Path, size: int) -> None:
    """INT-04: tiles, bundles and checkpoint of full and partial widths, and the records behind them."""
    desk = Desk(tmp_path, sample(size))
    code, out = desk.export()
    assert code == 0, out
    assert f"{size}" in out


def test_three_levels_of_tiles_are_recomputed(tmp_path: Path) -> None:
    """The example of tlog-tiles: 70,000 leaves make tiles of levels 0, 1 and 2."""
    log = Log()
    log.entries = [b"entry %d" % n for n in range(70_000)]
    desk = Desk(tmp_path, log)
    log.publish(tmp_path)
    assert (tmp_path / "tile/0/273.p/112").exists()
    assert (tmp_path / "tile/2/000.p/1").exists()
    assert run("log", "--policy", desk.policy, tmp_path)[0] == 0
    tile = tmp_path / "tile/1/001.p/17"
    tile.write_bytes(tile.read_bytes()[:-1] + b"?")
    code, out = run("log", "--policy", desk.policy, tmp_path)
    assert (code, "tile/1/001.p/17" in out, "position 69632" in out) == (1, True, True)


@pytest.mark.parametrize(
    "name", ["tile/0/000", "tile/0/001.p/44", "tile/1/000.p/1", "tile/entries/000", "tile/entries/001.p/44"]
)
def test_a_changed_lost_or_cut_tile_is_named(tmp_path: Path, name: str) -> None:
    """INT-04: every file of the log is covered."""
    desk = Desk(tmp_path, sample(300))
    path = desk.log.publish(tmp_path) / name
    whole = path.read_bytes()
    for broken in (whole[:40] + b"?" + whole[41:], whole[:-1], whole + b"\0", b""):
        path.write_bytes(broken)
        code, out = run("log", "--policy", desk.policy, tmp_path)
        assert (code, out.startswith("NOT VERIFIED")) == (1, True), out
    path.unlink()
    code, out = run("log", "--policy", desk.policy, tmp_path)
    assert (code, f"{name} is missing" in out) == (1, True)


def test_a_full_tile_stands_in_for_a_partial_one_that_was_deleted(tmp_path: Path) -> None:
    """C2SP tlog-tiles: a log may delete a partial tile once the full one is there."""
    desk = Desk(tmp_path, sample(600))
    desk.log.publish(tmp_path, 600, 300)
    for level in ("0", "entries"):
        (tmp_path / f"tile/{level}/001.p/44").unlink()
    assert run("log", "--policy", desk.policy, tmp_path)[0] == 0


@pytest.mark.parametrize(("change", "said"), [
    (lambda lines: lines[:5] + lines[6:], "position 5 is missing"),
    (lambda lines: [*lines[:5], lines[6], lines[5], *lines[7:]], "position 5 is missing"),
    (lambda lines: [*lines[:6], lines[5], *lines[6:]], "position 6 is given twice"),
    (lambda lines: [*lines, lines[0]], "no such position"),
    (lambda lines: [*lines[:5], lines[5].replace(b"success", b"failure"), *lines[6:]], "position 5"),
    (lambda lines: lines[:-1], "position 39 is missing"),
])  # fmt: skip
def test_an_export_that_lost_or_moved_a_record_is_refused(desk: Desk, change: object, said: str) -> None:
    """INT-02, INT-09: deleted, reordered, repeated, added, changed, rolled back; the position is named."""
    lines = desk.log.jsonl().splitlines(keepends=True)
    code, out = desk.export(lines=b"".join(change(lines)))  # type: ignore[operator]
    assert (code, said in out) == (1, True), out


def test_a_broken_chain_is_found_even_where_the_tree_is_right(tmp_path: Path) -> None:
    """INT-01: the log's operator signed a record that does not follow its predecessor in the stream."""
    log = sample(3)
    log.streams["document/d1"] = (1, "A" * 43)
    log.append(content(3), stream="document/d1")
    code, out = Desk(tmp_path, log).export()
    assert (code, "chain of stream document/d1" in out) == (1, True)


def erased(log: Log, *, kind: str = "platform", subject: str = "S" * 16) -> Log:
    body, _ = personal(1, subject="S" * 16)
    log.append(body)
    explanation = platform("data_subject.erased", {"subjects": [subject]})
    log.append({**explanation, "kind": kind})
    return log


def test_erased_data_is_explained_by_a_later_platform_record(tmp_path: Path) -> None:
    """INT-09: erasure leaves every proof valid, and the report names the record that explains it."""
    code, out = Desk(tmp_path, erased(Log())).export("--complete")
    assert code == 0, out
    assert "values erased by record 1" in out


@pytest.mark.parametrize("log", [
    erased(Log(), kind="audit"), erased(Log(), subject="T" * 16),
    pytest.param(None, id="an explanation from before"),
])  # fmt: skip
def test_what_nothing_explains_is_an_alarm(tmp_path: Path, log: Log | None) -> None:
    """INT-09: a producer's event, another subject, or an earlier erasure explain nothing."""
    if log is None:
        log = Log()
        log.append(platform("data_subject.erased", {"subjects": ["S" * 16]}))
        log.append(personal(1, subject="S" * 16)[0])
    desk = Desk(tmp_path, log)
    code, out = desk.export("--complete")
    assert (code, "missing" in out) == (1, True)
    code, out = desk.export()
    assert (code, "values withheld" in out) == (0, True)


def test_expired_records_are_explained_and_their_chains_bridged(tmp_path: Path) -> None:
    """INT-09: purged header and content; the next record of the stream still points at the purged one."""
    log = sample(10)
    log.append(platform("record.expired", {"positions": [[2, 4]]}), stream="retention/demo")
    log.append(content(11), stream="document/d1")
    desk = Desk(tmp_path, log)
    lines = log.jsonl().splitlines(keepends=True)
    code, out = desk.export(lines=b"".join(lines[:2] + lines[5:]))
    assert code == 0, out
    assert "records expired by record 10" in out
    code, out = desk.export(lines=b"".join(lines[:2] + lines[6:]))
    assert (code, "position 5 is missing" in out) == (1, True)


def test_a_superseded_record_may_lose_its_content_and_keep_its_header(tmp_path: Path) -> None:
    log = sample(4)
    log.append(platform("record.superseded", {"positions": [[1, 1]]}), stream="redaction/demo")
    desk = Desk(tmp_path, log)
    log.records[1] = {"header": log.records[1]["header"], "content": None}
    code, out = desk.export()
    assert code == 0, out
    assert "superseded by record 4" in out
    log.records[0] = {"header": log.records[0]["header"], "content": None}
    assert desk.export()[0] == 1


# ── COSE receipt ─────────────────────────────────────────────────────────────────────────────────────────


def receipt(desk: Desk, blob: bytes, index: int = 17) -> tuple[int, str]:
    event = desk.put("event.json", json.dumps(desk.log.records[index]))
    return run("receipt", "--policy", desk.policy, desk.put("receipt.cose", blob), event)


def test_a_cose_receipt_is_checked_without_any_library(desk: Desk) -> None:
    """INT-05: RFC 9942, decoded and verified by the standard library alone."""
    code, out = receipt(desk, desk.log.receipt(17))
    assert (code, ORIGIN in out) == (0, True), out
    assert receipt(desk, desk.log.receipt(17), 18)[0] == 1


def test_a_receipt_of_another_log_or_without_its_witnesses_is_refused(desk: Desk) -> None:
    blob = desk.log.receipt(17)
    desk.policy = desk.put("trust.txt", desk.log.policy(f"witness W {W}", quorum="W"))
    assert receipt(desk, blob)[0] == 1
    desk.policy = desk.put("trust.txt", Log(Signer(ORIGIN, 1, b"stranger")).policy())
    assert receipt(desk, blob)[0] == 1


def test_sealed_values_of_another_record_do_not_fit(desk: Desk) -> None:
    """A digest binds pointer, value and salt: a disclosure cannot be moved to another record or place."""
    record = desk.log.records[17]
    digest, moved = seal("/context/ip", "192.0.2.7", 9999)
    assert digest != record["content"]["context"]["ip"]
    assert desk.check(event={**record, "disclosures": [moved]})[0] == 1
