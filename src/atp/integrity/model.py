"""The words of integrity: signing keys, checkpoints, trees, verifications.

Sizes count records; hashes are 32 bytes, base64url without padding where they are text.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

import msgspec

Algorithm = Literal["Ed25519", "ML-DSA-44"]
Scope = Literal["log", "stream", "record"]
VerificationStatus = Literal["queued", "running", "verified", "failed", "aborted"]
KeyState = Literal["active", "retiring", "retired"]

RECORD_FORMAT: Final = "atp.record.v1"
"""The format that headers name (docs/record-format.md); written here again, because an auditor reads for himself."""
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


FINDINGS_MAX: Final = 1000
"""Findings kept of one verification; the count stays exact."""
OVERLAP_SECONDS: Final = 604_800
"""How long rotated keys sign beside their successors where the caller does not say: a week."""


class Finding(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that is wrong: what kind, where, and a sentence; nothing of any event's content."""

    kind: str
    message: str
    position: int | None = None
    id: str | None = None
    stream: str | None = None


class CheckedSignature(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One signature of the checkpoint, and whether it is right."""

    key_id: str
    algorithm: Algorithm
    valid: bool


class ValueCounts(msgspec.Struct, kw_only=True):
    """How many sealed values are in which state (design section 4.4)."""

    verified: int = 0
    withheld: int = 0
    erased: int = 0
    expired: int = 0
    superseded: int = 0
    missing: int = 0

    def add(self, other: ValueCounts) -> None:
        """Add the counts of another part."""
        for name in self.__struct_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))


class VerificationResult(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What a verification found, in the contract's shape; `root_hash` None unless the whole log was verified."""

    verified: bool
    size: int
    root_hash: str | None
    signatures: list[CheckedSignature]
    values: ValueCounts
    finding_count: int
    findings: list[Finding]


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be verified; `values` says whether sealed values are read too."""

    scope: Scope = "log"
    stream: str | None = None
    record_id: str | None = None
    values: bool = True


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a verification. Times in microseconds; None for what has not happened yet."""

    id: str
    target: Target
    status: VerificationStatus
    requested_us: int
    done: int = 0
    total: int = 0
    started_us: int | None = None
    finished_us: int | None = None
    result: VerificationResult | None = None
