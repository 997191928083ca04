"""Changing tenants and API keys. Each command runs inside one transaction of the writer.

The change and the platform record that tells of it are committed together: a crash leaves both or neither.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec

from atp.engine.database import Connection
from atp.kernel.clock import SECOND_US
from atp.kernel.errors import Detail, Problem
from atp.kernel.hashing import sha256
from atp.kernel.ids import TenantId, UlidFactory, encode_ulid
from atp.kernel.randomness import random_bytes
from atp.tenants import events, queries, rules, store
from atp.tenants.model import (
    SECRET_BYTES,
    ApiKey,
    IssuedKey,
    NewApiKey,
    NewTenant,
    Tenant,
    TenantChanges,
)
from atp.web.principal import Clearance, Principal

DEMO_TENANT = NewTenant(id="demo", display_name="Demo", region="local")
"""The tenant that a first start creates, so that everything can be tried at once."""
DEMO_KEY = NewApiKey(name="First administrator", roles=("admin", "operator"), clearance=Clearance.SECRET)
"""The first key: administrator of the demo tenant and operator, since nobody else could make one."""


class AppendPlatform(Protocol):
    """Appends a platform record in the caller's transaction (streams.commands)."""

    def __call__(
        self,
        connection: Connection,
        *,
        tenant: TenantId,
        type: str,  # noqa: A002 - the record's own word
        stream: str,
        payload: Mapping[str, Any],
        actor: Mapping[str, Any],
    ) -> object:
        """Append, or raise; the transaction then undoes the change too."""
        ...


@dataclass(frozen=True, slots=True)
class Change:
    """The circumstances of a change: who makes it, when, and where it is recorded."""

    principal: Principal
    now_us: int
    append: AppendPlatform
    random: Callable[[int], bytes] = random_bytes

    def new_ulid(self) -> str:
        """Return a new identifier."""
        return encode_ulid(UlidFactory(lambda: self.now_us, self.random).next_many(1)[0])

    def record_tenant(self, connection: Connection, tenant: Tenant, *, event: str) -> None:
        """Append the platform record of a changed tenant."""
        self.append(
            connection,
            tenant=tenant.id,
            type=event,
            stream=events.tenant_stream(tenant),
            payload=events.tenant_payload(tenant),
            actor=self.principal.actor(),
        )

    def record_key(self, connection: Connection, key: ApiKey, *, event: str) -> None:
        """Append the platform record of a changed key."""
        self.append(
            connection,
            tenant=key.tenant,
            type=event,
            stream=events.api_key_stream(key),
            payload=events.api_key_payload(key),
            actor=self.principal.actor(),
        )


def create_tenant(connection: Connection, wanted: NewTenant, *, change: Change) -> Tenant:
    """Create a tenant with a log of its own; VALIDATION_FAILED or TENANT_EXISTS."""
    tenant = Tenant(
        id=rules.check_tenant(wanted),
        display_name=wanted.display_name,
        region=wanted.region,
        status="active",
        log_id=change.new_ulid().lower(),
        created_us=change.now_us,
        updated_us=change.now_us,
        version=1,
        rate_limits=wanted.rate_limits,
    )
    if not store.insert_tenant(connection, tenant):
        raise Problem("TENANT_EXISTS")
    change.record_tenant(connection, tenant, event=events.TENANT_CREATED)
    return tenant


def change_tenant(
    connection: Connection, tenant: TenantId, *, wanted: TenantChanges, change: Change
) -> Tenant:
    """Configure, suspend or reactivate a tenant; what is already so changes and records nothing.

    TENANT_NOT_FOUND, VALIDATION_FAILED, or VERSION_CONFLICT when another process changed it just now.
    """
    before = queries.get_tenant(connection, tenant)
    rules.refuse(
        ([] if wanted.display_name is None else rules.name_faults("displayName", wanted.display_name))
        + rules.limit_faults(wanted.rate_limits or {})
    )
    after = msgspec.structs.replace(
        before,
        display_name=before.display_name if wanted.display_name is None else wanted.display_name,
        rate_limits=before.rate_limits if wanted.rate_limits is None else wanted.rate_limits,
        status=wanted.status or before.status,
    )
    if after == before:
        return before
    after = msgspec.structs.replace(after, version=before.version + 1, updated_us=change.now_us)
    if not store.update_tenant(connection, after, expected_version=before.version):
        raise Problem("VERSION_CONFLICT", "The tenant was changed by someone else at the same moment.")
    for event in _facts(before, after):
        change.record_tenant(connection, after, event=event)
    return after


