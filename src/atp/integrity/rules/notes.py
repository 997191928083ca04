"""C2SP signed-note, tlog-checkpoint and the ML-DSA-44 half of tlog-cosignature: texts, key ids, signatures.

Pure: sizes, roots and keys go in, the bytes of notes come out, and back. Time is given by the caller.
"""

from __future__ import annotations

import binascii
import struct
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ed25519, mldsa

from atp.integrity.model import ED25519_TYPE, ML_DSA_44_TYPE, Algorithm
from atp.kernel.clock import SECOND_US
from atp.kernel.hashing import b64, sha256

_TYPES: dict[Algorithm, int] = {"Ed25519": ED25519_TYPE, "ML-DSA-44": ML_DSA_44_TYPE}
_SUBTREE_LABEL = b"subtree/v1\n\x00"


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line: the signer's name, the four-byte key id in hexadecimal, and the signature's bytes."""

    name: str
    key_id: str
    raw: bytes


@dataclass(frozen=True, slots=True)
class ParsedCheckpoint:
    """A checkpoint read from its note; nothing about its signatures has been verified yet."""

    origin: str
    size: int
    root: bytes
    text: bytes
    signatures: tuple[Signature, ...]


def key_id(name: str, algorithm: Algorithm, public: bytes) -> str:
    """Return the first four bytes of SHA-256(name ‖ 0x0A ‖ type ‖ public key) in hexadecimal."""
    return sha256(name.encode() + b"\n" + bytes([_TYPES[algorithm]]) + public)[:4].hex()


def vkey(name: str, algorithm: Algorithm, public: bytes) -> str:
    """Return the verifier key of signed-note: name, key id, base64 of type and public key."""
    return f"{name}+{key_id(name, algorithm, public)}+{b64(bytes([_TYPES[algorithm]]) + public)}"


def checkpoint_text(origin: str, size: int, root: bytes) -> bytes:
    """Return the three lines of a checkpoint: origin, size, root."""
    return f"{origin}\n{size}\n{b64(root)}\n".encode()


def generate(algorithm: Algorithm) -> tuple[bytes, bytes]:
    """Return (private seed, public key) of a new key."""
    if algorithm == "Ed25519":
        private = ed25519.Ed25519PrivateKey.generate()
        return private.private_bytes_raw(), private.public_key().public_bytes_raw()
    post_quantum = mldsa.MLDSA44PrivateKey.generate()
    return post_quantum.private_bytes_raw(), post_quantum.public_key().public_bytes_raw()


class Signer:
    """Signs the checkpoints of one log with one key."""

    def __init__(self, origin: str, algorithm: Algorithm, seed: bytes) -> None:
        self._origin = origin
        self._key: ed25519.Ed25519PrivateKey | mldsa.MLDSA44PrivateKey
        if algorithm == "Ed25519":
            self._key = ed25519.Ed25519PrivateKey.from_private_bytes(seed)
        else:
            self._key = mldsa.MLDSA44PrivateKey.from_seed_bytes(seed)
        self.algorithm = algorithm
        self.key_id = key_id(origin, algorithm, self._key.public_key().public_bytes_raw())

    def line(self, size: int, root: bytes, now_us: int) -> str:
        """Return the signature line for the checkpoint of `size` and `root`."""
        if isinstance(self._key, ed25519.Ed25519PrivateKey):
            raw = self._key.sign(checkpoint_text(self._origin, size, root))
        else:
            seconds = now_us // SECOND_US
            raw = struct.pack(">Q", seconds) + self._key.sign(
                cosigned_message(self._origin, self._origin, size, root, seconds)
            )
        return f"— {self._origin} {b64(bytes.fromhex(self.key_id) + raw)}\n"

    def raw_signature(self, message: bytes) -> bytes:
        """Sign any message; COSE receipts sign their own structure."""
        return self._key.sign(message)


def cosigned_message(name: str, origin: str, size: int, root: bytes, seconds: int) -> bytes:
    """Return tlog-cosignature's `cosigned_message` for a whole tree."""
    cosigner, log = name.encode(), origin.encode()
    return (
        _SUBTREE_LABEL
        + bytes([len(cosigner)])
        + cosigner
        + struct.pack(">Q", seconds)
        + bytes([len(log)])
        + log
        + struct.pack(">QQ", 0, size)
        + root
    )


def sign(origin: str, size: int, root: bytes, signers: Sequence[Signer], now_us: int) -> bytes:
    """Return the signed note: the checkpoint's text, an empty line, a line per signer."""
    lines = "".join(signer.line(size, root, now_us) for signer in signers)
    return checkpoint_text(origin, size, root) + b"\n" + lines.encode()


def parse(note: bytes) -> ParsedCheckpoint:
    """Read a signed checkpoint; ValueError where it is not one to the byte."""
    text, separator, tail = note.rpartition(b"\n\n")
    if not separator or not tail.endswith(b"\n"):
        raise ValueError("a note is a text, an empty line and signatures")
    lines = text.decode("utf-8").split("\n")
    if len(lines) != 3 or not lines[1].isascii() or not lines[1].isdigit():
        raise ValueError("a checkpoint has three lines")
    size, root = int(lines[1]), unb64(lines[2])
    if str(size) != lines[1] or len(root) != 32:
        raise ValueError("not a checkpoint's size and root")
    signatures = []
    for line in tail.decode("utf-8").removesuffix("\n").split("\n"):
        mark, _, rest = line.partition(" ")
        name, _, encoded = rest.partition(" ")
        raw = unb64(encoded)
        if mark != "—" or not name or len(raw) < 5:
            raise ValueError("not a signature line")
        signatures.append(Signature(name, raw[:4].hex(), raw[4:]))
    return ParsedCheckpoint(lines[0], size, root, (text + b"\n"), tuple(signatures))


def verifies(checkpoint: ParsedCheckpoint, signature: Signature, algorithm: Algorithm, public: bytes) -> bool:
    """Tell whether the signature over the checkpoint is the key's."""
    try:
        if algorithm == "Ed25519":
            ed25519.Ed25519PublicKey.from_public_bytes(public).verify(signature.raw, checkpoint.text)
            return True
        (seconds,) = struct.unpack(">Q", signature.raw[:8])
        message = cosigned_message(
            signature.name, checkpoint.origin, checkpoint.size, checkpoint.root, seconds
        )
        mldsa.MLDSA44PublicKey.from_public_bytes(public).verify(signature.raw[8:], message)
    except (InvalidSignature, ValueError, struct.error):
        return False
    return True


def unb64(text: str) -> bytes:
    """Return the bytes of padded base64 in its one canonical spelling; ValueError for any other text."""
    try:
        raw = binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error as error:
        raise ValueError("not base64") from error
    if b64(raw) != text:
        raise ValueError("not canonical base64")
    return raw
