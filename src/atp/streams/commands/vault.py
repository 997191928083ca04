"""Keys of tenants and data subjects, and the sealing of values under them.

Master key → tenant wrapping key → subject key → disclosure box, each AES-256-GCM. Beside the wrapping key, which
can be rotated, a tenant has an index secret that never changes: pseudonyms and subject references depend on it.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final

from atp.engine.database import Connection, Database, Snapshots
from atp.engine.keys import KEY_SIZE, KeyRing, Wrapper
from atp.kernel.clock import Clock, now_us
from atp.kernel.ids import TenantId
from atp.kernel.randomness import random_bytes
from atp.streams import store
from atp.streams.model import SubjectKeyRow
from atp.streams.store.opened import SubjectKey, TenantVault, subject_aad

SUBJECTS_MAX: Final = 20_000
"""Subject keys held open per tenant (about 1 KiB each with their cipher)."""
REWRAP_CHUNK: Final = 500
"""Keys rewrapped in one transaction of a rotation, so that writes are never held up for long."""


def _tenant_aad(tenant_no: int, purpose: str, version: int) -> bytes:
    return f"tenant:{tenant_no}:{purpose}:{version}".encode()


class Vault:
    """Opens tenants' vaults and keeps them open. State: `_open`, guarded by `_lock`."""

    def __init__(self, database: Database, ring: KeyRing, *, clock: Clock = now_us) -> None:
        self._database = database
        self._ring = ring
        self._clock = clock
        self._lock = threading.Lock()
        self._open: dict[TenantId, TenantVault] = {}

    def create(self, connection: Connection, tenant_no: int) -> None:
        """Make the keys of a new tenant, in the transaction that creates it."""
        for purpose in ("index", "wrap"):
            self._insert(connection, tenant_no, purpose, 1)

    def _insert(self, connection: Connection, tenant_no: int, purpose: str, version: int) -> None:
        wrapped = self._ring.wrap(random_bytes(KEY_SIZE), _tenant_aad(tenant_no, purpose, version))
        store.insert_tenant_key(connection, tenant_no, purpose, version, wrapped, self._clock())

    def tenant(self, tenant: TenantId) -> TenantVault:
        """Return the tenant's vault; raises LookupError without such a tenant and KeyUnavailable."""
        with self._lock:
            vault = self._open.get(tenant)
        if vault is None:
            vault = self._database.read_now(lambda connection: self.load(connection, tenant))
            with self._lock:
                self._open[tenant] = vault
        return vault

    def load(self, connection: Connection, tenant: TenantId) -> TenantVault:
        """Open a tenant's vault from its stored keys."""
        log = store.log_head(connection, tenant)
        if log is None:
            raise LookupError(f"tenant {tenant} has no log")
        wrappers, index_secret = [], b""
        for purpose, version, wrapped in store.tenant_keys(connection, log.tenant_no):
            plain = self._ring.unwrap(wrapped, _tenant_aad(log.tenant_no, purpose, version))
            if purpose == "wrap":
                wrappers.append(Wrapper(plain))
            else:
                index_secret = plain
        return TenantVault(log.tenant_no, wrappers, index_secret)

    def rewrap_tenants(self) -> int:
        """Wrap every tenant key anew under the current master key; return how many needed it (CLS-04).

        Crash argument: each tenant is one transaction, and old and new wrapping both open while both master
        keys are in the ring, so a crash in between leaves nothing unreadable; run it again.
        """
        logs = self._database.read_now(store.log_heads)
        return sum(self._database.write_now(partial(self._rewrap, log.tenant_no)) for log in logs)

    def _rewrap(self, tenant_no: int, connection: Connection) -> int:
        count = 0
        for purpose, version, wrapped in store.tenant_keys(connection, tenant_no):
            if wrapped[1:5] != self._ring.current_id:
                aad = _tenant_aad(tenant_no, purpose, version)
                again = self._ring.wrap(self._ring.unwrap(wrapped, aad), aad)
                store.replace_tenant_key(connection, tenant_no, purpose, version, again)
                count += 1
        return count

    def rotate_tenant(self, tenant: TenantId) -> int:
        """Give a tenant a new wrapping key and rewrap its subject keys; return how many were rewrapped.

        Crash argument: the new key is durable before anything is wrapped with it, and the older ones stay,
        so a crash in between leaves some subject keys under the older key, still readable; run it again.
        """
        number = self.tenant(tenant).tenant_no

        def add(connection: Connection) -> None:
            versions = [
                version for purpose, version, _ in store.tenant_keys(connection, number) if purpose == "wrap"
            ]
            self._insert(connection, number, "wrap", max(versions) + 1)

        self._database.write_now(add)
        with self._lock:
            self._open.pop(tenant, None)
        vault, after, total = self.tenant(tenant), -1, 0
        while True:
            rows = self._database.read_now(partial(_subject_keys_after, number, after))
            if not rows:
                return total
            self._database.write_now(partial(self._rewrap_subjects, vault, rows))
            after, total = rows[-1][0], total + len(rows)

    @staticmethod
    def _rewrap_subjects(
        vault: TenantVault, rows: Sequence[tuple[int, bytes, bytes]], connection: Connection
    ) -> None:
        for key_id, ref, wrapped in rows:
            aad = subject_aad(vault.tenant_no, key_id, ref)
            again = vault.wrap(vault.unwrap(wrapped, aad), aad)
            store.replace_subject_key(connection, vault.tenant_no, key_id, again)


