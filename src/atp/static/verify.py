#!/usr/bin/env python3
"""Check an audit record offline, with this one file and Python 3.9 or newer; nothing of ATP is imported.

What must be trusted is one policy file (C2SP tlog-policy) with the public keys of the log and its witnesses.
Everything else, proofs, records, tiles, is hostile until it verifies; every size and depth is bounded.

  verify.py --policy trust.txt p.tlog-proof event.json             one record and its receipt
  verify.py receipt --policy trust.txt receipt.cose event.json     one record and its COSE receipt (RFC 9942)
  verify.py consistency --policy trust.txt old.checkpoint new.checkpoint proof    nothing was rewritten between
  verify.py log --policy trust.txt URL-or-directory [--records records.jsonl]     the whole log; may use the network

Exit code: 0 verified, 1 not verified (the message says what and where), 2 bad input or usage.
Sources: C2SP signed-note, tlog-checkpoint, tlog-cosignature, tlog-proof, tlog-policy, tlog-tiles; RFC 6962,
RFC 9162 (proofs), RFC 8032 (Ed25519), RFC 8785 (canonical JSON), RFC 9052 and RFC 9942 (COSE receipts).
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import itertools
import json
import re
import struct
import sys
import urllib.request
from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

# Bounds on what is read. Far above anything real, far below what would hurt.
FILE_BYTES_MAX = 1 << 20  # A policy, checkpoint, proof or receipt.
RECORD_BYTES_MAX = 4 << 20  # One record: an event is at most 64 KiB as sent.
BUNDLE_BYTES_MAX = 256 * (2 + 65535)  # 256 entries with 16-bit lengths.
SIGNATURES_MAX = 64  # Lines in one note; the specification asks for at least 16.
POLICY_LINES_MAX = 1000
PATH_MAX = 63  # Hashes in a proof: a tree holds fewer than 2^63 leaves.
TIMEOUT_SECONDS = 30

ED25519, COSIGNATURE, MLDSA44 = 0x01, 0x04, 0x06
KINDS = {ED25519: "Ed25519", COSIGNATURE: "Ed25519 cosignature", MLDSA44: "ML-DSA-44 cosignature"}
TEXTS = ("id", "tenant", "stream", "recordedAt", "format", "contentHash", "previousHash")
HEADER: dict[str, type] = {"position": int, "streamVersion": int, **dict.fromkeys(TEXTS, str)}
METHODS = {"none": "", "mask": "masked", "hash": "hashed", "seal": "", "drop": "dropped"}  # Weakest first.
EXPLAINS = {"data_subject.erased": "erased", "record.expired": "expired", "record.superseded": "superseded"}


class Failure(Exception):
    """Exit code and message: 1, the input does not prove what it should; 2, it cannot be understood."""


def prove(holds: bool, message: str) -> None:  # noqa: FBT001 — read as "prove that …, else say …".
    if not holds:
        raise Failure(1, message)


def need(fits: bool, message: str) -> None:  # noqa: FBT001
    if not fits:
        raise Failure(2, message)


def shown(text: object, limit: int = 160) -> str:
    """Text of unknown origin, safe for a terminal: no control characters, bounded."""
    safe = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in str(text)[:limit])
    return safe + ("…" if len(str(text)) > limit else "")


def sha256(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()


def b64(octets: bytes) -> str:
    return base64.b64encode(octets).decode()


def b64u(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def unb64(text: str, what: str, size: int = 0) -> bytes:
    """Standard base64 with padding; one spelling only, so that no bit of it is free to change."""
    try:
        octets = base64.b64decode(text, validate=True)
    except ValueError:
        octets = b""
    need(b64(octets) == text, f"{what}: not base64 in its one valid spelling: {shown(text, 60)}")
    need(size in (0, len(octets)), f"{what}: {len(octets)} bytes instead of {size}")
    return octets


def read_file(path: str, limit: int) -> bytes:
    with Path(path).open("rb") as file:
        octets = file.read(limit + 1)
    need(len(octets) <= limit, f"{shown(path)}: larger than {limit} bytes")
    return octets


def utf8(octets: bytes, what: str) -> str:
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError as e:
        raise Failure(2, f"{what}: not UTF-8 at byte {e.start}") from None


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("an object has the same key twice")
    return members


def parse_json(octets: bytes, what: str) -> Any:
    """JSON with exact integers, of at most the 4300 digits and the depth that Python itself allows."""
    text = utf8(octets, what)
    try:
        return json.loads(text, object_pairs_hook=_pairs, parse_constant=int)  # int("NaN") is a ValueError.
    except (ValueError, RecursionError) as e:
        raise Failure(2, f"{what}: not JSON, or nested too deeply: {shown(e)}") from None


def _number(number: float) -> str:
    """A double as ECMAScript writes it (ECMA-262, Number::toString), which RFC 8785 prescribes."""
    need(abs(number) != float("inf"), "a JSON number is out of range")
    _, numerals, exponent = Decimal(repr(number)).normalize().as_tuple()
    digits, minus, zeros = "".join(map(str, numerals)), "-" if number < 0 else "", int(exponent)
    point = len(digits) + zeros
    if zeros >= 0 and point <= 21:
        return minus + digits + "0" * zeros if number else "0"
    if 0 < point <= 21:
        return f"{minus}{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return f"{minus}0.{'0' * -point}{digits}"
    return f"{minus}{digits[0]}{'.' if digits[1:] else ''}{digits[1:]}e{point - 1:+d}"


def _write(value: Any) -> str:
    if isinstance(value, dict):
        names = sorted(value, key=lambda name: name.encode("utf-16-be", "surrogatepass"))
        return "{" + ",".join(f"{_write(name)}:{_write(value[name])}" for name in names) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_write(item) for item in value) + "]"
    if isinstance(value, float):
        return _number(value)
    return json.dumps(value, ensure_ascii=False)  # Integers never rounded: the one departure from RFC 8785.


def canonical(value: Any) -> bytes:
    """RFC 8785, except that integers are always written exactly; half a surrogate pair has no encoding."""
    return _write(value).encode()


# Ed25519 (RFC 8032) in Python, so that the standard library is enough.
_P = 2**255 - 19
_ORDER = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, -1, _P) % _P
Point = tuple[int, int, int, int]  # Extended coordinates X, Y, Z, T with x = X/Z, y = Y/Z, xy = T/Z.


def _add(p: Point, q: Point) -> Point:
    a, b = (p[1] - p[0]) * (q[1] - q[0]) % _P, (p[1] + p[0]) * (q[1] + q[0]) % _P
    c, d = 2 * p[3] * q[3] * _D % _P, 2 * p[2] * q[2] % _P
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % _P, g * h % _P, f * g % _P, e * h % _P


def _point(encoded: bytes) -> Point | None:
    """RFC 8032 section 5.1.3; None where the bytes are no point in their canonical form."""
    y = int.from_bytes(encoded, "little")
    sign, y = y >> 255, y & ((1 << 255) - 1)
    u, v = (y * y - 1) % _P, (_D * y * y + 1) % _P
    x = u * v**3 * pow(u * v**7, (_P - 5) // 8, _P) % _P
    if v * x * x % _P == -u % _P:
        x = x * pow(2, (_P - 1) // 4, _P) % _P
    if y >= _P or v * x * x % _P != u or (x == 0 and sign):
        return None
    x = _P - x if x & 1 != sign else x
    return x, y, 1, x * y % _P


def ed25519_verifies(public: bytes, signature: bytes, message: bytes) -> bool:
    """RFC 8032 section 5.1.7 without cofactor, S reduced: one signature has one spelling."""
    if len(public) != 32 or len(signature) != 64:
        return False
    key, base, s = _point(public), _point(b"\x58" + b"\x66" * 31), int.from_bytes(signature[32:], "little")
    if key is None or base is None or s >= _ORDER:
        return False
    k = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % _ORDER
    minus_key: Point = (_P - key[0], key[1], 1, _P - key[3])
    both, total = _add(base, minus_key), (0, 1, 1, 0)
    for bit in range(252, -1, -1):  # s·B − k·A in one pass (Straus).
        total = _add(total, total)
        pick = (s >> bit & 1) | (k >> bit & 1) << 1
        if pick:
            total = _add(total, (both, base, minus_key, both)[pick])
    inverse = pow(total[2], -1, _P)
    x, y = total[0] * inverse % _P, total[1] * inverse % _P
    return (y | (x & 1) << 255).to_bytes(32, "little") == signature[:32]


def mldsa44_verifies(public: bytes, signature: bytes, message: bytes) -> bool | None:
    """None where this Python has nothing that checks ML-DSA-44 (`cryptography` 48 and newer has)."""
    try:
        from cryptography.hazmat.primitives.asymmetric import mldsa

        mldsa.MLDSA44PublicKey.from_public_bytes(public).verify(signature, message)
    except Exception as e:  # noqa: BLE001 — the library's own exceptions cannot be imported where it is not.
        return None if isinstance(e, ImportError) or type(e).__name__ == "UnsupportedAlgorithm" else False
    return True


class Key(NamedTuple):
    name: str
    key_id: bytes
    kind: int
    public: bytes


class Policy(NamedTuple):
    logs: list[Key]
    witnesses: dict[str, Key]
    groups: dict[str, tuple[int, list[str]]]
    quorum: list[str]  # One name, once it is known.


def parse_vkey(text: str, others: Iterable[Key]) -> Key:
    name, key_id, encoded = (*text.split("+", 2), "", "")[:3]
    octets = unb64(encoded, "verifier key")
    kind, public = octets[0] if octets else 0, octets[1:]
    good = name and kind in KINDS and len(public) == (1312 if kind == MLDSA44 else 32)
    need(bool(good), f"not a verifier key: {shown(text, 60)}")
    expected = sha256(name.encode("utf-8", "surrogateescape") + b"\n" + octets)[:4]
    need(key_id == expected.hex(), f"the key of {shown(name)} does not belong to the id {shown(key_id, 20)}")
    need(all(public != other.public for other in others), f"the key of {shown(name)} is listed twice")
    return Key(name, expected, kind, public)


def _policy_line(words: list[str], policy: Policy) -> None:
    known, count = {*policy.witnesses, *policy.groups}, len(words)
    if words[0] == "log" and count in (2, 3):
        policy.logs.append(parse_vkey(words[1], policy.logs))
    elif words[0] == "quorum" and count == 2 and not policy.quorum:
        need(words[1] in {*known, "none"}, f"{shown(words[1])} is not defined above")
        policy.quorum.append(words[1])
    elif words[0] == "witness" and count in (3, 4) and words[1] not in {*known, "none"}:
        policy.witnesses[words[1]] = key = parse_vkey(words[2], policy.witnesses.values())
        need(key.kind != ED25519, "a witness needs a cosignature key (type 4 or 6)")
    elif words[0] == "group" and count > 3 and words[1] not in {*known, "none"}:
        members, free = words[3:], known.difference(*(members for _, members in policy.groups.values()))
        good = set(members) <= free and len(set(members)) == len(members)
        need(good, "a member of the group is not defined above, or is a member already")
        threshold = {"any": "1", "all": str(len(members))}.get(words[2], words[2])
        need(threshold in map(str, range(1, len(members) + 1)), f"threshold: all, any or 1 to {len(members)}")
        policy.groups[words[1]] = (int(threshold), members)
    else:
        raise Failure(2, "not a log, witness, group or quorum line, or its name is not free")


def parse_policy(octets: bytes) -> Policy:
    """C2SP tlog-policy. Names are octets with no meaning beyond equality, therefore surrogateescape."""
    need(not re.search(rb"[^\t\n\x20-\x7e\x80-\xff]", octets), "policy: a control character")
    policy, lines = Policy([], {}, {}, []), octets.decode("utf-8", "surrogateescape").split("\n")
    need(len(lines) <= POLICY_LINES_MAX, f"policy: more than {POLICY_LINES_MAX} lines")
    for number, line in enumerate(lines, 1):
        words = [word for word in re.split("[ \t]+", line) if word]
        try:
            if words and not words[0].startswith("#"):
                _policy_line(words, policy)
        except Failure as e:
            raise Failure(2, f"policy line {number}: {e.args[1]}") from None
    need(bool(policy.quorum and policy.logs), "policy: needs a log line and exactly one quorum line")
    return policy


def quorum_reached(policy: Policy, cosigned: set[str]) -> bool:
    """A group is defined after its members, so one pass in order of definition is enough."""
    reached = {"none", *cosigned}
    for name, (threshold, members) in policy.groups.items():
        reached |= {name} if len(reached.intersection(members)) >= threshold else set()
    return policy.quorum[0] in reached


class Checkpoint(NamedTuple):
    origin: str
    size: int
    root: bytes
    signatures: list[dict[str, Any]]  # One per line: name, key id, kind, status, time of a cosignature.


def parse_note(octets: bytes, what: str) -> tuple[bytes, list[tuple[str, bytes]]]:
    """C2SP signed-note: text with its last newline, and the signatures as (key name, key id ‖ signature)."""
    note = utf8(octets, what)
    need(not re.search("[\x00-\x09\x0b-\x1f]", note), f"{what}: a control character")
    text, _, tail = note.rpartition("\n\n")
    lines, signatures = tail.split("\n"), []
    good = lines.pop() == "" and 0 < len(lines) <= SIGNATURES_MAX
    need(good, f"{what}: not a text, an empty line and 1 to {SIGNATURES_MAX} signature lines")
    for line in lines:
        dash, name, signature = (*line.split(" ", 2), "", "")[:3]
        good = dash == "—" and name.split() == [name] and "+" not in name
        need(good, f"{what}: malformed signature line: {shown(line, 60)}")
        signatures.append((name, unb64(signature, f"{what}: signature by {shown(name)}")))
    return (text + "\n").encode(), signatures


def parse_size(text: str, what: str) -> int:
    good = re.fullmatch("0|[1-9][0-9]{0,18}", text) and int(text) < 1 << 63
    need(bool(good), f"{what}: not a decimal number: {shown(text, 30)}")
    return int(text)


def check_signature(key: Key, signature: bytes, text: bytes, head: Checkpoint) -> tuple[str, int]:
    """("verified" or "not checked", POSIX time of a cosignature or 0); a wrong signature fails."""
    stamp = int.from_bytes(signature[:8], "big") if key.kind != ED25519 else 0
    prove(stamp < 1 << 63, f"the cosignature by {shown(key.name)} has no valid time")
    if key.kind == MLDSA44:
        name, origin = key.name.encode("utf-8", "surrogateescape"), head.origin.encode()
        prove(len(name) < 256 and len(origin) < 256, "a name of more than 255 bytes cannot be cosigned")
        message = b"subtree/v1\n\x00" + bytes([len(name)]) + name + struct.pack(">Q", stamp)
        message += bytes([len(origin)]) + origin + struct.pack(">QQ", 0, head.size) + head.root
        verdict = mldsa44_verifies(key.public, signature[8:], message)
    else:
        stamped = b"cosignature/v1\ntime %d\n" % stamp if key.kind == COSIGNATURE else b""
        verdict = ed25519_verifies(key.public, signature[8:] if stamped else signature, stamped + text)
    prove(verdict is not False, f"the {KINDS[key.kind]} signature by {shown(key.name)} is wrong")
    return ("not checked" if verdict is None else "verified"), stamp


def check_checkpoint(octets: bytes, policy: Policy, what: str) -> Checkpoint:
    """C2SP tlog-checkpoint that a log of the policy signed and its quorum cosigned."""
    text, signatures = parse_note(octets, what)
    lines = text.decode().split("\n")[:-1]
    need(len(lines) > 2 and "" not in lines, f"{what}: not three lines (origin, size, root), or an empty one")
    origin, size, root = lines[:3]
    head = Checkpoint(origin, parse_size(size, f"{what}: size"), unb64(root, f"{what}: root", 32), [])
    prove(head.size > 0 or head.root == sha256(b""), f"{what}: this is not the root of an empty tree")
    by = {(key.name, key.key_id): ("witness", alias, key) for alias, key in policy.witnesses.items()}
    by |= {(key.name, key.key_id): ("log", "", key) for key in policy.logs if key.name == origin}
    cosigned: dict[str, set[str]] = {"log": set(), "witness": set()}
    for name, blob in signatures:
        line = {"name": name, "keyId": blob[:4].hex(), "status": "unknown key, ignored"}
        if (name, blob[:4]) in by:
            role, alias, key = by[name, blob[:4]]
            status, stamp = check_signature(key, blob[4:], text, head)
            when = (datetime(1970, 1, 1) + timedelta(seconds=min(stamp, 2**37))).isoformat() + "Z"
            line.update(status=status, role=role, kind=KINDS[key.kind], time=when if stamp else "")
            cosigned[role] |= {alias} if status == "verified" else set()
        head.signatures.append(line)
    unchecked = any(line["status"] == "not checked" for line in head.signatures)
    why = " (this Python cannot check ML-DSA-44; install cryptography)" if unchecked else ""
    prove(bool(cosigned["log"]), f"{what}: no signature by a key of log {shown(origin)} in the policy{why}")
    prove(quorum_reached(policy, cosigned["witness"]), f"{what}: the quorum of witnesses is not reached{why}")
    return head


def root_of(record: dict[str, Any], index: int, size: int, path: list[bytes]) -> bytes:
    """The root that this record leads to: RFC 9162 section 2.1.3.2. Below the level where its path and that of
    the last leaf meet, the index says on which side a sibling is; above, left siblings, one for each bit set.
    """
    position = record["header"]["position"]
    prove(position == index, f"the record says position {shown(position, 30)}, the proof says index {index}")
    prove(index < size, f"index {index} lies outside a tree of {size}")
    inner = (index ^ (size - 1)).bit_length()
    length = inner + bin(index >> inner).count("1")
    prove(len(path) == length, f"inclusion proof of wrong length for index {index} in size {size}")
    node = sha256(b"\x00" + sha256(canonical(record["header"])))
    for level, sibling in enumerate(path):
        left = level >= inner or index >> level & 1
        node = sha256(b"\x01" + (sibling + node if left else node + sibling))
    return node


def check_consistency(old: Checkpoint, new: Checkpoint, path: list[bytes]) -> None:
    """RFC 9162 section 2.1.4.2, in the form of `root_from_inclusion`, for the old tree's last full subtree."""
    what = f"size {old.size} to {new.size}"
    prove(old.size <= new.size, f"the old checkpoint is the larger: {what}")
    if old.size in (0, new.size):
        same = old.size == 0 or old.root == new.root
        prove(same and not path, f"two roots for one size, or a proof where none belongs: {what}")
        return
    height = (old.size & -old.size).bit_length() - 1
    index = (old.size - 1) >> height
    inner = (index ^ (new.size - 1 >> height)).bit_length()
    path = path if index else [old.root, *path]
    length = 1 + inner + bin(index >> inner).count("1")
    prove(len(path) == length, f"consistency proof of wrong length: {what}")
    first = second = path[0]
    for level, sibling in enumerate(path[1:]):
        if level >= inner or index >> level & 1:
            first, second = sha256(b"\x01" + sibling + first), sha256(b"\x01" + sibling + second)
        else:
            second = sha256(b"\x01" + second + sibling)
    prove((first, second) == (old.root, new.root), f"the new log does not contain the old unchanged: {what}")


