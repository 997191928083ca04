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
RFC 9162 (proofs), RFC 8032 (Ed25519), RFC 8785 (canonical JSON), RFC 9052, RFC 9942 (COSE receipts).
"""

from __future__ import annotations

import argparse
import base64
import binascii
import hashlib
import json
import math
import re
import struct
import sys
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

# Bounds on what is read. Far above anything real, far below what would hurt.
FILE_BYTES_MAX = 1 << 20  # A policy, checkpoint, proof or receipt.
RECORD_BYTES_MAX = 4 << 20  # One record: an event is at most 64 KiB as sent.
BUNDLE_BYTES_MAX = 256 * (2 + 65535)  # 256 entries with 16-bit lengths.
DEPTH_MAX = 100  # Nesting of JSON; events are refused beyond 32.
CBOR_DEPTH_MAX = 8
DIGITS_MAX = 4000  # Of one integer; Python itself stops at 4300.
SIGNATURES_MAX = 64  # Lines in one note; the specification asks for at least 16.
POLICY_LINES_MAX = 1000
PATH_MAX = 63  # Hashes in a proof: a tree holds fewer than 2^63 leaves.
TIMEOUT_SECONDS = 30

ED25519, COSIGNATURE_ED25519, COSIGNATURE_MLDSA44 = 0x01, 0x04, 0x06
KINDS = {
    ED25519: "Ed25519",
    COSIGNATURE_ED25519: "Ed25519 cosignature",
    COSIGNATURE_MLDSA44: "ML-DSA-44 cosignature",
}
KEY_BYTES = {ED25519: 32, COSIGNATURE_ED25519: 32, COSIGNATURE_MLDSA44: 1312}
HEADER_TYPES: dict[str, tuple[type, ...]] = {
    "contentHash": (str,), "format": (str,), "id": (str,), "position": (int,), "previousHash": (str, type(None)),
    "recordedAt": (str,), "stream": (str,), "streamVersion": (int,), "tenant": (str,),
}  # fmt: skip
EXPLAINS = {"data_subject.erased": "erased", "record.expired": "expired", "record.superseded": "superseded"}


class Unverified(Exception):
    """The input was understood and does not prove what it should: exit code 1."""


class BadInput(Exception):
    """The input cannot be understood, or the command line is wrong: exit code 2."""


def shown(text: object, limit: int = 160) -> str:
    """Text of unknown origin, safe for a terminal: no control characters, bounded."""
    text = str(text)
    safe = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text[:limit])
    return safe + ("…" if len(text) > limit else "")


# ── bytes, base64, JSON ──────────────────────────────────────────────────────────────────────────────────


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def b64u(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text: str, what: str) -> bytes:
    """Standard base64 with padding; one spelling only, so that no bit of it is free to change."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise BadInput(f"{what}: not base64: {shown(text, 60)}") from None
    if b64(data) != text:
        raise BadInput(f"{what}: base64 is not in its only valid spelling")
    return data


