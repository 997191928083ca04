"""Changing tenants and API keys. Each command runs inside one transaction of the writer.

The change and the platform record that tells of it are committed together: a crash leaves both or neither.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from atp.engine.database import Connection
from atp.kernel.clock import SECOND_US
from atp.kernel.errors import Problem
from atp.kernel.hashing import sha256
from atp.kernel.ids import TenantId, UlidFactory, encode_ulid
from atp.kernel.randomness import random_bytes
from atp.streams.commands import Ledger, Vault
from atp.tenants import events, queries, rules, store
from atp.tenants.model import (
    SECRET_BYTES,
    ApiKey,
    IssuedKey,
    NewApiKey,
    NewTenant,
    Rotation,
    Tenant,
    TenantChanges,
)
from atp.web.principal import Clearance, Principal

DEMO_TENANT = NewTenant(id="demo", display_name="Demo", region="local")
"""The tenant that a first start creates, so that everything can be tried at once."""
DEMO_KEY = NewApiKey(name="First administrator", roles=("admin", "operator"), clearance=Clearance.SECRET)
"""The first key: administrator of the demo tenant and operator, since nobody else could make one."""


@dataclass(frozen=True, slots=True)
class Books:
    """What a change is written into besides our own tables: the record ledger and the vault of keys.

    `log_origin` begins the name of every log that is opened, e.g. the public host name.
    """

    ledger: Ledger
    vault: Vault
    log_origin: str = "localhost"


@dataclass(frozen=True, slots=True)
class Change:
    """The circumstances of a change: who makes it, when, where it is recorded, and what set it off."""

    principal: Principal
    now_us: int
    books: Books
    correlation: Mapping[str, str] | None = None
    random: Callable[[int], bytes] = random_bytes

    def new_ulid(self) -> str:
        """Return a new identifier."""
        return encode_ulid(UlidFactory(lambda: self.now_us, self.random).next_many(1)[0])

    def record_tenant(self, connection: Connection, tenant: Tenant, *, event: str) -> None:
        """Append the platform record of a changed tenant."""
        self._record(
            connection, tenant.id, event, events.tenant_stream(tenant), events.tenant_payload(tenant)
        )

    def record_key(
        self, connection: Connection, key: ApiKey, *, event: str, reason: str | None = None
    ) -> None:
        """Append the platform record of a changed key."""
        payload = events.api_key_payload(key, reason=reason)
        self._record(connection, key.tenant, event, events.api_key_stream(key), payload)

    def _record(
        self, connection: Connection, tenant: TenantId, event: str, stream: str, payload: Mapping[str, Any]
    ) -> None:
        self.books.ledger.append_platform(
            connection,
            tenant,
            type=event,
            stream=stream,
            payload=payload,
            actor=self.principal.actor(),
            correlation=self.correlation,
        )


def create_tenant(connection: Connection, wanted: NewTenant, *, change: Change) -> Tenant:
    """Create a tenant with a log and keys of its own; VALIDATION_FAILED or TENANT_EXISTS."""
    log_id = change.new_ulid().lower()
    tenant = Tenant(
        id=rules.check_tenant(wanted),
        display_name=wanted.display_name,
        region=wanted.region,
        status="active",
        log_id=log_id,
        origin=f"{change.books.log_origin}/tlog/{log_id}",
        created_us=change.now_us,
        updated_us=change.now_us,
        version=1,
        rate_limits=wanted.rate_limits,
    )
    if not store.insert_tenant(connection, tenant):
        raise Problem("TENANT_EXISTS")
    log = change.books.ledger.open_log(connection, tenant.id, log_id=log_id, origin=tenant.origin)
    change.books.vault.create(connection, log.tenant_no)
    change.record_tenant(connection, tenant, event=events.TENANT_CREATED)
    return tenant


def change_tenant(
    connection: Connection, tenant: TenantId, *, wanted: TenantChanges, change: Change
) -> Tenant:
    """Configure, suspend or reactivate a tenant; what is already so changes and records nothing.

    TENANT_NOT_FOUND or VALIDATION_FAILED.
    """
    before = store.lock_tenant(connection, tenant)
    if before is None:
        raise Problem("TENANT_NOT_FOUND")
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
    store.update_tenant(connection, after)
    for event in _facts(before, after):
        change.record_tenant(connection, after, event=event)
    return after


def create_api_key(
    connection: Connection, tenant: TenantId, *, wanted: NewApiKey, change: Change
) -> IssuedKey:
    """Create a key; its secret text is in the result and nowhere else.

    TENANT_NOT_FOUND, VALIDATION_FAILED, or FORBIDDEN when the key could do or see more than the caller.
    """
    queries.get_tenant(connection, tenant)
    rules.check_key(wanted, now_us=change.now_us)
    rules.refuse_escalation(change.principal, wanted)
    issued = _issue(tenant, wanted, change)
    store.insert_key(connection, issued.key)
    change.record_key(connection, issued.key, event=events.API_KEY_CREATED)
    return issued


def rotate_api_key(
    connection: Connection, tenant: TenantId, key_id: str, *, wanted: Rotation, change: Change
) -> IssuedKey:
    """Issue a successor with the same rights; the old key works on for the overlap, then expires.

    API_KEY_NOT_FOUND, FORBIDDEN as for a new key, VALIDATION_FAILED also for a key that has ended already.
    """
    old = _lock_key(connection, tenant, key_id)
    rules.check_rotation(old, wanted, now_us=change.now_us)
    successor = NewApiKey(
        name=old.name, roles=old.roles, clearance=old.clearance, expires_us=wanted.expires_us
    )
    rules.refuse_escalation(change.principal, successor)
    issued = _issue(tenant, successor, change)
    store.insert_key(connection, issued.key)
    end_us = change.now_us + wanted.overlap_seconds * SECOND_US
    ended = msgspec.structs.replace(
        old,
        expires_us=end_us if old.expires_us is None else min(end_us, old.expires_us),
        replaced_by=issued.key.id,
    )
    store.end_key(connection, ended)
    change.record_key(connection, ended, event=events.API_KEY_ROTATED)
    change.record_key(connection, issued.key, event=events.API_KEY_CREATED)
    return issued


def revoke_api_key(
    connection: Connection, tenant: TenantId, key_id: str, *, change: Change, reason: str | None = None
) -> ApiKey:
    """End a key now; revoking it again changes and records nothing. API_KEY_NOT_FOUND."""
    key = _lock_key(connection, tenant, key_id)
    if key.revoked_us is not None:
        return key
    revoked = msgspec.structs.replace(key, revoked_us=change.now_us)
    store.end_key(connection, revoked)
    change.record_key(connection, revoked, event=events.API_KEY_REVOKED, reason=reason)
    return revoked


def ensure_demo(connection: Connection, *, change: Change, key_lost: bool = False) -> IssuedKey | None:
    """On a first start create the tenant "demo" and its administrator's key; None when it is there already.

    The caller writes the secret to a file of mode 0600 after the commit. A crash between the two leaves a
    key that nobody knows; `key_lost` then issues another, as long as nothing but this installation's own
    first key was ever issued.
    """
    known = store.find_tenant(connection, DEMO_TENANT.id)
    if known is None:
        tenant = create_tenant(connection, DEMO_TENANT, change=change)
        return create_api_key(connection, tenant.id, wanted=DEMO_KEY, change=change)
    if not key_lost or len(store.list_keys(connection, known.id, before=queries.NEWEST, limit=2)) > 1:
        return None
    first = store.list_keys(connection, known.id, before=queries.NEWEST, limit=1)
    if not first or first[0].last_used_us is not None:
        return None
    return create_api_key(connection, known.id, wanted=DEMO_KEY, change=change)


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


def _lock_key(connection: Connection, tenant: TenantId, key_id: str) -> ApiKey:
    key = store.lock_key(connection, tenant, key_id)
    if key is None:
        raise Problem("API_KEY_NOT_FOUND")
    return key
