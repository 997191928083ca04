"""The tables `tenants` and `api_keys` and every statement that touches them.

Keys are found by id before the tenant is known, which is why `api_keys` is keyed by its id alone; every
other statement names the tenant first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from atp.engine.database import Connection
from atp.kernel.canonical import encode
from atp.kernel.ids import TenantId
from atp.tenants.model import ApiKey, Tenant
from atp.web.principal import Clearance

SCHEMA: Sequence[str] = (
    """CREATE TABLE IF NOT EXISTS tenants (
        id TEXT NOT NULL PRIMARY KEY,
        display_name TEXT NOT NULL,
        region TEXT NOT NULL,
        status TEXT NOT NULL,
        log_id TEXT NOT NULL UNIQUE,
        origin TEXT NOT NULL,
        created_us BIGINT NOT NULL,
        updated_us BIGINT NOT NULL,
        version BIGINT NOT NULL,
        rate_limits TEXT NOT NULL
    )""",
    """CREATE TABLE IF NOT EXISTS api_keys (
        id TEXT NOT NULL PRIMARY KEY,
        tenant TEXT NOT NULL,
        name TEXT NOT NULL,
        roles TEXT NOT NULL,
        clearance INTEGER NOT NULL,
        secret_hash BYTEA NOT NULL,
        created_us BIGINT NOT NULL,
        expires_us BIGINT,
        revoked_us BIGINT,
        last_used_us BIGINT,
        replaced_by TEXT
    )""",
    "CREATE INDEX IF NOT EXISTS api_keys_by_tenant ON api_keys (tenant, id)",
)

_TENANT = "id, display_name, region, status, log_id, origin, created_us, updated_us, version, rate_limits"
_KEY = "id, tenant, name, roles, clearance, secret_hash, created_us, expires_us, revoked_us, last_used_us, replaced_by"


def find_tenant(connection: Connection, tenant: str) -> Tenant | None:
    """Return a tenant by id."""
    row = connection.row(f"SELECT {_TENANT} FROM tenants WHERE id = $1", (tenant,))
    return None if row is None else _tenant(row)


def list_tenants(connection: Connection, *, after: str, limit: int) -> list[Tenant]:
    """Return tenants in order of id, behind `after`."""
    rows = connection.rows(
        f"SELECT {_TENANT} FROM tenants WHERE id > $1 ORDER BY id LIMIT $2", (after, limit)
    )
    return [_tenant(row) for row in rows]


def insert_tenant(connection: Connection, tenant: Tenant) -> bool:
    """Insert a tenant; False when the id is taken."""
    inserted = connection.execute(
        f"INSERT INTO tenants ({_TENANT}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (id) DO NOTHING",
        (
            tenant.id,
            tenant.display_name,
            tenant.region,
            tenant.status,
            tenant.log_id,
            tenant.origin,
            tenant.created_us,
            tenant.updated_us,
            tenant.version,
            encode(tenant.rate_limits).decode(),
        ),
    )
    return inserted == 1


def lock_tenant(connection: Connection, tenant: str) -> Tenant | None:
    """Return a tenant that nobody else can change until this transaction ends."""
    row = connection.row(f"SELECT {_TENANT} FROM tenants WHERE id = $1{_locking(connection)}", (tenant,))
    return None if row is None else _tenant(row)


def update_tenant(connection: Connection, tenant: Tenant) -> None:
    """Store a changed tenant that was read by `lock_tenant`."""
    connection.execute(
        "UPDATE tenants SET display_name = $1, status = $2, updated_us = $3, version = $4, rate_limits = $5"
        " WHERE id = $6",
        (
            tenant.display_name,
            tenant.status,
            tenant.updated_us,
            tenant.version,
            encode(tenant.rate_limits).decode(),
            tenant.id,
        ),
    )


def find_key(connection: Connection, key_id: str) -> ApiKey | None:
    """Return a key by id alone: only authentication may ask so, because it does not know the tenant yet."""
    row = connection.row(
        f"SELECT {_KEY} FROM api_keys WHERE id = $1 /* every tenant: the key tells which one it is */",
        (key_id,),
    )
    return None if row is None else _key(row)


def lock_key(connection: Connection, tenant: TenantId, key_id: str) -> ApiKey | None:
    """Return a key of this tenant that nobody else can change until this transaction ends."""
    row = connection.row(
        f"SELECT {_KEY} FROM api_keys WHERE tenant = $1 AND id = $2{_locking(connection)}", (tenant, key_id)
    )
    return None if row is None else _key(row)


def list_keys(connection: Connection, tenant: TenantId, *, before: str, limit: int) -> list[ApiKey]:
    """Return the tenant's keys, newest first, older than the key `before`."""
    rows = connection.rows(
        f"SELECT {_KEY} FROM api_keys WHERE tenant = $1 AND id < $2 ORDER BY id DESC LIMIT $3",
        (tenant, before, limit),
    )
    return [_key(row) for row in rows]


def insert_key(connection: Connection, key: ApiKey) -> None:
    """Insert a key; its id is new by construction."""
    connection.execute(
        f"INSERT INTO api_keys ({_KEY}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        (
            key.id,
            key.tenant,
            key.name,
            ",".join(key.roles),
            int(key.clearance),
            key.secret_hash,
            key.created_us,
            key.expires_us,
            key.revoked_us,
            key.last_used_us,
            key.replaced_by,
        ),
    )


def end_key(connection: Connection, key: ApiKey) -> None:
    """Store the end (expiry, revocation, replacement) of a key that was read by `lock_key`."""
    connection.execute(
        "UPDATE api_keys SET expires_us = $1, revoked_us = $2, replaced_by = $3 WHERE tenant = $4 AND id = $5",
        (key.expires_us, key.revoked_us, key.replaced_by, key.tenant, key.id),
    )


def mark_used(connection: Connection, used: Sequence[tuple[int, str]]) -> None:
    """Store when keys were last used, as `(time, key id)`; a later time already stored stands."""
    connection.many(
        "UPDATE api_keys SET last_used_us = $1 WHERE id = $2 AND (last_used_us IS NULL OR last_used_us < $1)"
        " /* every tenant: one write for all keys used in the last minute */",
        used,
    )


def _locking(connection: Connection) -> str:
    # SQLite has one writer, so its transaction is the lock.
    return " FOR UPDATE" if connection.dialect == "postgresql" else ""


def _tenant(row: Sequence[Any]) -> Tenant:
    return Tenant(
        id=row[0],
        display_name=row[1],
        region=row[2],
        status=row[3],
        log_id=row[4],
        origin=row[5],
        created_us=row[6],
        updated_us=row[7],
        version=row[8],
        rate_limits=msgspec.json.decode(row[9], type=dict[str, int]),
    )


def _key(row: Sequence[Any]) -> ApiKey:
    return ApiKey(
        id=row[0],
        tenant=row[1],
        name=row[2],
        roles=tuple(row[3].split(",")),
        clearance=Clearance(row[4]),
        secret_hash=bytes(row[5]),
        created_us=row[6],
        expires_us=row[7],
        revoked_us=row[8],
        last_used_us=row[9],
        replaced_by=row[10],
    )