def tree_root(nodes: list[bytes]) -> bytes:
    """RFC 6962 section 2.1 over node hashes; the last may be the root of a smaller, incomplete tree."""
    if len(nodes) == 1:
        return nodes[0]
    half = 1 << (len(nodes) - 1).bit_length() - 1
    return sha256(b"\x01" + tree_root(nodes[:half]) + tree_root(nodes[half:]))


def parse_record(octets: bytes, what: str) -> dict[str, Any]:
    """The record in the body of GET /api/v1/audit-events/{id}, or the record alone; only it is checked."""
    document = parse_json(octets, what)
    record: Any = document.get("record", document) if isinstance(document, dict) else None
    header: Any = record.get("header") if isinstance(record, dict) else None
    need(isinstance(header, dict), f"{what}: no record with a header")
    need(header.get("format") == "atp.record.v1", f"{what}: unknown format {shown(header.get('format'))}")
    strange = {*record} - {"header", "content", "disclosures"} | {*header} ^ {*HEADER}
    typed = {**header, "previousHash": header.get("previousHash") or ""}
    strange |= {name for name, kind in HEADER.items() if type(typed.get(name)) is not kind}
    parts = (("content", dict), ("disclosures", list))
    strange |= {name for name, kind in parts if not isinstance(record.get(name), (kind, type(None)))}
    need(not strange, f"{what}: missing, unknown or of the wrong type: {shown(', '.join(sorted(strange)))}")
    return dict(record)


