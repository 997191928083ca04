"""Signing keys of logs: made before the first signature, rotated with an overlap, opened only to sign.

Private halves are stored under the tenant's wrapping key; `Signers` keeps them open, by log, for the
integrator.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from atp.engine.database import Connection, Database
from atp.integrity import events, store
from atp.integrity.model import Algorithm, LogKey
from atp.integrity.rules import notes
from atp.kernel.clock import SECOND_US, Clock, format_us, now_us
from atp.kernel.errors import Detail, Problem
from atp.kernel.ids import TenantId
from atp.streams.commands import Ledger, TenantVault
from atp.streams.model import LogHead

SIGNERS_SECONDS: Final = 5
"""How long opened signing keys are reused before the key table is read again."""
OVERLAPS_MAX: Final = 3
"""Older generations of keys that sign beside the present one. Each adds 3.5 kB to every checkpoint and proof, and
readers bound a note's signatures."""


def create_keys(
    connection: Connection, vault: TenantVault, log: LogHead, *, ml_dsa: bool, now_us: int
) -> list[LogKey]:
    """Make signing keys for a log and return them."""
    algorithms: tuple[Algorithm, ...] = ("Ed25519", "ML-DSA-44") if ml_dsa else ("Ed25519",)
    made = []
    for algorithm in algorithms:
        seed, public = notes.generate(algorithm)
        key_id = notes.key_id(log.origin, algorithm, public)
        wrapped = vault.wrap(seed, _aad(log, key_id))
        made.append(LogKey(key_id, algorithm, public, wrapped, now_us, None))
        store.insert_key(connection, log.tenant_no, made[-1])
    return made


def ensure_keys(
    connection: Connection, vault: TenantVault, log: LogHead, *, ml_dsa: bool, now_us: int
) -> list[LogKey]:
    """Return a log's keys, newest first, making the first ones if there are none (in a write transaction)."""
    store.lock_keys(connection, log.shard)
    return store.keys(connection, log.tenant_no) or create_keys(
        connection, vault, log, ml_dsa=ml_dsa, now_us=now_us
    )


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
    """Make new keys; the old ones sign beside them for the overlap, then only check old checkpoints (INT-03).

    The record of it is appended in the same transaction; the integrator meets it in the feed and opens the
    keys anew, so the checkpoint that first covers it carries both signatures. VALIDATION_FAILED while too many
    generations overlap.
    """
    before = [
        key
        for key in ensure_keys(connection, vault, log, ml_dsa=True, now_us=now_us)
        if key.valid_until_us is None
    ]
    _refuse_crowd(connection, log, now_us)
    until_us = now_us + overlap_seconds * SECOND_US
    store.retire_keys(connection, log.tenant_no, until_us)
    ml_dsa = any(key.algorithm == "ML-DSA-44" for key in before)
    after = create_keys(connection, vault, log, ml_dsa=ml_dsa, now_us=now_us)
    ledger.append_platform(
        connection,
        log.tenant,
        type=events.KEY_ROTATED,
        stream=events.integrity_stream(log),
        payload=events.key_rotated(log, new=after, retiring=before, until_us=until_us),
        actor=actor,
    )


def _refuse_crowd(connection: Connection, log: LogHead, now_us: int) -> None:
    ends = [
        key.valid_until_us
        for key in store.keys(connection, log.tenant_no)
        if key.algorithm == "Ed25519" and key.valid_until_us is not None and key.valid_until_us > now_us
    ]
    if len(ends) >= OVERLAPS_MAX:
        issue = f"{len(ends)} older keys sign still; the first ends at {format_us(min(ends))}"
        raise Problem("VALIDATION_FAILED", details=[Detail("overlapSeconds", issue)])


class Signers:
    """The opened signing keys of logs. State: `_open`, guarded by `_lock`; what it hands out is immutable."""

    def __init__(
        self,
        database: Database,
        vault: Callable[[TenantId], TenantVault],
        *,
        ml_dsa: bool = True,
        clock: Clock = now_us,
    ) -> None:
        """`vault` opens a tenant's vault; `ml_dsa` says whether first keys include a post-quantum one."""
        self._database = database
        self._vault = vault
        self._ml_dsa = ml_dsa
        self._clock = clock
        self._lock = threading.Lock()
        self._open: dict[str, tuple[int, Sequence[notes.Signer]]] = {}

    def of(self, log: LogHead) -> Sequence[notes.Signer]:
        """Return who signs for a log now, newest first; makes its keys first where it has none. Blocks."""
        now = self._clock()
        with self._lock:
            until, signers = self._open.get(log.log_id, (0, ()))
        if now < until:
            return signers
        vault = self._vault(log.tenant)
        keys = self.keys(log)
        signers = tuple(
            notes.Signer(log.origin, key.algorithm, vault.unwrap(key.wrapped, _aad(log, key.key_id)))
            for key in keys
            if key.state(now) != "retired"
        )
        # An overlap that ends sooner than the cache does ends the cache too.
        ends = [
            key.valid_until_us for key in keys if key.valid_until_us is not None and key.valid_until_us > now
        ]
        with self._lock:
            self._open[log.log_id] = (min([now + SIGNERS_SECONDS * SECOND_US, *ends]), signers)
        return signers

    def keys(self, log: LogHead) -> list[LogKey]:
        """Return a log's keys, newest first; makes the first ones where there are none. Blocks."""
        found = self._database.read_now(lambda connection: store.keys(connection, log.tenant_no))
        if found:
            return found
        vault = self._vault(log.tenant)
        return self._database.write_now(
            lambda connection: ensure_keys(connection, vault, log, ml_dsa=self._ml_dsa, now_us=self._clock())
        )

    def forget(self, log_id: str) -> None:
        """Open the keys anew next time, as after a rotation."""
        with self._lock:
            self._open.pop(log_id, None)


def _aad(log: LogHead, key_id: str) -> bytes:
    return f"log key:{log.log_id}:{key_id}".encode()