def read_file(path: str, limit: int) -> bytes:
    with Path(path).open("rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise BadInput(f"{shown(path)}: larger than {limit} bytes")
    return data


def utf8(data: bytes, what: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as e:
        raise BadInput(f"{what}: not UTF-8 at byte {e.start}") from None


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise BadInput("a JSON object has the same key twice")
    return members


def _integer(digits: str) -> int:
    if len(digits) > DIGITS_MAX:
        raise BadInput(f"a JSON integer has more than {DIGITS_MAX} digits")
    return int(digits)


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise BadInput(f"a JSON number is out of range: {shown(text, 40)}")
    return number


def _constant(name: str) -> Any:
    raise BadInput(f"{name} is not JSON")


# Strings are skipped whole, closed or not, so that the scan is linear whatever the input.
_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[{]|[\]}]', re.DOTALL)


def parse_json(data: bytes, what: str) -> Any:
    """JSON with exact integers; duplicate keys, NaN, infinities and deep nesting are refused."""
    text, depth = utf8(data, what), 0
    for token in _TOKEN.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(token.group(), 0)
        if depth > DEPTH_MAX:
            raise BadInput(f"{what}: JSON nested deeper than {DEPTH_MAX}")
    try:
        return json.loads(
            text, object_pairs_hook=_pairs, parse_int=_integer, parse_float=_float, parse_constant=_constant
        )
    except BadInput as e:
        raise BadInput(f"{what}: {e}") from None
    except ValueError as e:
        raise BadInput(f"{what}: not JSON: {shown(e)}") from None


def _number(number: float) -> str:
    """A double as ECMAScript writes it (ECMA-262, Number::toString), which RFC 8785 prescribes."""
    if number == 0:
        return "0"
    mantissa, _, exponent = repr(abs(number)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    fraction = "" if fraction == "0" else fraction
    digits = (whole + fraction).lstrip("0")
    point = len(whole) + int(exponent or 0) - (len(whole + fraction) - len(digits))
    digits = digits.rstrip("0")
    count, sign = len(digits), "-" if number < 0 else ""
    if count <= point <= 21:
        return sign + digits + "0" * (point - count)
    if 0 < point <= 21:
        return sign + digits[:point] + "." + digits[point:]
    if -6 < point <= 0:
        return sign + "0." + "0" * -point + digits
    return sign + digits[0] + ("." + digits[1:] if count > 1 else "") + f"e{point - 1:+d}"


def _write(value: Any, out: list[str], depth: int) -> None:
    if depth > DEPTH_MAX:
        raise BadInput(f"JSON nested deeper than {DEPTH_MAX}")
    if isinstance(value, str):
        out.append(json.dumps(value, ensure_ascii=False))
    elif value is None or isinstance(value, bool):
        out.append({None: "null", True: "true", False: "false"}[value])
    elif isinstance(value, int):  # The one departure from RFC 8785: never rounded, however large.
        out.append(str(value))
    elif isinstance(value, float):
        out.append(_number(value))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            out.append("," if index else "[")
            _write(item, out, depth + 1)
        out.append("]" if value else "[]")
    else:
        for index, key in enumerate(sorted(value, key=lambda k: k.encode("utf-16-be", "surrogatepass"))):
            out.append(("," if index else "{") + json.dumps(key, ensure_ascii=False) + ":")
            _write(value[key], out, depth + 1)
        out.append("}" if value else "{}")


def canonical(value: Any) -> bytes:
    """RFC 8785, except that integers are always written exactly."""
    out: list[str] = []
    _write(value, out, 0)
    try:
        return "".join(out).encode("utf-8")
    except UnicodeEncodeError:
        raise BadInput("a JSON string holds half of a surrogate pair") from None


# ── Ed25519 (RFC 8032), so that the standard library is enough ───────────────────────────────────────────

_P = 2**255 - 19
_ORDER = 2**252 + 27742317777372353535851937790883648493
_D = -121665 * pow(121666, -1, _P) % _P
_ROOT_OF_MINUS_ONE = pow(2, (_P - 1) // 4, _P)
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
    if y >= _P:
        return None
    u, v = (y * y - 1) % _P, (_D * y * y + 1) % _P
    x = u * v**3 * pow(u * v**7, (_P - 5) // 8, _P) % _P
    if v * x * x % _P == -u % _P:
        x = x * _ROOT_OF_MINUS_ONE % _P
    if v * x * x % _P != u or (x == 0 and sign):
        return None
    x = _P - x if x & 1 != sign else x
    return x, y, 1, x * y % _P


_BASE = _point((4 * pow(5, -1, _P) % _P).to_bytes(32, "little"))


def ed25519_verifies(public: bytes, signature: bytes, message: bytes) -> bool:
    """RFC 8032 section 5.1.7 without cofactor, S reduced: one signature has one spelling."""
    if len(public) != 32 or len(signature) != 64 or _BASE is None:
        return False
    key, s = _point(public), int.from_bytes(signature[32:], "little")
    if key is None or s >= _ORDER:
        return False
    k = int.from_bytes(hashlib.sha512(signature[:32] + public + message).digest(), "little") % _ORDER
    minus_key: Point = (_P - key[0], key[1], 1, _P - key[3])
    both, total = _add(_BASE, minus_key), (0, 1, 1, 0)
    for bit in range(252, -1, -1):  # s·B − k·A in one pass (Straus).
        total = _add(total, total)
        pick = (s >> bit & 1) | (k >> bit & 1) << 1
        if pick:
            total = _add(total, (both, _BASE, minus_key, both)[pick])
    inverse = pow(total[2], -1, _P)
    x, y = total[0] * inverse % _P, total[1] * inverse % _P
    return (y | (x & 1) << 255).to_bytes(32, "little") == signature[:32]


def mldsa44_verifies(public: bytes, signature: bytes, message: bytes) -> bool | None:
    """None where this Python has nothing that checks ML-DSA-44 (`cryptography` 47 and newer has)."""
    try:
        from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PublicKey
    except ImportError:
        return None
    try:
        MLDSA44PublicKey.from_public_bytes(public).verify(signature, message)
    except UnsupportedAlgorithm:
        return None
    except (InvalidSignature, ValueError):
        return False
    return True


# ── policy (C2SP tlog-policy) ────────────────────────────────────────────────────────────────────────────


class Key(NamedTuple):
    name: str
    key_id: bytes
    kind: int
    public: bytes


class Policy(NamedTuple):
    logs: list[Key]
    witnesses: dict[str, Key]
    groups: dict[str, tuple[int, list[str]]]
    quorum: str


def parse_vkey(text: str) -> Key:
    parts = text.split("+", 2)
    if len(parts) != 3 or not parts[0] or not re.fullmatch("[0-9a-f]{8}", parts[1]):
        raise BadInput(f"not a verifier key (name+id+key): {shown(text, 60)}")
    encoded = unb64(parts[2], "verifier key")
    kind, public = encoded[:1], encoded[1:]
    if not kind or kind[0] not in KINDS or len(public) != KEY_BYTES[kind[0]]:
        raise BadInput(f"verifier key of {shown(parts[0])}: unknown type or wrong length")
    key_id = sha256(parts[0].encode("utf-8", "surrogateescape") + b"\n" + encoded)[:4]
    if key_id.hex() != parts[1]:
        raise BadInput(f"verifier key of {shown(parts[0])}: its id does not belong to its name and key")
    return Key(parts[0], key_id, kind[0], public)


def _unique(keys: list[Key], key: Key, word: str) -> Key:
    if any(key.public == other.public for other in keys):
        raise BadInput(f"the key of {word} {shown(key.name)} is listed twice")
    return key


def _group(words: list[str], known: set[str], grouped: set[str]) -> tuple[int, list[str]]:
    members = words[3:]
    if (
        not members
        or len(set(members)) != len(members)
        or not set(members) <= known
        or set(members) & grouped
    ):
        raise BadInput(
            "a group needs members that are defined above, each a member only once in the whole policy"
        )
    threshold = {"any": "1", "all": str(len(members))}.get(words[2], words[2])
    if not re.fullmatch("[1-9][0-9]{0,3}", threshold) or int(threshold) > len(members):
        raise BadInput(f"a group's threshold is all, any or 1 to {len(members)}")
    return int(threshold), members


def parse_policy(data: bytes) -> Policy:
    """Names are octets with no meaning beyond equality, therefore surrogateescape."""
    if re.search(rb"[^\t\n\x20-\x7e\x80-\xff]", data):
        raise BadInput("policy: a control character other than tab and newline")
    lines = data.decode("utf-8", "surrogateescape").split("\n")
    if len(lines) > POLICY_LINES_MAX:
        raise BadInput(f"policy: more than {POLICY_LINES_MAX} lines")
    policy, grouped, quorum = Policy([], {}, {}, ""), set[str](), ""
    for number, line in enumerate(lines, 1):
        words = [word for word in re.split("[ \t]+", line) if word]
        if not words or words[0].startswith("#"):
            continue
        known = {*policy.witnesses, *policy.groups}
        try:
            if words[0] == "log" and len(words) in (2, 3):
                policy.logs.append(_unique(policy.logs, parse_vkey(words[1]), "log"))
            elif words[0] == "witness" and len(words) in (3, 4):
                key = _unique(list(policy.witnesses.values()), parse_vkey(words[2]), "witness")
                if words[1] in {*known, "none"} or key.kind == ED25519:
                    raise BadInput("a witness needs a name of its own and a cosignature key (type 4 or 6)")
                policy.witnesses[words[1]] = key
            elif words[0] == "group" and len(words) > 3:
                if words[1] in {*known, "none"}:
                    raise BadInput("a group needs a name of its own")
                policy.groups[words[1]] = _group(words, known, grouped)
                grouped.update(words[3:])
            elif words[0] == "quorum" and len(words) == 2 and not quorum and words[1] in {*known, "none"}:
                quorum = words[1]
            else:
                raise BadInput("not a valid log, witness, group or quorum line")
        except BadInput as e:
            raise BadInput(f"policy line {number}: {e}") from None
    if not quorum or not policy.logs:
        raise BadInput("policy: needs at least one log line and exactly one quorum line")
    return policy._replace(quorum=quorum)


def quorum_reached(policy: Policy, name: str, cosigned: set[str]) -> bool:
    if name == "none" or name in cosigned:
        return True
    threshold, members = policy.groups.get(name, (1, []))
    return sum(quorum_reached(policy, member, cosigned) for member in members) >= threshold


# ── checkpoint (C2SP signed-note, tlog-checkpoint, tlog-cosignature) ─────────────────────────────────────


class Checkpoint(NamedTuple):
    origin: str
    size: int
    root: bytes
    signatures: list[dict[str, Any]]  # One per line: name, key id, kind, status, time of a cosignature.


def parse_note(data: bytes, what: str) -> tuple[bytes, list[tuple[str, bytes]]]:
    """Text with its last newline, and the signatures as (key name, key id ‖ signature)."""
    note = utf8(data, what)
    if re.search("[\x00-\x09\x0b-\x1f]", note):
        raise BadInput(f"{what}: a control character")
    head, blank, tail = note.rpartition("\n\n")
    lines = tail.split("\n")
    if not blank or not head or lines.pop() != "" or not 0 < len(lines) <= SIGNATURES_MAX:
        raise BadInput(f"{what}: not a signed note: text, empty line, 1 to {SIGNATURES_MAX} signature lines")
    signatures = []
    for line in lines:
        dash, name, signature = (*line.split(" "), "", "", "")[:3]
        if dash != "—" or not name or line.count(" ") != 2 or name.split() != [name] or "+" in name:
            raise BadInput(f"{what}: malformed signature line: {shown(line, 60)}")
        signatures.append((name, unb64(signature, f"{what}: signature by {shown(name)}")))
    return (head + "\n").encode(), signatures


def parse_size(text: str, what: str) -> int:
    if not re.fullmatch("0|[1-9][0-9]{0,18}", text) or int(text) >= 1 << 63:
        raise BadInput(f"{what}: not a number in decimal: {shown(text, 30)}")
    return int(text)


def parse_hash(text: str, what: str) -> bytes:
    data = unb64(text, what)
    if len(data) != 32:
        raise BadInput(f"{what}: a hash has 32 bytes, this has {len(data)}")
    return data


def check_signature(key: Key, signature: bytes, text: bytes, head: Checkpoint) -> tuple[str, int]:
    """("verified" or "not checked", POSIX time of a cosignature or 0); a wrong signature raises Unverified."""
    stamp, verdict = 0, None
    if key.kind == ED25519:
        verdict = ed25519_verifies(key.public, signature, text)
    else:
        stamp = int.from_bytes(signature[:8], "big")
        if len(signature) <= 8 or stamp >= 1 << 63:
            raise Unverified(f"cosignature by {shown(key.name)} has no valid time")
        if key.kind == COSIGNATURE_ED25519:
            message = b"cosignature/v1\ntime %d\n" % stamp + text
            verdict = ed25519_verifies(key.public, signature[8:], message)
        else:
            name, origin = key.name.encode("utf-8", "surrogateescape"), head.origin.encode()
            if len(name) > 255 or len(origin) > 255:
                raise Unverified("a name longer than 255 bytes cannot be cosigned with ML-DSA-44")
            message = b"subtree/v1\n\x00" + bytes([len(name)]) + name + struct.pack(">Q", stamp)
            message += bytes([len(origin)]) + origin + struct.pack(">QQ", 0, head.size) + head.root
            verdict = mldsa44_verifies(key.public, signature[8:], message)
    if verdict is False:
        raise Unverified(f"{KINDS[key.kind]} signature by {shown(key.name)} on size {head.size} is wrong")
    return ("not checked" if verdict is None else "verified"), stamp


def check_checkpoint(data: bytes, policy: Policy, what: str) -> Checkpoint:
    """A checkpoint that a log of the policy signed and its quorum cosigned; else Unverified."""
    text, signatures = parse_note(data, what)
    lines = text.decode().split("\n")[:-1]
    if len(lines) < 3 or "" in lines:
        raise BadInput(f"{what}: a checkpoint has at least three lines, none empty: origin, size, root")
    head = Checkpoint(
        lines[0], parse_size(lines[1], f"{what}: size"), parse_hash(lines[2], f"{what}: root"), []
    )
    if head.size == 0 and head.root != sha256(b""):
        raise Unverified(f"{what}: the root of an empty tree is another")
    log_keys = [key for key in policy.logs if key.name == head.origin]
    if not log_keys:
        raise Unverified(f"{what}: log {shown(head.origin)} is not in the policy")
    known = [("log", "", key) for key in log_keys] + [("witness", *item) for item in policy.witnesses.items()]
    signed, cosigned = False, set[str]()
    for name, blob in signatures:
        line: dict[str, Any] = {"name": name, "keyId": blob[:4].hex(), "status": "unknown key, ignored"}
        for role, alias, key in known:
            if (key.name, key.key_id) == (name, blob[:4]):
                status, stamp = check_signature(key, blob[4:], text, head)
                line.update(status=status, role=role, kind=KINDS[key.kind])
                line.update({"time": stamp} if stamp else {})
                signed = signed or (role == "log" and status == "verified")
                cosigned.update([alias] if role == "witness" and status == "verified" else [])
        head.signatures.append(line)
    if not signed:
        unchecked = any(s["status"] == "not checked" and s["role"] == "log" for s in head.signatures)
        reason = (
            "its ML-DSA-44 signature cannot be checked here"
            if unchecked
            else "no signature by a key of the log"
        )
        raise Unverified(f"{what}: {reason}")
    if not quorum_reached(policy, policy.quorum, cosigned):
        raise Unverified(
            f"{what}: the quorum {shown(policy.quorum)} is not reached; cosigned by {len(cosigned)}"
        )
    return head


# ── Merkle tree (RFC 6962; proofs as in RFC 9162 sections 2.1.3.2 and 2.1.4.2) ───────────────────────────


def leaf_hash(entry: bytes) -> bytes:
    return sha256(b"\x00" + entry)


def node_hash(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right)


def root_from_inclusion(index: int, size: int, leaf: bytes, path: list[bytes]) -> bytes:
    if index >= size:
        raise Unverified(f"index {index} lies outside a tree of {size}")
    node, last = index, size - 1
    for sibling in path:
        if last == 0:
            raise Unverified(f"inclusion proof for index {index} in size {size} is too long")
        if node & 1 or node == last:
            leaf = node_hash(sibling, leaf)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            leaf = node_hash(leaf, sibling)
        node, last = node >> 1, last >> 1
    if last:
        raise Unverified(f"inclusion proof for index {index} in size {size} is too short")
    return leaf


def check_consistency(old: Checkpoint, new: Checkpoint, path: list[bytes]) -> None:
    what = f"size {old.size} to {new.size}"
    if old.size > new.size:
        raise Unverified(f"the old checkpoint is the larger: {what}")
    if old.size in (0, new.size):
        if path or (old.size and old.root != new.root):
            raise Unverified(f"two roots for one size, or a proof where none is needed: {what}")
        return
    node, last = old.size - 1, new.size - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    path = path if node else [old.root, *path]
    if not path:
        raise Unverified(f"consistency proof is empty: {what}")
    first = second = path[0]
    for sibling in path[1:]:
        if last == 0:
            raise Unverified(f"consistency proof is too long: {what}")
        if node & 1 or node == last:
            first, second = node_hash(sibling, first), node_hash(sibling, second)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            second = node_hash(second, sibling)
        node, last = node >> 1, last >> 1
    if last or first != old.root or second != new.root:
        raise Unverified(f"the new log does not contain the old one unchanged: {what}")


def tree_root(nodes: list[bytes]) -> bytes:
    """RFC 6962 section 2.1 over node hashes; the last may be the root of a smaller, incomplete tree."""
    if len(nodes) == 1:
        return nodes[0]
    half = 1 << (len(nodes) - 1).bit_length() - 1
    return node_hash(tree_root(nodes[:half]), tree_root(nodes[half:]))


# ── record ───────────────────────────────────────────────────────────────────────────────────────────────


def record_of(document: Any, what: str) -> dict[str, Any]:
    """The record inside the body of GET /api/v1/audit-events/{id}, or the record itself; only it is checked."""
    record = document.get("record", document) if isinstance(document, dict) else None
    if not isinstance(record, dict) or not isinstance(record.get("header"), dict):
        raise BadInput(f"{what}: no record with a header")
    if set(record) - {"header", "content", "disclosures"}:
        raise BadInput(f"{what}: unknown member of the record: {shown(sorted(set(record))[:9])}")
    header = record["header"]
    fits = [isinstance(header.get(name, ...), kinds) for name, kinds in HEADER_TYPES.items()]
    numbers = header.get("position"), header.get("streamVersion")
    if set(header) != set(HEADER_TYPES) or not all(fits) or any(isinstance(n, bool) for n in numbers):
        raise BadInput(f"{what}: the header's members are not those of format atp.record.v1")
    if header["format"] != "atp.record.v1":
        raise BadInput(f"{what}: unknown record format {shown(header['format'])}")
    if not isinstance(record.get("content"), (dict, type(None))) or not isinstance(
        record.get("disclosures", []), list
    ):
        raise BadInput(f"{what}: content is an object and disclosures an array")
    return record


def _leaves(value: Any, pointer: str) -> Iterator[tuple[str, Any]]:
    """Every value that has no members, with its JSON pointer (RFC 6901); a sealed value counts as one."""
    if isinstance(value, dict) and value and "~sealed" not in value:
        for key, item in value.items():
            yield from _leaves(item, pointer + "/" + key.replace("~", "~0").replace("/", "~1"))
    elif isinstance(value, list) and value:
        for index, item in enumerate(value):
            yield from _leaves(item, f"{pointer}/{index}")
    else:
        yield pointer, value


def _resolves(value: Any, pointer: str) -> bool:
    """Whether a pointer leads anywhere; `/stream` is the header's, which is always there."""
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        if isinstance(value, list) and key.isdecimal() and len(key) < 10 and int(key) < len(value):
            value = value[int(key)]
        elif isinstance(value, dict) and key in value:
            value = value[key]
        else:
            return pointer == "/stream"
    return True


def check_content(record: dict[str, Any], where: str) -> dict[str, Any] | None:
    content = record.get("content")
    if content is not None and b64u(sha256(canonical(content))) != record["header"]["contentHash"]:
        raise Unverified(f"{where}: the content is not what was recorded (content hash differs)")
    return content


def check_fields(record: dict[str, Any], where: str) -> tuple[list[dict[str, str]], int]:
    """Fields that are not simply there ({pointer, status, type}), and how many are; content is verified already.

    Raises Unverified where a disclosure was not recorded, or a value is gone without a finding that says why.
    """
    content, disclosed = record["content"], dict[str, str]()
    for item in record.get("disclosures", []):
        if (
            not isinstance(item, list)
            or len(item) != 3
            or not all(isinstance(part, str) for part in item[:2])
        ):
            raise BadInput(f"{where}: a disclosure is an array of salt, pointer, value")
        if item[1] in disclosed:
            raise BadInput(f"{where}: two disclosures of {shown(item[1])}")
        disclosed[item[1]] = b64u(sha256(canonical(item)))
    findings = _findings(content, where)
    fields, plain = [], 0
    for pointer, value in _leaves(content, ""):
        kind, method = findings.pop(pointer, ("", ""))
        if isinstance(value, dict) and value:
            if list(value) != ["~sealed"] or not isinstance(value["~sealed"], str):
                raise Unverified(f"{where}: malformed sealed value at {shown(pointer)}")
            digest = disclosed.pop(pointer, None)
            if digest not in (None, value["~sealed"]):
                raise Unverified(f"{where}: the disclosed value of {shown(pointer)} is not the sealed one")
            fields.append({"pointer": pointer, "status": "verified" if digest else "withheld", "type": kind})
        elif method in ("mask", "hash"):
            # Nothing in format v1 binds the clear text of a hashed value, so it is never called verified.
            unbound = disclosed.pop(pointer, None) and method == "hash"
            status = (
                "hashed; the value given is not proven"
                if unbound
                else {"mask": "masked", "hash": "hashed"}[method]
            )
            fields.append({"pointer": pointer, "status": status, "type": kind})
        else:
            plain += 1
    sealed = tuple(field["pointer"] + "/" for field in fields)
    for pointer, (kind, method) in findings.items():
        if method == "drop":
            fields.append({"pointer": pointer, "status": "dropped", "type": kind})
        elif method != "none" and not pointer.startswith(sealed) and not _resolves(content, pointer):
            fields.append({"pointer": pointer, "status": "missing", "type": kind})
    if disclosed:
        raise Unverified(f"{where}: disclosure of {shown(min(disclosed))} belongs to no sealed value")
    return fields, plain


def _findings(content: dict[str, Any], where: str) -> dict[str, tuple[str, str]]:
    """Pointer → (type, method). Several findings may name one value; the one that changed it counts."""
    classification = content.get("classification")
    rows = classification.get("findings") if isinstance(classification, dict) else None
    if not isinstance(rows, list) or not all(
        isinstance(row, list) and len(row) == 5 and all(isinstance(part, str) for part in row) for row in rows
    ):
        raise BadInput(f"{where}: classification.findings is not a list of findings")
    return {row[0]: (row[1], row[4]) for row in sorted(rows, key=lambda row: row[4] != "none")}


def check_record(record: dict[str, Any], where: str) -> dict[str, Any]:
    """The report of one record whose header is proven to be in the log."""
    header, content = record["header"], check_content(record, where)
    report = {
        name: header[name] for name in ("position", "id", "tenant", "stream", "streamVersion", "recordedAt")
    }
    if content is None:
        return {**report, "content": "missing", "fields": [], "plainValues": 0}
    fields, plain = check_fields(record, where)
    return {**report, "content": "verified", "fields": fields, "plainValues": plain}


def alarm_unexplained(report: dict[str, Any]) -> None:
    where = f"record at position {report['position']}"
    if report["content"] == "missing":
        raise Unverified(f"{where}: its content is missing, and nothing here explains why")
    for field in report["fields"]:
        if field["status"] == "missing":
            raise Unverified(
                f"{where}: the value of {shown(field['pointer'])} is missing, and nothing explains why"
            )


# ── one record: tlog-proof (C2SP) and COSE receipt (RFC 9942) ────────────────────────────────────────────


def parse_proof(data: bytes, what: str) -> tuple[int, list[bytes], bytes]:
    """Index, path from leaf to root, and the checkpoint verbatim."""
    head, blank, checkpoint = data.partition(b"\n\n")
    lines = utf8(head, what).split("\n")
    if not blank or lines.pop(0) != "c2sp.org/tlog-proof@v1":
        raise BadInput(f"{what}: not a c2sp.org/tlog-proof@v1")
    if lines and lines[0].startswith("extra "):
        unb64(lines.pop(0)[6:], f"{what}: extra line")
    if not lines or not lines[0].startswith("index ") or len(lines) > 1 + PATH_MAX:
        raise BadInput(f"{what}: no index line, or more than {PATH_MAX} hashes")
    index = parse_size(lines.pop(0)[6:], f"{what}: index")
    return index, [parse_hash(line, f"{what}: hash {n}") for n, line in enumerate(lines, 1)], checkpoint


def check_inclusion(index: int, size: int, path: list[bytes], record: dict[str, Any]) -> bytes:
    """The root that this record, at this index, leads to."""
    if record["header"]["position"] != index:
        raise Unverified(
            f"the record says position {shown(record['header']['position'], 30)}, the proof index {index}"
        )
    return root_from_inclusion(index, size, leaf_hash(sha256(canonical(record["header"]))), path)


def verify_proof(policy: Policy, proof: str, event: str) -> dict[str, Any]:
    record = record_of(parse_json(read_file(event, RECORD_BYTES_MAX), "event"), "event")
    index, path, checkpoint = parse_proof(read_file(proof, FILE_BYTES_MAX), "proof")
    head = check_checkpoint(checkpoint, policy, "checkpoint")
    if check_inclusion(index, head.size, path, record) != head.root:
        raise Unverified(
            f"this record is not at index {index} of the log: record and proof lead to another root"
        )
    report = check_record(record, f"record at position {index}")
    alarm_unexplained(report)
    return {**summary(head), "record": report}


class Tag(NamedTuple):
    number: int
    value: Any


def _cbor(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    """One item of deterministic CBOR (RFC 8949 section 4.2.1) and where it ends."""
    if depth > CBOR_DEPTH_MAX or at >= len(data):
        raise BadInput("receipt: CBOR is cut off or nested too deeply")
    major, low, at = data[at] >> 5, data[at] & 31, at + 1
    length = 1 << low - 24 if 24 <= low <= 27 else 0
    number = int.from_bytes(data[at : at + length], "big") if length else low
    at += length
    if low > 27 or at > len(data) or (length and number < (24 if length == 1 else 1 << 4 * length)):
        raise BadInput("receipt: CBOR is cut off, of indefinite length or not in its shortest form")
    if major < 2:
        return (number if major == 0 else -1 - number), at
    if major in (2, 3):
        if number > len(data) - at:
            raise BadInput("receipt: CBOR is cut off")
        chunk = data[at : at + number]
        return (chunk if major == 2 else utf8(chunk, "receipt")), at + number
    if major == 7:
        if length or number not in (20, 21, 22):
            raise BadInput("receipt: unexpected CBOR value")
        return {20: False, 21: True, 22: None}[number], at
    items = []
    for _ in range({4: number, 5: 2 * number, 6: 1}[major]):
        item, at = _cbor(data, at, depth + 1)
        items.append(item)
    if major != 5:
        return (items if major == 4 else Tag(number, items[0])), at
    keys = items[::2]
    if any(type(key) not in (int, str) for key in keys) or len(set(keys)) != len(keys):
        raise BadInput("receipt: a CBOR map has a key twice, or one that is neither integer nor text")
    return dict(zip(keys, items[1::2])), at


def cbor(data: bytes) -> Any:
    value, end = _cbor(data, 0, 0)
    if end != len(data):
        raise BadInput("receipt: bytes after its end")
    return value


def _cbor_bytes(data: bytes) -> bytes:
    size = len(data)
    return (
        bytes([0x40 + size])
        if size < 24
        else b"\x58" + bytes([size])
        if size < 256
        else b"\x59" + struct.pack(">H", size)
    ) + data


def parse_receipt(data: bytes) -> tuple[bytes, dict[Any, Any], bytes, int, int, list[bytes]]:
    """Protected header as bytes and as a map, signature, tree size, index, path."""
    receipt = cbor(data)
    body = receipt.value if isinstance(receipt, Tag) and receipt.number == 18 else None
    if (
        not isinstance(body, list)
        or len(body) != 4
        or not isinstance(body[0], bytes)
        or not isinstance(body[3], bytes)
    ):
        raise BadInput("receipt: not a tagged COSE_Sign1")
    protected, unprotected, payload, signature = body
    header = cbor(protected) if protected else None
    if not isinstance(header, dict) or header.get(395) != 1 or header.get(1) not in (-8, -19) or 2 in header:
        raise BadInput(
            "receipt: the protected header must say EdDSA (1: -8) and RFC9162_SHA256 (395: 1), nothing critical"
        )
    if payload is not None or len(protected) > 4096:
        raise BadInput("receipt: the payload must be detached")
    proofs = unprotected.get(396) if isinstance(unprotected, dict) else None
    inclusion = proofs.get(-1) if isinstance(proofs, dict) else None
    if not isinstance(inclusion, list) or len(inclusion) != 1 or not isinstance(inclusion[0], bytes):
        raise BadInput("receipt: exactly one inclusion proof (396: {-1: [proof]}) is expected")
    proof = cbor(inclusion[0])
    if not isinstance(proof, list) or len(proof) != 3 or not isinstance(proof[2], list):
        raise BadInput("receipt: an inclusion proof is [tree size, leaf index, path]")
    size, index, path = proof
    if (
        type(size) is not int
        or type(index) is not int
        or not 0 <= index < size < 1 << 63
        or len(path) > PATH_MAX
    ):
        raise BadInput("receipt: tree size, index or path length is out of range")
    if not all(isinstance(node, bytes) and len(node) == 32 for node in path):
        raise BadInput("receipt: a hash has 32 bytes")
    return protected, header, signature, size, index, path


def verify_receipt(policy: Policy, receipt: str, event: str) -> dict[str, Any]:
    """RFC 9942 section 5.2.1: apply the proof to the entry, then check the signature over the root it gives."""
    record = record_of(parse_json(read_file(event, RECORD_BYTES_MAX), "event"), "event")
    protected, header, signature, size, index, path = parse_receipt(read_file(receipt, FILE_BYTES_MAX))
    root = check_inclusion(index, size, path, record)
    signed = b"\x84\x6aSignature1" + _cbor_bytes(protected) + b"\x40" + _cbor_bytes(root)
    keys = [k for k in policy.logs if k.kind == ED25519 and ed25519_verifies(k.public, signature, signed)]
    if not keys:
        raise Unverified(f"no log of the policy signed the root that this record at index {index} leads to")
    issuer = header[15].get(1) if isinstance(header.get(15), dict) else None  # CWT claims, RFC 9597.
    if issuer not in (None, keys[0].name):
        raise Unverified(
            f"the receipt was issued by {shown(issuer)}, its key belongs to {shown(keys[0].name)}"
        )
    if not quorum_reached(policy, policy.quorum, set()):
        raise Unverified("the policy asks for witnesses, and a COSE receipt carries no cosignatures")
    report = check_record(record, f"record at position {index}")
    alarm_unexplained(report)
    line = {
        "name": keys[0].name,
        "keyId": keys[0].key_id.hex(),
        "status": "verified",
        "role": "log",
        "kind": "Ed25519",
    }
    return {**summary(Checkpoint(keys[0].name, size, root, [line])), "record": report}


def verify_consistency(policy: Policy, old: str, new: str, proof: str) -> dict[str, Any]:
    """The proof file holds one base64 hash per line, as RFC 9162 section 2.1.4.1 orders them; it may be empty."""
    first = check_checkpoint(read_file(old, FILE_BYTES_MAX), policy, "old checkpoint")
    second = check_checkpoint(read_file(new, FILE_BYTES_MAX), policy, "new checkpoint")
    if first.origin != second.origin:
        raise Unverified(f"the checkpoints are of two logs: {shown(first.origin)} and {shown(second.origin)}")
    lines = utf8(read_file(proof, FILE_BYTES_MAX), "proof").split("\n")
    if lines.pop() != "" or len(lines) > PATH_MAX:
        raise BadInput(f"proof: at most {PATH_MAX} hashes, one a line, each line ended")
    check_consistency(first, second, [parse_hash(line, f"proof line {n}") for n, line in enumerate(lines, 1)])
    return {**summary(second), "oldSize": first.size}


# ── a whole log (C2SP tlog-tiles) ────────────────────────────────────────────────────────────────────────


def fetch(base: str, path: str, limit: int) -> bytes | None:
    """A resource of the log, or None where it does not exist. The only function that may use the network."""
    where = f"{base.rstrip('/')}/{path}"
    if not re.match("https?://", base):
        try:
            return read_file(where, limit)
        except FileNotFoundError:
            return None
    request = urllib.request.Request(where, headers={"Accept-Encoding": "gzip, identity"})
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
            data = answer.read(limit + 1)
            if answer.headers.get("Content-Encoding") == "gzip":
                data = zlib.decompressobj(31).decompress(data, limit + 1)
    except urllib.error.HTTPError as e:
        if e.code in (404, 410):
            return None
        raise BadInput(f"{shown(where)}: HTTP status {e.code}") from None
    except (OSError, ValueError, zlib.error, EOFError) as e:
        raise BadInput(f"{shown(where)}: {shown(e)}") from None
    if len(data) > limit:
        raise BadInput(f"{shown(where)}: larger than {limit} bytes")
    return data


def fetch_tile(base: str, level: str, index: int, width: int, limit: int) -> tuple[str, bytes]:
    """Path and bytes of a tile; a partial one may have been replaced by the full one since."""
    digits = f"{index:03d}" if index < 1000 else f"{index:0{-(-len(str(index)) // 3) * 3}d}"
    groups = [digits[n : n + 3] for n in range(0, len(digits), 3)]
    full = f"tile/{level}/" + "/".join(["x" + group for group in groups[:-1]] + groups[-1:])
    for path in (f"{full}.p/{width}", full) if width < 256 else (full,):
        data = fetch(base, path, limit)
        if data is not None:
            return path, data
    raise Unverified(f"{full}{f'.p/{width}' if width < 256 else ''} is missing")


def fetch_entries(base: str, index: int, width: int) -> list[bytes]:
    path, data = fetch_tile(base, "entries", index, width, BUNDLE_BYTES_MAX)
    entries, at = [], 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 2], "big")
        entries.append(data[at + 2 : at + 2 + size])
        at += 2 + size
    if at != len(data) or len(entries) != (width if path.endswith(f".p/{width}") else 256):
        raise Unverified(f"{path}: not a bundle of {width} entries")
    return entries[:width]


class Tiles:
    """The tree as it grows: per level the tile being filled. Compares each tile with what the entries give."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.levels: list[list[bytes]] = [[]]
        self.checked = [0]

    def add(self, node: bytes, level: int = 0) -> None:
        if level == len(self.levels):
            self.levels.append([])
            self.checked.append(0)
        self.levels[level].append(node)
        if len(self.levels[level]) == 256:
            self.compare(level)
            full, self.levels[level] = self.levels[level], []
            self.add(tree_root(full), level + 1)

    def compare(self, level: int) -> None:
        nodes = self.levels[level]
        path, data = fetch_tile(self.base, str(level), self.checked[level], len(nodes), 8192)
        expected = b"".join(nodes)
        if len(data) != (8192 if ".p/" not in path else len(expected)) or data[: len(expected)] != expected:
            wrong = next((i for i, node in enumerate(nodes) if data[32 * i : 32 * i + 32] != node), 0)
            first = (self.checked[level] * 256 + wrong) * 256**level
            raise Unverified(
                f"{path} is not what the entries give: hash {wrong}, covering position {first} on"
            )
        self.checked[level] += 1

    def root(self) -> bytes:
        """Compare the partial tiles, then RFC 6962 over what is left on each level, lowest level rightmost."""
        rest: list[bytes] = []
        for level, nodes in enumerate(self.levels):
            if nodes:
                self.compare(level)
            rest = [tree_root(nodes + rest)] if nodes or rest else []
        return rest[0] if rest else sha256(b"")


def verify_log(policy: Policy, base: str, records: str | None, complete: bool) -> dict[str, Any]:
    checkpoint = fetch(base, "checkpoint", FILE_BYTES_MAX)
    if checkpoint is None:
        raise BadInput(f"{shown(base)}: no checkpoint there")
    head, tiles = check_checkpoint(checkpoint, policy, "checkpoint"), Tiles(base)
    export = Export(Path(records).open("rb"), complete) if records else None
    for index in range((head.size + 255) // 256):
        for entry in fetch_entries(base, index, min(256, head.size - 256 * index)):
            if export:
                export.check(entry)
            tiles.add(leaf_hash(entry))
    if tiles.root() != head.root:
        raise Unverified(f"the entries give another root than the checkpoint of size {head.size}")
    return {**summary(head), "tiles": sum(tiles.checked), **(export.finish(head.size) if export else {})}


class Export:
    """An exported log, one record a line in order of position, compared with the log's entries as they come.

    Two passes over one open file: the first gathers the records that explain absences, the second verifies
    every record, those included; an explanation therefore counts only where everything verifies.
    """

    def __init__(self, file: BinaryIO, complete: bool) -> None:
        self.file, self.complete = file, complete
        self.erased: dict[str, list[int]] = {}
        self.covered: list[
            tuple[int, int, int, str]
        ] = []  # First and last position, explaining record, word.
        self.position, self.line, self.tenant = 0, 0, ""
        self.streams: dict[str, tuple[int, str | None]] = {}  # Version and record hash of each stream's last.
        self.purged = set[str]()  # Record hashes of records that are absent with an explanation.
        self.counts: dict[str, int] = {}
        for line in iter(lambda: self.file.readline(RECORD_BYTES_MAX + 1), b""):
            self.line += 1
            if b'"platform"' in line:
                self.gather(self.parse(line))
        self.file.seek(0)
        self.line, self.next = 0, self.read()

    def parse(self, line: bytes) -> dict[str, Any]:
        what = f"records line {self.line}"
        if len(line) > RECORD_BYTES_MAX:
            raise BadInput(f"{what}: longer than {RECORD_BYTES_MAX} bytes")
        return record_of(parse_json(line, what), what)

    def read(self) -> dict[str, Any] | None:
        line = self.file.readline(RECORD_BYTES_MAX + 1)
        self.line += 1
        return self.parse(line) if line else None

    def gather(self, record: dict[str, Any]) -> None:
        """Only a platform record explains: what a producer sends has kind audit, whatever its type says."""
        content, by = record.get("content") or {}, record["header"]["position"]
        payload = content.get("payload")
        word = EXPLAINS.get(str(content.get("type")), "") if content.get("kind") == "platform" else ""
        if not word or not isinstance(payload, dict):
            return
        for subject in payload.get("subjects") or [] if word == "erased" else []:
            self.erased.setdefault(str(subject), []).append(by)
        for span in payload.get("positions") or [] if word != "erased" else []:
            if not isinstance(span, list) or len(span) != 2 or not all(type(n) is int for n in span):
                raise BadInput(f"records line {self.line}: positions is a list of [first, last]")
            self.covered.append((span[0], span[1], by, word))

    def explained(self, position: int) -> str:
        """Why a record is absent. An explanation reaches back, never forward."""
        for first, last, by, word in self.covered:
            if first <= position <= last and by > position:
                return f"{word} by record {by}"
        return ""

    def count(self, status: str) -> None:
        self.counts[status] = self.counts.get(status, 0) + 1

    def check(self, entry: bytes) -> None:
        """The record for the next entry of the log: there and right, or absent and explained."""
        position, self.position = self.position, self.position + 1
        record, where = self.next, f"record at position {position}"
        if record is None or record["header"]["position"] > position:
            why = self.explained(position)
            if not why:
                raise Unverified(f"{where} is missing, and no record explains why")
            self.purged.add(b64u(entry))
            self.count(f"records {why}")
            return
        if record["header"]["position"] < position:
            raise Unverified(
                f"records line {self.line}: position {record['header']['position']} is out of order"
            )
        if sha256(canonical(record["header"])) != entry:
            raise Unverified(f"{where}: its header is not what was recorded (the log's entry differs)")
        self.check_chain(record["header"], entry, where)
        self.count_fields(check_record(record, where), record)
        self.next = self.read()

    def check_chain(self, header: dict[str, Any], entry: bytes, where: str) -> None:
        stream, version, previous = header["stream"], header["streamVersion"], header["previousHash"]
        last, expected = self.streams.get(stream, (0, None))
        bridged = last + 1 < version <= last + 1 + len(self.purged) and previous in self.purged
        if not bridged and (version != last + 1 or previous != expected):
            raise Unverified(f"{where}: the chain of stream {shown(stream)} is broken after version {last}")
        self.tenant = self.tenant or header["tenant"]
        if header["tenant"] != self.tenant:
            raise Unverified(
                f"{where}: it belongs to tenant {shown(header['tenant'])}, not {shown(self.tenant)}"
            )
        self.streams[stream] = (version, b64u(entry))

    def count_fields(self, report: dict[str, Any], record: dict[str, Any]) -> None:
        position, why = report["position"], ""
        if report["content"] == "missing":
            why = self.explained(position)
            report["content"] = why or "missing"
        self.count(f"records {'content ' + why if why else 'verified'}")
        self.count_sealed(report["fields"], record, position)
        alarm_unexplained(report)

    def count_sealed(self, fields: list[dict[str, str]], record: dict[str, Any], position: int) -> None:
        for field in fields:
            if field["status"] == "withheld":
                subject = record["content"]["classification"].get("subject")
                by = min((n for n in self.erased.get(str(subject), []) if n > position), default=None)
                unexplained = "missing" if self.complete else "withheld"
                field["status"] = unexplained if by is None else f"erased by record {by}"
            self.count(f"values {field['status']}")

    def finish(self, size: int) -> dict[str, Any]:
        self.file.close()
        if self.next is not None:
            raise Unverified(f"records line {self.line}: no such position in a log of {size}")
        return {"counts": dict(sorted(self.counts.items())), "streams": len(self.streams)}


# ── command line ─────────────────────────────────────────────────────────────────────────────────────────


def summary(head: Checkpoint) -> dict[str, Any]:
    return {"log": head.origin, "size": head.size, "root": b64(head.root), "signatures": head.signatures}


def time_of(stamp: int) -> str:
    try:
        return datetime.fromtimestamp(stamp, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return f"{stamp} seconds after 1970"


def print_report(report: dict[str, Any]) -> None:
    rows: list[tuple[str, str]] = [("log", report["log"]), ("size", report["size"]), ("root", report["root"])]
    for s in report["signatures"]:
        when = f" at {time_of(s['time'])}" if "time" in s else ""
        rows.append(
            ("signature", f"{s['status']}: {s.get('kind', 'key ' + s['keyId'])} by {s['name']}{when}")
        )
    record = report.get("record")
    if record:
        rows += [("index", record["position"]), ("record", record["id"]), ("tenant", record["tenant"])]
        rows += [
            ("stream", f"{record['stream']} version {record['streamVersion']}"),
            ("time", record["recordedAt"]),
        ]
        rows += [
            ("field", f"{f['pointer']} {f['status']}{f' ({t})' if (t := f['type']) else ''}")
            for f in record["fields"]
        ]
        rows.append(("fields", f"{record['plainValues']} others verified"))
    for name in ("oldSize", "tiles", "streams"):
        rows += [(name, report[name])] if name in report else []
    rows += [("count", f"{number} {status}") for status, number in report.get("counts", {}).items()]
    print("VERIFIED")
    for name, value in rows:
        print(f"  {name:<10}{shown(value, 400)}")


def parse_arguments(argv: list[str]) -> argparse.Namespace:
    mode = argv[0] if argv and argv[0] in ("receipt", "consistency", "log") else "proof"
    parser = argparse.ArgumentParser(
        prog="verify.py" if mode == "proof" else f"verify.py {mode}",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--policy", required=True, help="trusted keys of log and witnesses (C2SP tlog-policy)"
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    operands = {
        "proof": ["proof", "event"],
        "receipt": ["receipt", "event"],
        "consistency": ["old", "new", "proof"],
    }
    for name in operands.get(mode, ["base"]):
        parser.add_argument(name)
    if mode == "log":
        parser.add_argument("--records", help="exported records, one a line, to compare with the log")
        parser.add_argument(
            "--complete", action="store_true", help="a sealed value without disclosure is an alarm"
        )
    options = parser.parse_args(argv if mode == "proof" else argv[1:])
    options.mode = mode
    return options


def run(options: argparse.Namespace) -> dict[str, Any]:
    policy = parse_policy(read_file(options.policy, FILE_BYTES_MAX))
    if options.mode == "log":
        return verify_log(policy, options.base, options.records, options.complete)
    if options.mode == "consistency":
        return verify_consistency(policy, options.old, options.new, options.proof)
    if options.mode == "receipt":
        return verify_receipt(policy, options.receipt, options.event)
    return verify_proof(policy, options.proof, options.event)


def main(argv: list[str] | None = None) -> int:
    options = parse_arguments(sys.argv[1:] if argv is None else argv)
    code, report = 2, {}
    try:
        report = run(options)
        code, problem = 0, ""
    except Unverified as e:
        code, problem = 1, str(e)
    except BadInput as e:
        problem = str(e)
    except OSError as e:
        problem = f"{shown(e.filename or '')}: {shown(e.strerror or e)}"
    except Exception as e:  # noqa: BLE001 — whatever a hostile file provokes must read as "not verified".
        problem = f"unexpected {type(e).__name__}: {shown(e)}"
    if options.json:
        print(json.dumps({"verified": code == 0, **({"problem": problem} if code else report)}))
    elif code:
        print(f"{'NOT VERIFIED' if code == 1 else 'BAD INPUT, nothing verified'}: {problem}")
    else:
        print_report(report)
    return code


if __name__ == "__main__":
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")
    sys.exit(main())
