"""Signing keys of logs: made with the log, rotated with an overlap, opened only to sign."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from atp.engine.database import Connection
from atp.integrity import store
from atp.integrity.model import Algorithm, LogKey
from atp.integrity.rules import notes
from atp.kernel.clock import SECOND_US
from atp.streams.commands import Ledger, TenantVault
from atp.streams.model import LogHead


def create_keys(
    connection: Connection, vault: TenantVault, log: LogHead, *, ml_dsa: bool, now_us: int
) -> None:
    """Make the signing keys of a log, in the transaction that opens it."""
    algorithms: tuple[Algorithm, ...] = ("Ed25519", "ML-DSA-44") if ml_dsa else ("Ed25519",)
    for algorithm in algorithms:
        seed, public = notes.generate(algorithm)
        key_id = notes.key_id(log.origin, algorithm, public)
        wrapped = vault.wrap(seed, _aad(log, key_id))
        store.insert_key(connection, log.tenant_no, LogKey(key_id, algorithm, public, wrapped, now_us, None))


def rotate_keys(
    connection: Connection,
    ledger: Ledger,
    vault: TenantVault,
    log: LogHead,
    *,
    overlap_seconds: int,
    now_us: int,
    actor: Mapping[str, Any],
) -> None:
    """Make new keys; the old ones sign beside them for the overlap, then only check old checkpoints (INT-03)."""
    before = [key for key in store.keys(connection, log.tenant_no) if key.valid_until_us is None]
    until_us = now_us + overlap_seconds * SECOND_US
    store.retire_keys(connection, log.tenant_no, until_us)
    ml_dsa = any(key.algorithm == "ML-DSA-44" for key in before)
    create_keys(connection, vault, log, ml_dsa=ml_dsa, now_us=now_us)
    after = [key for key in store.keys(connection, log.tenant_no) if key.valid_until_us is None]
    ledger.append_platform(
        connection,
        log.tenant,
        type="integrity.key_rotated",
        stream=f"integrity/{log.log_id}",
        payload={
            "log_id": log.log_id,
            "new_keys": [notes.vkey(log.origin, key.algorithm, key.public) for key in after],
            "old_keys": [notes.vkey(log.origin, key.algorithm, key.public) for key in before],
            "overlap_seconds": overlap_seconds,
        },
        actor=actor,
    )


def open_signers(connection: Connection, vault: TenantVault, log: LogHead, now_us: int) -> list[notes.Signer]:
    """Return the signers of a log that sign now, newest first, Ed25519 before ML-DSA-44."""
    return [
        notes.Signer(log.origin, key.algorithm, vault.unwrap(key.wrapped, _aad(log, key.key_id)))
        for key in store.keys(connection, log.tenant_no)
        if key.state(now_us) != "retired"
    ]


def _aad(log: LogHead, key_id: str) -> bytes:
    return f"log key:{log.log_id}:{key_id}".encode()
