"""What the record store takes in and gives out.

Bytes are what was hashed: `header` and `content` are canonical JSON. Times are microseconds since the epoch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from atp.kernel.errors import Problem
from atp.kernel.hashing import b64u, sha256
from atp.kernel.ids import TenantId, encode_ulid

StreamState = Literal["active", "sealed", "archived"]
RESERVED_PREFIX = "atp."
"""Streams of platform events start with it, so that no tenant can seal or fill them."""


@dataclass(frozen=True, slots=True)
class SubjectKeyRow:
    """A data subject's key as stored: `ref` is the keyed pseudonym of the subject, `wrapped` the key."""

    key_id: int
    ref: bytes
    wrapped: bytes


@dataclass(frozen=True, slots=True)
class Disclosure:
    """The encrypted disclosures of one record for one subject; `key` is set while its row may not be stored yet."""

    key_id: int
    box: bytes
    key: SubjectKeyRow | None = None


@dataclass(frozen=True, slots=True)
class Idempotency:
    """Keyed digests (never plain ones: both may be personal) of the idempotency key and of the event."""

    key: bytes
    fingerprint: bytes


@dataclass(frozen=True, slots=True)
class NewRecord:
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


@dataclass(frozen=True, slots=True)
class Appended:
    """Where a record stands; `duplicate` when the idempotency key had brought it here before."""

    id: bytes
    position: int
    stream: str
    version: int
    recorded_us: int
    record_hash: bytes
    sequence: int
    duplicate: bool = False


Outcome = Appended | Problem


@dataclass(slots=True)
class StoredRecord:
    """A record as read from disk. Hashes and JSON are derived from the stored bytes when asked for."""

    sequence: int
    tenant_no: int
    position: int
    stream_no: int
    version: int
    id: bytes
    header: bytes
    content: bytes
    _parsed: dict[str, Any] = field(default_factory=dict, repr=False)

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
        """The header as JSON values."""
        return self._json("header", self.header)

    @property
    def content_json(self) -> dict[str, Any]:
        """The content as JSON values; sealed values stay sealed."""
        return self._json("content", self.content)

    def _json(self, name: str, raw: bytes) -> dict[str, Any]:
        parsed = self._parsed.get(name)
        if parsed is None:
            parsed = self._parsed[name] = msgspec.json.decode(raw)
        return parsed  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class LogHead:
    """The state of one tenant's log. `log_id` names it in tile addresses, `origin` in its checkpoints."""

    tenant_no: int
    tenant: TenantId
    shard: int
    size: int
    recorded_us: int
    log_id: str
    origin: str


@dataclass(frozen=True, slots=True)
class StreamHead:
    """The state of one stream. `record_hash` is that of its last record, None for an empty stream."""

    stream_no: int
    name: str
    version: int
    record_hash: bytes | None
    state: StreamState

    @property
    def previous_json(self) -> str:
        """The next record's `previousHash` as JSON."""
        return "null" if self.record_hash is None else f'"{b64u(self.record_hash)}"'


@dataclass(frozen=True, slots=True)
class SealRequest:
    """Why a stream is sealed, and the version its caller believes to be the last."""

    reason: str
    expected_version: int | None = None
    correlation: Mapping[str, str] | None = None
