"""The words of integrity: signing keys, checkpoints, trees. Sizes count records; hashes are 32 bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Algorithm = Literal["Ed25519", "ML-DSA-44"]
KeyState = Literal["active", "retiring", "retired"]

ED25519_TYPE = 0x01
"""Signature type of a signed note's Ed25519 signature (C2SP signed-note)."""
ML_DSA_44_TYPE = 0x06
"""Signature type of an ML-DSA-44 cosignature (C2SP tlog-cosignature)."""


@dataclass(frozen=True, slots=True)
class LogKey:
    """One signing key of a log; `wrapped` is its private part, `valid_until_us` None while it is in use."""

    key_id: str
    algorithm: Algorithm
    public: bytes
    wrapped: bytes
    valid_from_us: int
    valid_until_us: int | None

    def state(self, now_us: int) -> KeyState:
        """Return whether the key signs, signs beside its successor, or only checks old checkpoints."""
        if self.valid_until_us is None:
            return "active"
        return "retiring" if now_us < self.valid_until_us else "retired"


@dataclass(frozen=True, slots=True)
class TreeState:
    """How much of a log is in the tree, and the root over it."""

    size: int
    root: bytes


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A signed statement of a log's size and root; `note` is the whole signed note."""

    size: int
    root: bytes
    signed_us: int
    note: bytes