def _values(value: Any, pointer: str) -> Iterator[tuple[str, Any]]:
    """Every JSON pointer (RFC 6901) with its value, outside in; a sealed value is not entered."""
    yield pointer, value
    if isinstance(value, dict) and "~sealed" not in value:
        for key, item in value.items():
            yield from _values(item, pointer + "/" + key.replace("~", "~0").replace("/", "~1"))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from _values(item, f"{pointer}/{index}")


def check_fields(record: dict[str, Any], where: str) -> list[dict[str, str]]:
    """Values that are not simply there, as {pointer, status, type}; the content is verified already."""
    items, content = record.get("disclosures") or [], record["content"]
    good = all(isinstance(item, list) and len(item) == 3 and isinstance(item[1], str) for item in items)
    need(good and len({item[1] for item in items}) == len(items), f"{where}: malformed disclosures")
    disclosed = {item[1]: b64u(sha256(canonical(item))) for item in items}
    try:  # Several findings may name one value: the strongest method counts, and covers what is inside.
        rows = sorted(content["classification"]["findings"], key=lambda row: list(METHODS).index(row[4]))
        findings = {str(pointer): (str(kind), str(method)) for pointer, kind, _, _, method in rows}
    except (TypeError, LookupError, ValueError):
        raise Failure(2, f"{where}: classification.findings is not a list of findings") from None
    fields, covered = [], tuple(f"{pointer}/" for pointer in findings if findings[pointer][1] != "none")
    for pointer, value in [*_values(content, ""), ("/stream", record["header"]["stream"])]:
        kind, method = findings.pop(pointer, ("", ""))
        status, given = (
            METHODS.get(method, "") if method != "drop" or value is None else "",
            pointer in disclosed,
        )
        if isinstance(value, dict) and "~sealed" in value:
            good = len(value) == 1 and disclosed.get(pointer, value["~sealed"]) == value["~sealed"]
            prove(good, f"{where}: the disclosed value of {shown(pointer)} is not the sealed one")
            status = "verified" if given else "withheld"
        elif status and given:  # Nothing in format v1 binds the clear text of a hashed value.
            status += "; the value given is not proven"
        if status:
            disclosed.pop(pointer, None)
            fields.append({"pointer": pointer, "status": status, "type": kind})
    for pointer, (kind, method) in findings.items():
        if method != "none" and not pointer.startswith(covered):
            status = "dropped" if method == "drop" else "missing"
            fields.append({"pointer": pointer, "status": status, "type": kind})
    prove(not disclosed, f"{where}: nothing is sealed at {shown(', '.join(disclosed))}, which is disclosed")
    return fields


