"""What the record store takes in and gives out.

Bytes are what was hashed: `header` and `content` are canonical JSON. Times are microseconds since the epoch.
Structs rather than dataclasses: one is made for every record under the shard's lock, at a seventh of the cost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from atp.kernel.errors import Problem
from atp.kernel.hashing import sha256
from atp.kernel.ids import TenantId, encode_ulid

StreamState = Literal["active", "sealed", "archived"]
RESERVED_PREFIX = "atp."
"""Streams of platform events start with it, so that no tenant can seal or fill them."""
STREAM_LENGTH_MAX: Final = 512
"""Characters of a stream's name; resource ids are bounded to fit (contracts/schemas/audit-event.v1.json)."""


class SubjectKeyRow(msgspec.Struct, frozen=True, gc=False):
    """A data subject's key as stored: `ref` is the keyed pseudonym of the subject, `wrapped` the key."""

    key_id: int
    ref: bytes
    wrapped: bytes


class Disclosure(msgspec.Struct, frozen=True, gc=False):
    """The encrypted disclosures of one record for one subject; `key` is set while its row may not be stored yet."""

    key_id: int
    box: bytes
    key: SubjectKeyRow | None = None


class Idempotency(msgspec.Struct, frozen=True, gc=False):
    """Keyed digests (never plain ones: both may be personal) of the idempotency key and of the event."""

    key: bytes
    fingerprint: bytes


class NewRecord(msgspec.Struct, frozen=True, gc=False):
    """A record ready to be appended: everything that needs no lock is done.

    `packed` is `content` in its stored form; `expected_version` is the stream's version that the producer saw.
    """

    stream: str
    content: bytes
    content_hash: bytes
    packed: bytes
    expected_version: int | None = None
    idempotency: Idempotency | None = None
    disclosures: tuple[Disclosure, ...] = ()


class Appended(msgspec.Struct, frozen=True, gc=False):
    """Where a record stands; `duplicate` when the idempotency key had brought it here before."""

    id: bytes
    position: int
    stream: str
    version: int
    recorded_us: int
    record_hash: bytes
    sequence: int
    duplicate: bool = False

    @property
    def ulid(self) -> str:
        """The identifier as text."""
        return encode_ulid(self.id)


Outcome = Appended | Problem


class StoredRecord(msgspec.Struct, gc=False):
    """A record as read from disk. Hashes and JSON are derived from the stored bytes when asked for."""

    sequence: int
    tenant_no: int
    position: int
    stream_no: int
    version: int
    id: bytes
    header: bytes
    content: bytes

    @property
    def record_hash(self) -> bytes:
        """SHA-256 of the header bytes."""
        return sha256(self.header)

    @property
    def ulid(self) -> str:
        """The identifier as text."""
        return encode_ulid(self.id)

    @property
    def header_json(self) -> dict[str, Any]:
        """The header as JSON values, decoded anew each time."""
        return msgspec.json.decode(self.header)  # type: ignore[no-any-return]

    @property
    def content_json(self) -> dict[str, Any]:
        """The content as JSON values, decoded anew each time; sealed values stay sealed."""
        return msgspec.json.decode(self.content)  # type: ignore[no-any-return]


class LogEntry(msgspec.Struct, frozen=True, gc=False):
    """What a record puts into its log's tree, and where: the hash of its header."""

    sequence: int
    tenant_no: int
    position: int
    header: bytes

    @property
    def record_hash(self) -> bytes:
        """SHA-256 of the header bytes."""
        return sha256(self.header)


class LogHead(msgspec.Struct, frozen=True, gc=False):
    """The state of one tenant's log. `log_id` names it in tile addresses, `origin` in its checkpoints."""

    tenant_no: int
    tenant: TenantId
    shard: int
    size: int
    recorded_us: int
    log_id: str
    origin: str


class StreamHead(msgspec.Struct, frozen=True, gc=False):
    """The state of one stream. `record_hash` is that of its last record, None for an empty stream."""

    stream_no: int
    name: str
    version: int
    record_hash: bytes | None
    state: StreamState


@dataclass(frozen=True, slots=True)
class SealRequest:
    """Why a stream is sealed, and the version its caller believes to be the last."""

    reason: str
    expected_version: int | None = None
    correlation: Mapping[str, str] | None = None


@dataclass(frozen=True, slots=True)
class Sealed:
    """How a stream was closed: its last version, the Merkle root over its records, and the record that says so."""

    final_version: int
    merkle_root: str
    record: Appended
