"""The facts this context states: platform records in the tenant's own log, payloads in snake_case.

A payload tells what the tenant or key is like after the change, never a secret or its hash.
"""

from __future__ import annotations

from typing import Any

from atp.kernel.clock import format_us
from atp.tenants.model import ApiKey, Tenant

TENANT_CREATED = "tenant.created"
TENANT_UPDATED = "tenant.updated"
TENANT_SUSPENDED = "tenant.suspended"
TENANT_REACTIVATED = "tenant.reactivated"
API_KEY_CREATED = "api_key.created"
API_KEY_ROTATED = "api_key.rotated"
API_KEY_REVOKED = "api_key.revoked"


def tenant_stream(tenant: Tenant) -> str:
    """Return the stream of a tenant's own history."""
    return f"tenant/{tenant.id}"


def api_key_stream(key: ApiKey) -> str:
    """Return the stream of a key's history."""
    return f"api_key/{key.id}"


def tenant_payload(tenant: Tenant) -> dict[str, Any]:
    """Return the payload of every tenant event."""
    return {
        "tenant_id": tenant.id,
        "display_name": tenant.display_name,
        "region": tenant.region,
        "status": tenant.status,
        "log_id": tenant.log_id,
        "origin": tenant.origin,
        "rate_limits": dict(tenant.rate_limits),
        "version": tenant.version,
    }


def api_key_payload(key: ApiKey, *, reason: str | None = None) -> dict[str, Any]:
    """Return the payload of every key event; `reason` is given for a revocation."""
    return {
        "tenant_id": key.tenant,
        "api_key_id": key.id,
        "name": key.name,
        "roles": list(key.roles),
        "clearance": key.clearance.label,
        "expires_at": None if key.expires_us is None else format_us(key.expires_us),
        "revoked_at": None if key.revoked_us is None else format_us(key.revoked_us),
        "replaced_by": key.replaced_by,
        "reason": reason,
    }