def check_record(record: dict[str, Any], where: str, export: Export | None = None) -> dict[str, Any]:
    """The report of one record whose header is proven to be in the log. Absence is explained, or an alarm."""
    header, content = record["header"], record.get("content")
    report = {name: header[name] for name in HEADER if not name.endswith("Hash")}
    report.update(content="missing", fields=[])
    if content is not None:
        same = header["contentHash"] == b64u(sha256(canonical(content)))
        prove(same, f"{where}: the content is not what was recorded (content hash differs)")
        report.update(content="verified", fields=check_fields(record, where))
    if export:
        export.explain(report, content)
    gone = [f"the value of {shown(f['pointer'])}" for f in report["fields"] if f["status"] == "missing"]
    gone += ["the content"] if report["content"] == "missing" else []
    prove(not gone, f"{where}: {', '.join(gone[:3])} missing, and nothing explains why")
    return report


def parse_proof(octets: bytes, what: str) -> tuple[int, list[bytes], bytes]:
    """C2SP tlog-proof: index, path from leaf to root, and the checkpoint verbatim."""
    head, _, checkpoint = octets.partition(b"\n\n")
    lines = utf8(head, what).split("\n")
    need(lines.pop(0) == "c2sp.org/tlog-proof@v1", f"{what}: not a c2sp.org/tlog-proof@v1")
    if lines and lines[0].startswith("extra "):
        unb64(lines.pop(0)[6:], f"{what}: extra line")
    need(bool(lines) and lines[0].startswith("index "), f"{what}: no index line")
    need(len(lines) <= 1 + PATH_MAX, f"{what}: more than {PATH_MAX} hashes")
    path = [unb64(line, f"{what}: hash {n}", 32) for n, line in enumerate(lines[1:], 1)]
    return parse_size(lines[0][6:], f"{what}: index"), path, checkpoint


