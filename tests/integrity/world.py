"""A whole platform for the tests of integrity: edge, ledger, vault, integrator, verifier, on a real database.

Everything is the program's own; only the clock may be a test's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from atp.engine.codec import pack
from atp.engine.database import Connection, Database
from atp.engine.keys import KeyRing
from atp.engine.sqlite import SqliteDatabase
from atp.integrity import store as integrity_store
from atp.integrity.api import IntegrityApi
from atp.integrity.commands import Guard, Integrator, Signers
from atp.integrity.jobs import Advances, IntegrationLoop
from atp.kernel import canonical
from atp.kernel.clock import format_us, now_us
from atp.kernel.hashing import b64u, sha256
from atp.kernel.ids import TenantId
from atp.kernel.randomness import random_salt
from atp.streams import queries, rules
from atp.streams import store as streams_store
from atp.streams.commands import Appender, Ledger, Sealer, Vault
from atp.streams.model import Appended, NewRecord, StoredRecord
from atp.web.page import Cursors
from atp.web.request import Handler

MASTER = b"m" * 32
ACME = TenantId("acme")
OTHER = TenantId("globex")


def schema(dialect: str) -> list[str]:
    return [*streams_store.schema(dialect), *integrity_store.SCHEMA]  # type: ignore[arg-type]


@dataclass(kw_only=True)
class World:
    """One installation; `guard_path` lies outside the database, as in the program."""

    database: Database
    guard_path: Path
    clock: Callable[[], int] = now_us

    def __post_init__(self) -> None:
        self.ledger = Ledger(clock=self.clock)
        self.vault = Vault(self.database, KeyRing([MASTER]), clock=self.clock)
        self.sealer = Sealer(self.database, self.vault.tenant)
        self.appender = Appender(self.database, self.ledger)
        self.signers = Signers(self.database, self.vault.tenant, clock=self.clock)
        self.guard = Guard(self.guard_path)
        self.integrator = Integrator(self.database, self.guard, self.signers, clock=self.clock)
        self.advances = Advances()
        self.loop = IntegrationLoop(self.integrator, interval_ms=5, advances=self.advances)
        self.database.write_now(lambda connection: streams_store.ensure_shard(connection, 0))

    def open_tenant(self, tenant: TenantId) -> None:
        def open_one(connection: Connection) -> None:
            log = self.ledger.open_log(
                connection,
                tenant,
                log_id=f"01j0000000000000000000{tenant[:4]}",
                origin=f"localhost/tlog/{tenant}",
            )
            self.vault.create(connection, log.tenant_no)

        self.database.write_now(open_one)

    def append(self, records: Sequence[NewRecord], *, tenant: TenantId = ACME) -> list[Appended]:
        outcomes = self.appender.append(tenant, records).result(30)
        for outcome in outcomes:
            assert isinstance(outcome, Appended), outcome
        return outcomes  # type: ignore[return-value]

    def fill(
        self, count: int, *, tenant: TenantId = ACME, values: bool = True, first: int = 0
    ) -> list[Appended]:
        """Append events about a few documents by a few people, three sealed values each."""
        numbers = range(first, first + count)
        return self.append([self.event(n, tenant=tenant, values=values) for n in numbers], tenant=tenant)

    def event(self, number: int, *, tenant: TenantId = ACME, values: bool = True) -> NewRecord:
        """Return an event as ingestion would hand it to the ledger: sealed, hashed, packed."""
        vault = self.vault.tenant(tenant)
        person = f"user-{number % 7}"
        disclosures: list[bytes] = []

        def seal(pointer: str, value: object) -> object:
            opened, marker = rules.disclosure(pointer, value)
            disclosures.append(opened)
            return marker

        content = {
            "action": {"name": "document.read"},
            "actor": {"type": "user", "id": person},
            "classification": {"findings": [], "level": "personal"},
            "context": {"sessionId": f"session-{number}"},
            "kind": "audit",
            "occurredAt": format_us(self.clock()),
            "outcome": "success",
            "payload": {"number": number, "note": "the quick brown fox " * 8},
            "policy": {"retentionDays": 365, "rule": "default", "version": "builtin-1"},
            "resource": {"type": "document", "id": f"doc-{number % 11}"},
            "salt": random_salt(),
            "schema": {"name": "audit-event", "version": "1"},
            "type": "audit_event.received",
        }
        boxes = ()
        ref = vault.subject_ref("user", person)
        if values:
            content["actor"] = {
                "email": seal("/actor/email", f"{person}@example.com"),
                "id": person,
                "name": seal("/actor/name", f"Person {number % 7}"),
                "type": "user",
            }
            content["context"]["ip"] = seal("/context/ip", f"10.0.0.{number % 250}")  # type: ignore[index]
            content["classification"]["subject"] = b64u(ref)  # type: ignore[index]
        raw = canonical.encode(content)
        if values:
            boxes = (self.sealer.keys_for(tenant, [ref])[ref].box(disclosures, sha256(raw)),)
        return NewRecord(f"document/doc-{number % 11}", raw, sha256(raw), pack(raw), None, None, boxes)

    def integrate(self) -> None:
        """Take steps until everything is in the trees."""
        while self.integrator.step():
            pass

    def records(self, tenant: TenantId = ACME) -> list[StoredRecord]:
        return self.database.read_now(lambda connection: queries.read_log(connection, tenant, limit=1000))

    def handlers(self) -> dict[str, Handler]:
        api = IntegrityApi(
            database=self.database,
            ledger=self.ledger,
            vault=self.vault,
            signers=self.signers,
            cursors=Cursors(b"c" * 32),
            advances=self.advances,
            clock=self.clock,
            committed=self.loop.notify,
        )
        return dict(api.handlers())

    def close(self) -> None:
        self.loop.stop()
        self.guard.close()
        self.database.close()


def open_world(folder: Path, **given: Callable[[], int]) -> World:
    """Open (or open again) the installation in `folder`, embedded."""
    database = SqliteDatabase(folder / "atp.db", schema=schema("sqlite"))
    return World(database=database, guard_path=folder / "signed.log", **given)
