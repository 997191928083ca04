"""A small log of our own making, written from the specifications and from docs/record-format.md alone.

It shares no code with `atp` and none with the verifier, so that both can be wrong only independently. Trees
are computed by the recursive definitions of RFC 6962 section 2.1, not by anything fast.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import cbor2
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey

ORIGIN = "log.example/tlog/01jdemo0000000000000000000"


def sha(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def b64u(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def canonical(value: Any) -> bytes:
    """Enough of RFC 8785 for test records: keys inside the BMP, no floats."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")).encode()


def salt(n: int) -> str:
    return b64u(sha(b"salt %d" % n)[:16])


def seal(pointer: str, value: Any, n: int) -> tuple[dict[str, str], list[Any]]:
    disclosure = [salt(n), pointer, value]
    return {"~sealed": b64u(sha(canonical(disclosure)))}, disclosure


# ── the tree, as RFC 6962 section 2.1 defines it ─────────────────────────────────────────────────────────


def split(n: int) -> int:
    return 1 << (n - 1).bit_length() - 1


@functools.cache
def root(leaves: tuple[bytes, ...]) -> bytes:
    """MTH, over leaf hashes."""
    if not leaves:
        return sha(b"")
    if len(leaves) == 1:
        return leaves[0]
    k = split(len(leaves))
    return sha(b"\x01" + root(leaves[:k]) + root(leaves[k:]))


def inclusion(m: int, leaves: tuple[bytes, ...]) -> list[bytes]:
    """PATH(m, D[n])."""
    if len(leaves) == 1:
        return []
    k = split(len(leaves))
    if m < k:
        return [*inclusion(m, leaves[:k]), root(leaves[k:])]
    return [*inclusion(m - k, leaves[k:]), root(leaves[:k])]


def consistency(m: int, leaves: tuple[bytes, ...], *, whole: bool = True) -> list[bytes]:
    """PROOF(m, D[n]) by SUBPROOF(m, D[n], b)."""
    if m == len(leaves):
        return [] if whole else [root(leaves)]
    k = split(len(leaves))
    if m <= k:
        return [*consistency(m, leaves[:k], whole=whole), root(leaves[k:])]
    return [*consistency(m - k, leaves[k:], whole=False), root(leaves[:k])]


# ── keys and notes ───────────────────────────────────────────────────────────────────────────────────────