def verify_proof(policy: Policy, given: argparse.Namespace) -> dict[str, Any]:
    record = parse_record(read_file(given.event, RECORD_BYTES_MAX), "event")
    index, path, checkpoint = parse_proof(read_file(given.proof, FILE_BYTES_MAX), "proof")
    head = check_checkpoint(checkpoint, policy, "checkpoint")
    included = root_of(record, index, head.size, path) == head.root
    prove(included, f"this record is not at index {index} of the log: it leads to another root")
    return {**summary(head), "record": check_record(record, f"record at position {index}")}


def _cbor(octets: bytes, at: int, depth: int = 0) -> tuple[Any, int]:
    """One item of deterministic CBOR (RFC 8949 section 4.2.1) and where it ends. A tag is a pair."""
    need(depth < 9 and at < len(octets), "receipt: CBOR is cut off or nested too deeply")
    major, low, at = octets[at] >> 5, octets[at] & 31, at + 1
    length = 1 << low - 24 if 24 <= low <= 27 else 0
    number = int.from_bytes(octets[at : at + length], "big") if length else low
    at += length
    shortest = not length or number >= (24 if length == 1 else 1 << 4 * length)
    need(low < 28 and at <= len(octets) and shortest, "receipt: CBOR is cut off or not in its shortest form")
    if major < 2:
        return (number if major == 0 else -1 - number), at
    if major < 4:
        need(number <= len(octets) - at, "receipt: CBOR is cut off")
        chunk = octets[at : at + number]
        return (chunk if major == 2 else utf8(chunk, "receipt")), at + number
    if major == 7:
        need(not length and 20 <= number <= 22, "receipt: unexpected CBOR value")
        return (False, True, None)[number - 20], at
    items: list[Any] = []
    for _ in range((number, 2 * number, 1)[major - 4]):
        item, at = _cbor(octets, at, depth + 1)
        items.append(item)
    if major != 5:
        return (items if major == 4 else (number, items[0])), at
    keys = items[::2]
    unique = all(type(key) in (int, str) for key in keys) and len(set(keys)) == len(keys)
    need(unique, "receipt: a CBOR map has a key twice, or one that is neither integer nor text")
    return dict(zip(keys, items[1::2])), at  # noqa: B905 — Python 3.9 has no `strict`.


