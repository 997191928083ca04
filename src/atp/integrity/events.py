"""The facts this context states, as platform records of the tenant's own log, payloads in snake_case.

On the wire HashChainValidated is `integrity.verification_completed` and HashChainValidationFailed is
`integrity.verification_failed`; SignatureVerified and SignatureVerificationFailed are derived from the same
records when they are published, so no fact is stored twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from atp.integrity.model import LogKey, Verification, VerificationResult
from atp.integrity.rules import notes
from atp.kernel.clock import format_us
from atp.streams.model import LogHead

KEY_ROTATED: Final = "integrity.key_rotated"
VERIFICATION_COMPLETED: Final = "integrity.verification_completed"
VERIFICATION_FAILED: Final = "integrity.verification_failed"
REPORTED_FINDINGS_MAX: Final = 100
"""Findings named in the record of a failed verification; all kept ones are in the verification itself."""


def integrity_stream(log: LogHead) -> str:
    """Return the stream of a log's own integrity (without the reserved prefix)."""
    return f"integrity/{log.log_id}"


def key_rotated(
    log: LogHead, *, new: Sequence[LogKey], retiring: Sequence[LogKey], until_us: int
) -> dict[str, Any]:
    """Return the payload of a rotation: who reads it under the old signature may trust the new keys."""
    return {
        "log_id": log.log_id,
        "origin": log.origin,
        "new_keys": [
            {
                "algorithm": key.algorithm,
                "key_id": key.key_id,
                "vkey": notes.vkey(log.origin, key.algorithm, key.public),
            }
            for key in new
        ],
        "retiring_key_ids": [key.key_id for key in retiring],
        "overlap_until": format_us(until_us),
    }


def verification_ended(verification: Verification, result: VerificationResult) -> dict[str, Any]:
    """Return the payload of an ended verification; a failed one also says what was found, by kind and position."""
    target = verification.target
    payload: dict[str, Any] = {
        "verification_id": verification.id,
        "scope": target.scope,
        "stream": target.stream,
        "record_id": target.record_id,
        "values": target.values,
        "size": result.size,
        "root_hash": result.root_hash,
        "duration_ms": max(0, (verification.finished_us or 0) - (verification.started_us or 0)) // 1000,
    }
    if not result.verified:
        payload["finding_count"] = result.finding_count
        payload["findings"] = [
            {"kind": found.kind, "position": found.position}
            for found in result.findings[:REPORTED_FINDINGS_MAX]
        ]
    return payload
