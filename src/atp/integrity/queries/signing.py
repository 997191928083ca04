"""Checking a checkpoint: its text against the recomputed tree, its signatures against keys, a policy, the guard.

The text of a note and the trusted keys go in; findings come out. Keys that the log itself names prove less than
keys that a policy of the reader names, and are reported so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from atp.integrity.model import (
    ED25519_TYPE,
    ML_DSA_44_TYPE,
    Algorithm,
    CheckedSignature,
    Checkpoint,
    LogKey,
    TreeState,
)
from atp.integrity.queries.findings import Findings
from atp.integrity.rules import notes
from atp.kernel.clock import SECOND_US
from atp.streams.model import LogHead

_ALGORITHMS: Final[Mapping[int, Algorithm]] = {ED25519_TYPE: "Ed25519", ML_DSA_44_TYPE: "ML-DSA-44"}
_TIMESTAMP: Final = 8


class BadPolicy(Exception):
    """The policy file is not a C2SP tlog-policy that this command can apply; the message says which line."""


@dataclass(frozen=True, slots=True)
class TrustedKey:
    """A log key that a policy trusts."""

    name: str
    key_id: str
    algorithm: Algorithm
    public: bytes


def parse_policy(text: str) -> list[TrustedKey]:
    """Read the log keys of a C2SP tlog-policy; raises BadPolicy, also for one that asks for witnesses."""
    trusted = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split("#", 1)[0].split() if not line.startswith("#") else []
        if not words or words == ["quorum", "none"]:
            continue
        if words[0] != "log" or len(words) not in (2, 3):
            raise BadPolicy(
                f"line {number}: only log keys and `quorum none` can be checked here; use verify.py"
            )
        trusted.append(_trusted(words[1], number))
    if not trusted:
        raise BadPolicy("it trusts no log key")
    return trusted


def _trusted(vkey: str, number: int) -> TrustedKey:
    try:
        name, key_id, encoded = vkey.split("+", 2)
        raw = notes.unb64(encoded)
        algorithm = _ALGORITHMS[raw[0]]
    except (ValueError, LookupError):
        raise BadPolicy(f"line {number}: not a verifier key") from None
    if notes.key_id(name, algorithm, raw[1:]) != key_id:
        raise BadPolicy(f"line {number}: the key id does not belong to the key")
    return TrustedKey(name, key_id, algorithm, raw[1:])


def check_keys(findings: Findings, log: LogHead, keys: Sequence[LogKey]) -> None:
    """Check that every stored public key is the one that its id names."""
    for key in keys:
        if key.algorithm not in _ALGORITHMS.values() or key.key_id != notes.key_id(
            log.origin, key.algorithm, key.public
        ):
            findings.add("log_key", f"The public key {key.key_id[:8]} is not the one its id names.")


def check_tree(findings: Findings, log: LogHead, tree: TreeState | None, roots: Mapping[int, bytes]) -> None:
    """Check the stored size and root of the tree."""
    if tree is None:
        return
    if tree.size < 0:
        findings.add("tree_size", "The tree's size is not one.")
    elif tree.size > log.size:
        findings.add("tree_size", "The tree holds more records than the log.", position=log.size)
    elif tree.size in roots and roots[tree.size] != tree.root:
        findings.add("root", f"The stored root of {tree.size} records is not the recomputed one.")


def check_checkpoint(
    findings: Findings,
    log: LogHead,
    *,
    checkpoint: Checkpoint,
    keys: Sequence[LogKey],
    policy: Sequence[TrustedKey] | None,
    roots: Mapping[int, bytes],
) -> list[CheckedSignature]:
    """Check everything a signed checkpoint says; return its signatures and whether each is right."""
    try:
        note = notes.parse(checkpoint.note)
    except (ValueError, TypeError):
        findings.add("checkpoint", "The checkpoint is not a signed note.")
        return []
    if note.origin != log.origin:
        findings.add("checkpoint_origin", "The checkpoint belongs to another log.")
    if (note.size, note.root) != (checkpoint.size, checkpoint.root):
        findings.add("checkpoint", "The checkpoint's note and its row do not say the same.")
    if note.size > log.size:
        message = f"The checkpoint signs {note.size} records, {note.size - log.size} of which are gone."
        findings.add("rolled_back", message, position=log.size)
    elif note.size in roots and note.root != roots[note.size]:
        findings.add("checkpoint_root", f"The signed root of {note.size} records is not the recomputed one.")
    checked = _check_signatures(findings, note, checkpoint, keys)
    if policy is not None:
        trusted = {(key.name, key.key_id): key for key in policy}
        if not any(
            (key := trusted.get((line.name, line.key_id)))
            and notes.verifies(note, line, key.algorithm, key.public)
            for line in note.signatures
            if note.origin == line.name
        ):
            findings.add("policy", "No key that the policy trusts has signed the checkpoint.")
    return checked


def _check_signatures(
    findings: Findings, note: notes.ParsedCheckpoint, checkpoint: Checkpoint, keys: Sequence[LogKey]
) -> list[CheckedSignature]:
    known = {key.key_id: key for key in keys}
    checked = []
    for line in note.signatures:
        key = known.get(line.key_id) if line.name == note.origin else None
        if key is None or key.algorithm not in _ALGORITHMS.values():
            findings.add(
                "signature_unknown", "The checkpoint carries a signature by a key that is not the log's."
            )
            continue
        valid = notes.verifies(note, line, key.algorithm, key.public)
        if valid and key.algorithm == "ML-DSA-44":
            seconds = int.from_bytes(line.raw[:_TIMESTAMP], "big")
            valid = seconds == checkpoint.signed_us // SECOND_US
        if not valid:
            findings.add("signature", f"The {key.algorithm} signature of key {key.key_id} is wrong.")
        checked.append(CheckedSignature(key_id=key.key_id, algorithm=key.algorithm, valid=valid))
    if not any(signature.algorithm == "Ed25519" for signature in checked):
        findings.add("signature_missing", "No Ed25519 key of the log has signed the checkpoint.")
    in_use = {key.algorithm for key in keys if key.valid_from_us <= checkpoint.signed_us}
    if "ML-DSA-44" in in_use and not any(signature.algorithm == "ML-DSA-44" for signature in checked):
        findings.add("signature_missing", "No ML-DSA-44 key of the log has signed the checkpoint.")
    return checked


def check_guard(
    findings: Findings, log: LogHead, last: tuple[int, bytes] | None, roots: Mapping[int, bytes]
) -> None:
    """Check that what was last signed, as noted outside the store, is still what the store gives."""
    if last is None or not last[0]:
        return
    size, root = last
    if size > log.size:
        message = f"{size} records were signed, and the store has {log.size}: it was restored or cut."
        findings.add("rolled_back", message, position=log.size)
    elif roots.get(size) != root:
        findings.add("rolled_back", f"Another root was signed for {size} records: the store was replaced.")