def cbor(octets: bytes) -> Any:
    value, end = _cbor(octets, 0)
    need(end == len(octets), "receipt: bytes after its end")
    return value


def parse_receipt(octets: bytes) -> tuple[bytes, bytes, Any, int, int, list[bytes]]:
    """RFC 9942 receipt of inclusion: protected header, signature, issuer if any, tree size, index, path."""
    try:
        tag, (protected, unprotected, payload, signature) = cbor(octets)
        header, (proof,) = cbor(protected), unprotected[396][-1]
        size, index, path = cbor(proof)
        issuer = header.get(15, {}).get(1)  # Of the CWT claims, RFC 9597.
        good = (tag, payload, header[395]) == (18, None, 1) and header[1] in (-8, -19) and 2 not in header
        good = good and isinstance(signature, bytes) and len(protected) < 256 and len(path) <= PATH_MAX
        good = good and type(size) is type(index) is int and 0 <= index < size < 1 << 63
        good = good and all(isinstance(node, bytes) and len(node) == 32 for node in path)
    except (TypeError, ValueError, KeyError, AttributeError):
        raise Failure(2, "receipt: not a COSE receipt of inclusion") from None
    need(good, "receipt: not a COSE_Sign1 with EdDSA, RFC9162_SHA256, no payload and one inclusion proof")
    return protected, signature, issuer, size, index, path


def verify_receipt(policy: Policy, given: argparse.Namespace) -> dict[str, Any]:
    """RFC 9942: apply the proof to the entry, then check the signature over the root it gives."""
    record = parse_record(read_file(given.event, RECORD_BYTES_MAX), "event")
    protected, signature, issuer, size, index, path = parse_receipt(read_file(given.receipt, FILE_BYTES_MAX))
    root, length = root_of(record, index, size, path), len(protected)
    signed = b"\x84\x6aSignature1" + (bytes([0x58, length]) if length > 23 else bytes([0x40 + length]))
    signed += protected + b"\x40\x58\x20" + root
    logs = [key for key in policy.logs if key.kind == ED25519 and issuer in (None, key.name)]
    names = [key.name for key in logs if ed25519_verifies(key.public, signature, signed)]
    prove(bool(names), f"no log of the policy signed the root that this record at index {index} leads to")
    prove(
        quorum_reached(policy, set()),
        "the policy asks for witnesses, and a COSE receipt carries no cosignatures",
    )
    report = check_record(record, f"record at position {index}")
    return {"log": names[0], "sizeStatedNotSigned": size, "root": b64(root), "record": report}


def verify_consistency(policy: Policy, given: argparse.Namespace) -> dict[str, Any]:
    """The proof file holds one base64 hash a line, in the order of RFC 9162 section 2.1.4.1; it may be empty."""
    first = check_checkpoint(read_file(given.old, FILE_BYTES_MAX), policy, "old checkpoint")
    second = check_checkpoint(read_file(given.new, FILE_BYTES_MAX), policy, "new checkpoint")
    prove(first.origin == second.origin, f"two logs: {shown(first.origin)} and {shown(second.origin)}")
    lines = utf8(read_file(given.proof, FILE_BYTES_MAX), "proof").split("\n")
    need(lines.pop() == "" and len(lines) <= PATH_MAX, f"proof: not 0 to {PATH_MAX} hashes, one a line")
    check_consistency(first, second, [unb64(line, f"proof line {n}", 32) for n, line in enumerate(lines, 1)])
    return {**summary(second), "oldSize": first.size}


