"""Disclosure boxes, the keys of data subjects, and the keys of tenants, each wrapped by the next.

Only wrapped keys and encrypted boxes go in and out; opening them is the vault's work.
"""

from __future__ import annotations

from collections.abc import Sequence

from atp.engine.database import Connection
from atp.streams.store.matching import matching


def insert_subject_keys(connection: Connection, rows: Sequence[tuple[int, int, bytes, bytes]]) -> None:
    """Store subject keys that are not there yet; a key id is random, so the same id is the same key."""
    connection.many(
        "INSERT INTO subject_keys(tenant_no, key_id, ref, wrapped) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING",
        rows,
    )


def boxes(connection: Connection, tenant_no: int, positions: Sequence[int]) -> list[tuple[int, int, bytes]]:
    """Return (position, key id, box) of the disclosures of those records."""
    found: list[tuple[int, int, bytes]] = []
    for condition, parameters in matching(connection, positions):
        found += connection.rows(
            f"""SELECT position, key_id, box FROM disclosures
                WHERE tenant_no = $1 AND position {condition}""",
            (tenant_no, *parameters),
        )
    return found


def subject_keys(
    connection: Connection, tenant_no: int, key_ids: Sequence[int]
) -> dict[int, tuple[bytes, bytes]]:
    """Return {key id: (subject ref, wrapped key)}."""
    found: dict[int, tuple[bytes, bytes]] = {}
    for condition, parameters in matching(connection, key_ids):
        for key_id, ref, wrapped in connection.rows(
            f"""SELECT key_id, ref, wrapped FROM subject_keys
                WHERE tenant_no = $1 AND key_id {condition}""",
            (tenant_no, *parameters),
        ):
            found[key_id] = (ref, wrapped)
    return found


def keys_of_subjects(
    connection: Connection, tenant_no: int, refs: Sequence[bytes]
) -> dict[bytes, tuple[int, bytes]]:
    """Return {subject ref: (key id, wrapped key)}, one key where a subject has several."""
    found: dict[bytes, tuple[int, bytes]] = {}
    for condition, parameters in matching(connection, refs):
        for ref, key_id, wrapped in connection.rows(
            f"SELECT ref, key_id, wrapped FROM subject_keys WHERE tenant_no = $1 AND ref {condition}",
            (tenant_no, *parameters),
        ):
            found[ref] = (key_id, wrapped)
    return found


def subject_keys_after(
    connection: Connection, tenant_no: int, key_id: int, limit: int
) -> list[tuple[int, bytes, bytes]]:
    """Return (key id, subject ref, wrapped key) in order of key id."""
    return connection.rows(
        """SELECT key_id, ref, wrapped FROM subject_keys
           WHERE tenant_no = $1 AND key_id > $2 ORDER BY key_id LIMIT $3""",
        (tenant_no, key_id, limit),
    )


def replace_subject_key(connection: Connection, tenant_no: int, key_id: int, wrapped: bytes) -> None:
    """Store a subject key under another wrapping; the key itself stays the same."""
    connection.execute(
        "UPDATE subject_keys SET wrapped = $1 WHERE tenant_no = $2 AND key_id = $3",
        (wrapped, tenant_no, key_id),
    )


def destroy_subject(connection: Connection, tenant_no: int, ref: bytes) -> int:
    """Delete a subject's keys and the disclosures under them; the explaining record must exist already."""
    keys = connection.execute("DELETE FROM subject_keys WHERE tenant_no = $1 AND ref = $2", (tenant_no, ref))
    return keys


def tenant_keys(connection: Connection, tenant_no: int) -> list[tuple[str, int, bytes]]:
    return connection.rows(
        "SELECT purpose, version, wrapped FROM tenant_keys WHERE tenant_no = $1 ORDER BY purpose, version",
        (tenant_no,),
    )


def insert_tenant_key(
    connection: Connection, tenant_no: int, purpose: str, version: int, wrapped: bytes, created_us: int
) -> None:
    connection.execute(
        """INSERT INTO tenant_keys(tenant_no, purpose, version, wrapped, created_us) VALUES ($1, $2, $3, $4, $5)""",
        (tenant_no, purpose, version, wrapped, created_us),
    )


def replace_tenant_key(
    connection: Connection, tenant_no: int, purpose: str, version: int, wrapped: bytes
) -> None:
    """Store a tenant key under another wrapping; the key itself stays the same."""
    connection.execute(
        "UPDATE tenant_keys SET wrapped = $1 WHERE tenant_no = $2 AND purpose = $3 AND version = $4",
        (wrapped, tenant_no, purpose, version),
    )
