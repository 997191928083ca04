"""Keys at rest: AES-256-GCM wrapping, and the master key ring they all hang from.

The master key comes from the environment or a file and is never stored beside what it protects by ATP itself
unless it is the default key file of a laptop. A wrapped key names the master key that wrapped it, so several
can be valid while a rotation rewraps.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from atp.kernel.hashing import b64u, sha256, unb64u
from atp.kernel.randomness import random_bytes

KEY_SIZE: Final = 32
NONCE_SIZE: Final = 12
KEY_ID_SIZE: Final = 4
_VERSION: Final = b"\x01"


class KeyUnavailable(Exception):
    """A key needed to open something is not in the ring, or the sealed bytes were altered; check ATP_MASTER_KEY."""


def derive(key: bytes, purpose: str) -> bytes:
    """Return a 32-byte key for one purpose (HKDF-SHA-256, RFC 5869), so that no key serves two ends."""
    return HKDF(algorithm=hashes.SHA256(), length=KEY_SIZE, salt=None, info=purpose.encode()).derive(key)


class Wrapper:
    """Wraps and unwraps under one 256-bit key; `aad` binds the result to its place."""

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_SIZE:
            raise ValueError("a key has 32 bytes")
        self.key_id = sha256(b"atp key id" + key)[:KEY_ID_SIZE]
        self._aead = AESGCM(key)

    def wrap(self, plain: bytes, aad: bytes) -> bytes:
        """Return version ‖ key id ‖ nonce ‖ ciphertext and tag."""
        nonce = random_bytes(NONCE_SIZE)
        return _VERSION + self.key_id + nonce + self._aead.encrypt(nonce, plain, aad)

    def unwrap(self, wrapped: bytes, aad: bytes) -> bytes:
        """Return what was wrapped; raises KeyUnavailable when the key or the bytes are not the same."""
        head = 1 + KEY_ID_SIZE
        if wrapped[:head] != _VERSION + self.key_id:
            raise KeyUnavailable("wrapped by another key")
        try:
            return self._aead.decrypt(wrapped[head : head + NONCE_SIZE], wrapped[head + NONCE_SIZE :], aad)
        except (InvalidTag, ValueError) as error:
            raise KeyUnavailable("altered, or wrapped for another place") from error


class KeyRing:
    """The master keys: the first wraps, all unwrap. Immutable."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys:
            raise ValueError("at least one master key is needed")
        self._wrappers = [Wrapper(key) for key in keys]
        self._root = derive(keys[0], "installation secrets")

    @property
    def current_id(self) -> bytes:
        """The id of the key that wraps now; what names another one is due for rewrapping."""
        return self._wrappers[0].key_id

    def secret(self, purpose: str) -> bytes:
        """Return a secret that all processes with this ring share and that changes with the master key."""
        return derive(self._root, purpose)

    def wrap(self, plain: bytes, aad: bytes) -> bytes:
        """Wrap under the current master key."""
        return self._wrappers[0].wrap(plain, aad)

    def unwrap(self, wrapped: bytes, aad: bytes) -> bytes:
        """Unwrap under whichever master key wrapped it; raises KeyUnavailable."""
        for wrapper in self._wrappers:
            if wrapped[1 : 1 + KEY_ID_SIZE] == wrapper.key_id:
                return wrapper.unwrap(wrapped, aad)
        raise KeyUnavailable("no master key of this ring wrapped it")


def parse_keys(text: str) -> KeyRing:
    """Read master keys, base64url, one a line (or separated by commas), the current one first.

    Raises ValueError, without echoing any of it, for anything that is not a 32-byte key.
    """
    try:
        return KeyRing(
            [unb64u(line.strip().rstrip("=")) for line in text.replace(",", "\n").split("\n") if line.strip()]
        )
    except ValueError:
        raise ValueError("a master key is 32 random bytes in base64url") from None


def load_or_create(path: Path) -> KeyRing:
    """Read the key file, or write a new one readable by its owner only.

    Crash argument: the key is on disk (file and directory fsynced) before anything is wrapped with it.
    """
    try:
        return parse_keys(path.read_text("ascii"))
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(path.name + ".new")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(b64u(random_bytes(KEY_SIZE)) + "\n")
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
        sync_directory(path.parent)
        return parse_keys(path.read_text("ascii"))


def sync_directory(path: Path) -> None:
    """Make a rename or a new file in `path` durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