def fetch(base: str, path: str, limit: int) -> bytes | None:
    """A resource of the log, or None where it does not exist. The only function that may use the network."""
    where = f"{base.rstrip('/')}/{path}"
    try:
        if not re.match("https?://", base):
            return read_file(where, limit)
        with urllib.request.urlopen(where, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310
            octets: bytes = answer.read(limit + 1)
    except OSError as e:
        absent = isinstance(e, FileNotFoundError) or getattr(e, "code", 0) in (404, 410)
        need(absent, f"{shown(where)}: {shown(e)}")
        return None
    need(len(octets) <= limit, f"{shown(where)}: larger than {limit} bytes")
    return octets


def fetch_tile(base: str, level: str, index: int, width: int, limit: int) -> tuple[str, bytes, int]:
    """Path, bytes and width of a tile; a partial one may have been replaced by the full one since."""
    groups = re.findall("[0-9]{3}", str(index).zfill(-(-len(str(index)) // 3) * 3))
    full = f"tile/{level}/" + "/".join([*("x" + group for group in groups[:-1]), groups[-1]])
    paths = [(full, 256)] if width == 256 else [(f"{full}.p/{width}", width), (full, 256)]
    for path, there in paths:
        octets = fetch(base, path, limit)
        if octets is not None:
            return path, octets, there
    raise Failure(1, f"{paths[0][0]} is missing")


def fetch_entries(base: str, log_size: int) -> Iterator[bytes]:
    for index in range((log_size + 255) // 256):
        width = min(256, log_size - 256 * index)
        path, octets, there = fetch_tile(base, "entries", index, width, BUNDLE_BYTES_MAX)
        entries, at = [], 0
        while at < len(octets):
            size = int.from_bytes(octets[at : at + 2], "big")
            entries.append(octets[at + 2 : at + 2 + size])
            at += 2 + size
        prove(at == len(octets) and len(entries) == there, f"{path}: not a bundle of {there} entries")
        yield from entries[:width]


def compared_tiles(base: str, level: int, nodes: Iterator[bytes], rest: list[list[bytes]]) -> Iterator[bytes]:
    """Compare the tiles of a level with the nodes they must hold; yield the roots of the full ones, which are the
    nodes of the level above, and put the last, incomplete one into `rest`.
    """
    for index in itertools.count():
        tile = list(itertools.islice(nodes, 256))
        if tile:
            path, octets, there = fetch_tile(base, str(level), index, len(tile), 9000)
            wrong = [n for n, node in enumerate(tile) if octets[32 * n : 32 * n + 32] != node]
            first = (index * 256 + (*wrong, 0)[0]) * 256**level
            prove(not wrong and len(octets) == 32 * there, f"{path} is wrong from position {first} on")
        if len(tile) < 256:
            rest.append(tile)
            return
        yield tree_root(tile)


def verify_log(policy: Policy, given: argparse.Namespace) -> dict[str, Any]:
    checkpoint = fetch(given.base, "checkpoint", FILE_BYTES_MAX)
    if checkpoint is None:
        raise Failure(2, f"{shown(given.base)}: no checkpoint there")
    head, rest = check_checkpoint(checkpoint, policy, "checkpoint"), list[list[bytes]]()
    export = Export(given.records, complete=given.complete) if given.records else None
    entries = fetch_entries(given.base, head.size)
    nodes: Iterator[bytes] = (
        sha256(b"\x00" + entry) for entry in (map(export.check, entries) if export else entries)
    )
    for level in range(8):  # 256^8 leaves are more than a size can say.
        nodes = compared_tiles(given.base, level, nodes, rest)
    root = list(nodes)  # Empty: this only drives the levels below.
    for tile in rest:  # RFC 6962 over what is left on each level, the lowest level rightmost.
        root = [tree_root(tile + root)] if tile or root else []
    prove((root or [sha256(b"")])[0] == head.root, f"the entries do not give the root of size {head.size}")
    if not export:
        return summary(head)
    prove(export.next is None, f"records line {export.line}: no such position in a log of {head.size}")
    return {**summary(head), "streams": len(export.streams), "counts": dict(sorted(export.counts.items()))}


class Export:
    """An exported log, one record a line in order of position, compared with the log's entries as they come.
    Read twice: for the records that explain absences, then to verify every record, those included.
    """

    def __init__(self, path: str, *, complete: bool) -> None:
        self.file = Path(path).open("rb")  # noqa: SIM115 — open for as long as the program runs.
        self.complete, self.line, self.position, self.tenant = complete, 0, 0, ""
        self.erased: dict[str, list[int]] = {}  # Subject → positions of the records that say so.
        self.covered: list[tuple[int, int, int, str]] = []  # First, last, explaining position, word.
        self.streams: dict[str, tuple[int, str | None]] = {}  # Version and record hash of each stream's last.
        self.purged = set[str]()  # Record hashes of records that are absent with an explanation.
        self.counts: Counter[str] = Counter()
        while (record := self.read()) is not None:
            self.gather(record)
        self.line = self.file.seek(0)
        self.next = self.read()

    def read(self) -> dict[str, Any] | None:
        line, self.line = self.file.readline(RECORD_BYTES_MAX + 1), self.line + 1
        need(len(line) <= RECORD_BYTES_MAX, f"records line {self.line}: longer than {RECORD_BYTES_MAX} bytes")
        return parse_record(line, f"records line {self.line}") if line else None

    def gather(self, record: dict[str, Any]) -> None:
        """Only a platform record explains: what a producer sends has kind audit, whatever its type says."""
        content, by = record.get("content") or {}, record["header"]["position"]
        word = EXPLAINS.get(str(content.get("type"))) if content.get("kind") == "platform" else None
        try:
            for subject in content["payload"]["subjects"] if word == "erased" else []:
                self.erased.setdefault(str(subject), []).append(by)
            for first, last in content["payload"]["positions"] if word in ("expired", "superseded") else []:
                self.covered.append((int(first), int(last), by, str(word)))
        except (TypeError, ValueError, KeyError):
            raise Failure(2, f"records line {self.line}: does not list what it explains") from None

    def explained(self, position: int) -> str:
        """Why a record is absent. An explanation reaches back, never forward."""
        found = (c for c in self.covered if c[0] <= position <= c[1] and c[2] > position)
        return next((f"{word} by record {by}" for _, _, by, word in found), "")

    def check(self, entry: bytes) -> bytes:
        """The record for the next entry of the log: there and right, or absent and explained."""
        record, position, self.position = self.next, self.position, self.position + 1
        where = f"record at position {position}"
        if record is None or record["header"]["position"] > position:
            why = self.explained(position)
            prove(bool(why), f"{where} is missing, and no record explains why")
            self.purged.add(b64u(entry))
            self.counts[f"records {why}"] += 1
            return entry
        header = record["header"]
        prove(header["position"] == position, f"{where} is given twice, or out of order")
        prove(sha256(canonical(header)) == entry, f"{where}: its header is not the one the log holds")
        stream, version, previous = header["stream"], header["streamVersion"], header["previousHash"]
        last, expected = self.streams.get(stream, (0, None))
        bridged = last + 1 < version <= last + 1 + len(self.purged) and previous in self.purged
        good = bridged or (version, previous) == (last + 1, expected)
        prove(good, f"{where}: the chain of stream {shown(stream)} is broken after version {last}")
        self.streams[stream] = (version, b64u(entry))
        self.tenant = self.tenant or header["tenant"]
        prove(header["tenant"] == self.tenant, f"{where}: it belongs to tenant {shown(header['tenant'])}")
        check_record(record, where, self)
        self.next = self.read()
        return entry

    def explain(self, report: dict[str, Any], content: dict[str, Any] | None) -> None:
        if content is None:
            report["content"] = self.explained(report["position"]) or "missing"
        self.counts[f"records {report['content']}"] += 1
        for field in report["fields"]:
            if content and field["status"] == "withheld":
                later = self.erased.get(str(content["classification"].get("subject")), [])
                by = min((n for n in later if n > report["position"]), default=None)
                unexplained = "missing" if self.complete else "withheld"
                field["status"] = unexplained if by is None else f"erased by record {by}"
            self.counts[f"values {field['status']}"] += 1


def summary(head: Checkpoint) -> dict[str, Any]:
    return {"log": head.origin, "size": head.size, "root": b64(head.root), "signatures": head.signatures}


def print_report(report: dict[str, Any]) -> None:
    for name, value in report.items():
        if isinstance(value, dict):
            print_report(value)
        for item in value if isinstance(value, list) else []:
            parts = " · ".join(str(part) for part in item.values() if part)
            print(f"  {name[:-1]:<18} {shown(parts, 400)}")
        if not isinstance(value, (dict, list)):
            print(f"  {shown(name):<18} {shown(value, 400)}")


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    modes = {"receipt": (verify_receipt, "receipt event"), "log": (verify_log, "base")}
    modes["consistency"] = (verify_consistency, "old new proof")
    mode = argv[0] if argv and argv[0] in modes else ""
    verify, operands = modes.get(mode, (verify_proof, "proof event"))
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(f"verify.py {mode}".strip(), description=__doc__, formatter_class=layout)
    parser.add_argument("--policy", required=True, help="the trusted keys (C2SP tlog-policy)")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    for name in operands.split():
        parser.add_argument(name)
    if mode == "log":
        parser.add_argument("--records", help="exported records, one a line, to compare with the log")
        parser.add_argument("--complete", action="store_true", help="a withheld value is an alarm too")
    parser.set_defaults(verify=verify)
    return parser.parse_args(argv[1:] if mode else argv)


def main(argv: list[str]) -> int:
    given = parse_arguments(argv)
    try:
        report = given.verify(parse_policy(read_file(given.policy, FILE_BYTES_MAX)), given)
        code, problem = 0, ""
    except Failure as e:
        report, (code, problem) = {}, e.args
    except Exception as e:  # noqa: BLE001 — whatever a hostile file provokes must read as "not verified".
        report, code, problem = {}, 2, f"{type(e).__name__}: {shown(e)}"
    if given.json:
        print(json.dumps({"verified": code == 0, **({"problem": problem} if code else report)}))
    else:
        print(("VERIFIED", f"NOT VERIFIED: {problem}", f"BAD INPUT, nothing verified: {problem}")[code])
        print_report(report)
    return int(code)


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")  # type: ignore[union-attr]
    sys.exit(main(sys.argv[1:]))
