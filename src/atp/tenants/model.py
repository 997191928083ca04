"""A tenant, an API key, and what callers ask for when they create or change one.

Times are microseconds since the epoch. No type here holds a secret but `IssuedKey`, which lives for one answer.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from atp.kernel.ids import TenantId
from atp.web.principal import Clearance

TenantStatus = Literal["active", "suspended"]
KeyStatus = Literal["active", "expired", "revoked"]

OVERLAP_DEFAULT_SECONDS = 86_400
"""How long a rotated key works on beside its replacement when the caller does not say."""
SECRET_BYTES = 32
"""256 random bits: guessing is hopeless, so the stored hash needs no slow derivation."""


class Tenant(msgspec.Struct, frozen=True, kw_only=True):
    """A customer of the platform. Region, log id and the log's origin are fixed when it is created."""

    id: TenantId
    display_name: str
    region: str
    status: TenantStatus
    log_id: str
    origin: str
    created_us: int
    updated_us: int
    version: int
    rate_limits: dict[str, int]
    """Requests a minute by operation id; raises (or lowers) the contract's default for this tenant."""


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """An API key without its secret, of which only `secret_hash` (SHA-256) is kept."""

    id: str
    tenant: TenantId
    name: str
    roles: tuple[str, ...]
    clearance: Clearance
    secret_hash: bytes
    created_us: int
    expires_us: int | None
    revoked_us: int | None
    last_used_us: int | None
    replaced_by: str | None

    def __repr__(self) -> str:
        return f"ApiKey({self.id})"

    def status(self, now_us: int) -> KeyStatus:
        """Return what the key is worth now; a revoked key stays revoked past its expiry."""
        if self.revoked_us is not None:
            return "revoked"
        return "expired" if self.expires_us is not None and self.expires_us <= now_us else "active"


class NewTenant(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for when a tenant is created."""

    id: str
    display_name: str
    region: str = "local"
    rate_limits: dict[str, int] = {}


class TenantChanges(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for when a tenant is changed; None leaves a field as it is."""

    display_name: str | None = None
    status: TenantStatus | None = None
    rate_limits: dict[str, int] | None = None


class NewApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """What is asked for when a key is created."""

    name: str
    roles: tuple[str, ...]
    clearance: Clearance = Clearance.NONE
    expires_us: int | None = None


class Rotation(msgspec.Struct, frozen=True, kw_only=True):
    """How a key is replaced: how long the old one works on, and when the new one ends."""

    overlap_seconds: int = OVERLAP_DEFAULT_SECONDS
    expires_us: int | None = None


class IssuedKey(msgspec.Struct, frozen=True, kw_only=True):
    """A new key and its secret text, which is shown this once and stored nowhere."""

    key: ApiKey
    secret: str

    def __repr__(self) -> str:
        return f"IssuedKey({self.key.id})"