class Signer:
    """A named key of one C2SP signature type: 1 Ed25519, 4 Ed25519 cosignature, 6 ML-DSA-44 cosignature."""

    def __init__(self, name: str, kind: int, seed: bytes) -> None:
        self.name, self.kind = name, kind
        self.key: Any = (
            MLDSA44PrivateKey.from_seed_bytes(sha(seed))
            if kind == 6
            else Ed25519PrivateKey.from_private_bytes(sha(seed))
        )
        self.public: bytes = self.key.public_key().public_bytes_raw()
        self.key_id = sha(name.encode() + b"\n" + bytes([kind]) + self.public)[:4]

    @property
    def vkey(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{b64(bytes([self.kind]) + self.public)}"

    def line(self, text: bytes, stamp: int = 1_790_000_000) -> str:
        signature = (
            self.key.sign(text) if self.kind == 1 else struct.pack(">Q", stamp) + self.cosign(text, stamp)
        )
        return f"— {self.name} {b64(self.key_id + signature)}\n"

    def cosign(self, text: bytes, stamp: int) -> bytes:
        if self.kind == 4:
            signature: bytes = self.key.sign(f"cosignature/v1\ntime {stamp}\n".encode() + text)
            return signature
        origin, size, tree = text.decode().split("\n")[:3]
        message = b"subtree/v1\n\0" + bytes([len(self.name)]) + self.name.encode() + struct.pack(">Q", stamp)
        message += (
            bytes([len(origin)]) + origin.encode() + struct.pack(">QQ", 0, int(size)) + base64.b64decode(tree)
        )
        signature = self.key.sign(message)
        return signature


class Log:
    """Records of one tenant, and everything a log publishes about them."""

    def __init__(self, *signers: Signer, origin: str = ORIGIN) -> None:
        self.origin = origin
        self.signers = list(signers) or [Signer(origin, 1, b"log")]
        self.records: list[dict[str, Any]] = []
        self.entries: list[bytes] = []
        self.streams: dict[str, tuple[int, str | None]] = {}

    @property
    def leaves(self) -> tuple[bytes, ...]:
        return tuple(sha(b"\x00" + entry) for entry in self.entries)

    def append(
        self, content: dict[str, Any], disclosures: list[Any] | None = None, stream: str = "document/d1"
    ) -> int:
        position = len(self.records)
        version, previous = self.streams.get(stream, (0, None))
        header = {
            "contentHash": b64u(sha(canonical(content))), "format": "atp.record.v1", "id": f"01J{position:023d}",
            "position": position, "previousHash": previous, "recordedAt": f"2026-11-21T10:00:{position % 60:02d}.000000Z",
            "stream": stream, "streamVersion": version + 1, "tenant": "demo",
        }  # fmt: skip
        record = {"header": header, "content": content}
        self.records.append({**record, "disclosures": disclosures} if disclosures else record)
        self.entries.append(sha(canonical(header)))
        self.streams[stream] = (version + 1, b64u(self.entries[-1]))
        return position

    def checkpoint(self, size: int | None = None, *more: Signer) -> str:
        leaves = self.leaves[:size]
        text = f"{self.origin}\n{len(leaves)}\n{b64(root(leaves))}\n"
        return text + "\n" + "".join(signer.line(text.encode()) for signer in [*self.signers, *more])

    def proof(self, index: int, size: int | None = None, *more: Signer, extra: str = "") -> str:
        path = "".join(b64(node) + "\n" for node in inclusion(index, self.leaves[:size]))
        return f"c2sp.org/tlog-proof@v1\n{extra}index {index}\n{path}\n{self.checkpoint(size, *more)}"

    def receipt(self, index: int, size: int | None = None) -> bytes:
        """RFC 9942, with the log's origin as issuer in the CWT claims."""
        signer, leaves = self.signers[0], self.leaves[:size]
        protected = cbor2.dumps({1: -8, 4: signer.key_id, 15: {1: self.origin}, 395: 1}, canonical=True)
        signature = signer.key.sign(cbor2.dumps(["Signature1", protected, b"", root(leaves)]))
        proof = cbor2.dumps([len(leaves), index, inclusion(index, leaves)])
        return cbor2.dumps(cbor2.CBORTag(18, [protected, {396: {-1: [proof]}}, None, signature]))

    def consistency(self, old: int, new: int | None = None) -> str:
        return "".join(b64(node) + "\n" for node in consistency(old, self.leaves[:new]))

    def policy(self, *lines: str, quorum: str = "none") -> str:
        logs = "".join(f"log {signer.vkey}\n" for signer in self.signers)
        return "# trusted\n" + logs + "".join(f"{line}\n" for line in lines) + f"quorum {quorum}\n"

    def jsonl(self) -> bytes:
        return b"".join(json.dumps(record).encode() + b"\n" for record in self.records)

    def publish(self, directory: Path, *sizes: int) -> Path:
        """C2SP tlog-tiles for the given sizes (all of it by default); the checkpoint is the last one's."""
        for size in sizes or (len(self.entries),):
            nodes, level = list(self.leaves[:size]), 0
            for n, bundle in chunks(self.entries[:size]):
                write(
                    directory,
                    "entries",
                    n,
                    len(bundle),
                    b"".join(struct.pack(">H", len(e)) + e for e in bundle),
                )
            while nodes:
                for n, tile in chunks(nodes):
                    write(directory, str(level), n, len(tile), b"".join(tile))
                nodes, level = [root(tuple(tile)) for _, tile in chunks(nodes) if len(tile) == 256], level + 1
            (directory / "checkpoint").write_text(self.checkpoint(size))
        return directory


def chunks(items: list[bytes]) -> list[tuple[int, list[bytes]]]:
    return [(n // 256, items[n : n + 256]) for n in range(0, len(items), 256)]


def write(directory: Path, level: str, n: int, width: int, data: bytes) -> None:
    number = f"{n:03d}" if n < 1000 else f"x{n // 1000:03d}/{n % 1000:03d}"
    path = directory / "tile" / level / (f"{number}.p/{width}" if width < 256 else number)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


# ── contents ─────────────────────────────────────────────────────────────────────────────────────────────


def content(n: int, findings: list[list[str]] | None = None, **changes: Any) -> dict[str, Any]:
    return {
        "action": {"name": "document.opened"}, "actor": {"type": "user", "id": f"u-{n}"},
        "classification": {"findings": findings or [], "level": "personal" if findings else "public"},
        "kind": "audit", "occurredAt": "2026-11-21T09:59:59.000000Z", "outcome": "success",
        "payload": {"big": 18446744073709551615, "n": n, "text": "grüße \u2028 \"q\" \\ \u0001 €"},
        "policy": {"retentionDays": 365, "rule": "default", "version": "builtin-1"},
        "resource": {"type": "document", "id": "d1"}, "salt": salt(n),
        "schema": {"name": "audit-event", "version": 1}, "type": "audit_event.received", **changes,
    }  # fmt: skip


def personal(n: int, subject: str = "AAAAAAAAAAAAAAAA") -> tuple[dict[str, Any], list[Any]]:
    """A record with a value of each method, and its disclosures."""
    name, shown = seal("/actor/name", "Ada Lovelace", n)
    ip, hidden = seal("/context/ip", "192.0.2.7", n + 1000)
    body = content(
        n,
        [
            ["/actor/name", "person_name", "high", "field", "seal"],
            ["/actor/email", "email", "high", "value", "mask"],
            ["/actor/id", "email", "high", "value", "hash"],
            ["/context/ip", "ipv4", "high", "value", "seal"],
            ["/payload/token", "jwt", "high", "value", "drop"],
            ["/payload/n", "number", "low", "value", "none"],
        ],
        actor={"type": "user", "id": "~hmac:" + salt(n), "name": name, "email": "a***@e***.com"},
        context={"ip": ip},
    )
    body["classification"]["subject"] = subject
    return body, [shown, hidden]


def platform(kind: str, payload: dict[str, Any], n: int = 0) -> dict[str, Any]:
    return content(n, kind="platform", type=kind, payload=payload)


def sample(count: int = 40, *signers: Signer) -> Log:
    """Plain records, every fifth one personal."""
    log = Log(*signers)
    for n in range(count):
        body, disclosures = personal(n) if n % 5 == 2 else (content(n), None)
        log.append(body, disclosures, stream=f"document/d{n % 3}")
    return log
