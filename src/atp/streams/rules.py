"""Pure rules of the record: building contents and headers, sealing values, deciding whether an append may stand.

Formats are those of docs/record-format.md (design section 4).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from atp.kernel import canonical
from atp.kernel.errors import Detail, Problem
from atp.kernel.hashing import b64u, b64u_bytes, hmac_sha256, sha256
from atp.kernel.ids import TenantId, encode_ulid
from atp.kernel.randomness import random_salt
from atp.streams.model import NewRecord, StreamHead

FORMAT: Final = "atp.record.v1"
SUBJECT_REF_SIZE: Final = 12

_HEADER: Final = (
    b'{"contentHash":"%b","format":"'
    + FORMAT.encode()
    + b'","id":"%b","position":%d,"previousHash":%b,"recordedAt":"%b","stream":%b,"streamVersion":%d,"tenant":"%b"}'
)
_json_string = msgspec.json.Encoder().encode


def disclosure(pointer: str, value: object, *, plain: bool = False) -> tuple[bytes, dict[str, str]]:
    """Return (disclosure bytes, the marker that replaces the value).

    The disclosure is the canonical array [salt, pointer, value]; the marker binds it by SHA-256, the SD-JWT
    construction. `plain` promises a value without floats and unusual keys.
    """
    encode = canonical.encode_plain if plain else canonical.encode
    opened = encode([random_salt(), pointer, value])
    return opened, {"~sealed": b64u(sha256(opened))}


def subject_ref(index_key: bytes, actor_type: str, actor_id: str) -> bytes:
    """Return the keyed pseudonym under which a data subject's keys are filed."""
    return hmac_sha256(index_key, f"{actor_type}\0{actor_id}".encode())[:SUBJECT_REF_SIZE]


def pseudonym(key: bytes, value: str) -> str:
    """Return the searchable stand-in of a personal identifier: deterministic within one tenant only."""
    return "~hmac:" + b64u(hmac_sha256(key, value.encode())[:16])


def header_bytes(
    head: StreamHead, *, position: int, ulid: str, recorded: str, record: NewRecord, tenant: TenantId
) -> bytes:
    """Return the canonical header of the record that follows `head`.

    Written out by hand because its keys are fixed and it is made under the lock; tests/streams shows that it
    equals `canonical.encode` of the same values. Tenant ids need no escapes.
    """
    return _HEADER % (
        b64u_bytes(record.content_hash),
        ulid.encode(),
        position,
        b"null" if head.record_hash is None else b'"%b"' % b64u_bytes(head.record_hash),
        recorded.encode(),
        _json_string(record.stream),
        head.version + 1,
        tenant.encode(),
    )


def refusal(record: NewRecord, head: StreamHead | None, ahead: int) -> Problem | None:
    """Return why the record may not be appended to its stream, or None.

    `ahead` counts records that this call puts before it.
    """
    if head and head.state != "active":
        return Problem(
            "STREAM_SEALED",
            f"The stream is {head.state} at version {head.version}; it takes no more events.",
            details=[Detail("stream", f"is {head.state}")],
        )
    if record.expected_version is None:
        return None
    version = (head.version if head else 0) + ahead
    if record.expected_version == version:
        return None
    return Problem(
        "VERSION_CONFLICT",
        f"The stream is at version {version}.",
        details=[
            Detail("expectedStreamVersion", f"the stream is at version {version}", record.expected_version)
        ],
        extra={"currentVersion": version},
    )


def idempotency_conflict(first_id: bytes, position: int) -> Problem:
    """Return the refusal of a used key with another event; it names the first record."""
    first = encode_ulid(first_id)
    return Problem(
        "IDEMPOTENCY_CONFLICT",
        f"This idempotency key was used for another event, record {first}.",
        details=[Detail("idempotencyKey", f"was used for record {first}")],
        extra={"firstRecord": {"id": first, "position": position}},
    )


def seal_box(disclosures: Sequence[bytes]) -> bytes:
    """Return the plaintext of a disclosure box: a JSON array of the disclosures, byte for byte as hashed."""
    return b"[" + b",".join(disclosures) + b"]"