def create_api_key(
    connection: Connection, tenant: TenantId, *, wanted: NewApiKey, change: Change
) -> IssuedKey:
    """Create a key; its secret text is in the result and nowhere else.

    TENANT_NOT_FOUND, VALIDATION_FAILED, or FORBIDDEN and CLEARANCE_REQUIRED when the key would be able to do
    or see more than the caller.
    """
    queries.get_tenant(connection, tenant)
    rules.check_key(wanted, now_us=change.now_us)
    rules.refuse_escalation(change.principal, wanted)
    issued = _issue(tenant, wanted, change)
    store.insert_key(connection, issued.key)
    change.record_key(connection, issued.key, event=events.API_KEY_CREATED)
    return issued


def rotate_api_key(
    connection: Connection,
    tenant: TenantId,
    key_id: str,
    *,
    change: Change,
    overlap_seconds: int = rules.ROTATION_OVERLAP_DEFAULT_SECONDS,
) -> IssuedKey:
    """Issue a successor with the same rights; the old key works on for `overlap_seconds`, then expires.

    API_KEY_NOT_FOUND, VALIDATION_FAILED, and API_KEY_REVOKED or API_KEY_EXPIRED for a key that is over.
    """
    old = queries.get_api_key(connection, tenant, key_id)
    _refuse_ended(old, change.now_us)
    if not 0 <= overlap_seconds <= rules.ROTATION_OVERLAP_MAX_SECONDS:
        issue = f"must be 0 to {rules.ROTATION_OVERLAP_MAX_SECONDS}"
        raise Problem("VALIDATION_FAILED", details=[Detail("overlapSeconds", issue, overlap_seconds)])
    wanted = NewApiKey(name=old.name, roles=old.roles, clearance=old.clearance, expires_us=old.expires_us)
    rules.refuse_escalation(change.principal, wanted)
    issued = _issue(tenant, wanted, change)
    store.insert_key(connection, issued.key)
    end_us = change.now_us + overlap_seconds * SECOND_US
    ended = msgspec.structs.replace(
        old,
        expires_us=end_us if old.expires_us is None else min(end_us, old.expires_us),
        replaced_by=issued.key.id,
    )
    _end(connection, ended)
    change.record_key(connection, ended, event=events.API_KEY_ROTATED)
    change.record_key(connection, issued.key, event=events.API_KEY_CREATED)
    return issued


def revoke_api_key(connection: Connection, tenant: TenantId, key_id: str, *, change: Change) -> ApiKey:
    """End a key now; revoking it again changes and records nothing. API_KEY_NOT_FOUND."""
    key = queries.get_api_key(connection, tenant, key_id)
    if key.revoked_us is not None:
        return key
    revoked = msgspec.structs.replace(key, revoked_us=change.now_us)
    _end(connection, revoked)
    change.record_key(connection, revoked, event=events.API_KEY_REVOKED)
    return revoked


def ensure_demo(connection: Connection, *, change: Change) -> IssuedKey | None:
    """On a first start create the tenant "demo" and its administrator's key; None when it is there already.

    The caller writes the secret to a file of mode 0600 after the commit. A crash between the two leaves a
    key that nobody knows: delete the data directory of an installation that has nothing yet, or import anew.
    """
    if store.find_tenant(connection, DEMO_TENANT.id) is not None:
        return None
    tenant = create_tenant(connection, DEMO_TENANT, change=change)
    return create_api_key(connection, tenant.id, wanted=DEMO_KEY, change=change)


def _facts(before: Tenant, after: Tenant) -> list[str]:
    facts = []
    if (before.display_name, before.rate_limits) != (after.display_name, after.rate_limits):
        facts.append(events.TENANT_UPDATED)
    if before.status != after.status:
        facts.append(events.TENANT_SUSPENDED if after.status == "suspended" else events.TENANT_REACTIVATED)
    return facts


def _issue(tenant: TenantId, wanted: NewApiKey, change: Change) -> IssuedKey:
    secret = change.random(SECRET_BYTES)
    key = ApiKey(
        id=change.new_ulid(),
        tenant=tenant,
        name=wanted.name,
        roles=wanted.roles,
        clearance=wanted.clearance,
        secret_hash=sha256(secret),
        created_us=change.now_us,
        expires_us=wanted.expires_us,
        revoked_us=None,
        last_used_us=None,
        replaced_by=None,
    )
    return IssuedKey(key=key, secret=rules.key_text(key.id, secret))


def _refuse_ended(key: ApiKey, now_us: int) -> None:
    status = key.status(now_us)
    if status != "active":
        raise Problem("API_KEY_REVOKED" if status == "revoked" else "API_KEY_EXPIRED")


def _end(connection: Connection, key: ApiKey) -> None:
    if not store.end_key(connection, key):
        raise Problem("VERSION_CONFLICT", "The key was revoked by someone else at the same moment.")