def _subject_keys_after(
    tenant_no: int, key_id: int, connection: Connection
) -> list[tuple[int, bytes, bytes]]:
    return store.subject_keys_after(connection, tenant_no, key_id, REWRAP_CHUNK)


class Sealer:
    """Hands out subject keys for sealing. State: `_keys` (least recently used first), guarded by `_lock`."""

    def __init__(self, database: Snapshots, vault: Callable[[TenantId], TenantVault]) -> None:
        self._database = database
        self._vault = vault
        self._lock = threading.Lock()
        self._keys: dict[TenantId, OrderedDict[bytes, SubjectKey]] = {}

    def keys_for(self, tenant: TenantId, refs: Iterable[bytes]) -> dict[bytes, SubjectKey]:
        """Return an open key for each subject: remembered, stored, or new.

        A key is looked for in the store until it is found there: until then each record brings it along, and
        another process may have stored one for the same subject, which is then used from here on.
        """
        found: dict[bytes, SubjectKey] = {}
        missing = []
        with self._lock:
            known = self._keys.setdefault(tenant, OrderedDict())
            for ref in refs:
                key = known.get(ref)
                if key is not None and key.stored:
                    found[ref] = key
                    known.move_to_end(ref)
                else:
                    missing.append(ref)
        if missing:
            found |= self._load(tenant, list(dict.fromkeys(missing)))
        return found

    def _load(self, tenant: TenantId, refs: Sequence[bytes]) -> dict[bytes, SubjectKey]:
        vault = self._vault(tenant)
        rows = self._database.read_now(lambda c: store.keys_of_subjects(c, vault.tenant_no, refs))
        loaded: dict[bytes, SubjectKey] = {}
        with self._lock:
            known = self._keys[tenant]
            for ref in refs:
                key = known.get(ref)
                row = rows.get(ref)
                if row is not None and (key is None or key.row.key_id != row[0]):
                    aead = vault.open_subject(row[0], ref, row[1])
                    key = SubjectKey(SubjectKeyRow(row[0], ref, row[1]), aead, stored=True)
                elif key is None:
                    key = vault.new_subject(ref)
                elif row is not None:
                    key.stored = True
                loaded[ref] = known[ref] = key
            while len(known) > SUBJECTS_MAX:
                known.popitem(last=False)
        return loaded

    def forget(self, tenant: TenantId, ref: bytes) -> None:
        """Drop a subject's key from memory, as its erasure demands."""
        with self._lock:
            self._keys.get(tenant, OrderedDict()).pop(ref, None)
