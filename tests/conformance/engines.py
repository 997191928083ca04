"""Fixtures that give a test each engine, real and empty; import them into a conftest.

`database` runs a test once per engine; `store` adds a ledger, an appender, a vault and one tenant.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from atp.engine.database import Connection, Database
from atp.engine.keys import KeyRing
from atp.engine.postgres import PostgresDatabase
from atp.engine.sqlite import SqliteDatabase
from atp.kernel.clock import now_us
from atp.kernel.ids import TenantId
from atp.streams import store as tables
from atp.streams.commands import Appender, Ledger, Vault
from tests.engine.local_postgres import shared

TENANT = TenantId("acme")
OTHER = TenantId("globex")
MASTER = b"m" * 32


@pytest.fixture
def postgres_url() -> Iterator[str]:
    """The address of a fresh, empty database on a real PostgreSQL."""
    server = shared()
    name = server.create()
    yield server.url(name)
    server.drop(name)


@pytest.fixture
def sqlite_database(tmp_path: Path) -> Iterator[SqliteDatabase]:
    database = SqliteDatabase(tmp_path / "atp.db", schema=tables.schema("sqlite"))
    yield database
    database.close()


@pytest.fixture
def postgres_database(postgres_url: str) -> Iterator[PostgresDatabase]:
    database = PostgresDatabase(postgres_url, schema=tables.schema("postgresql"))
    yield database
    database.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Database]:
    """Opens the same database each time it is called: once more is a restart, or another process."""
    if request.param == "sqlite":
        return lambda: SqliteDatabase(tmp_path / "atp.db", schema=tables.schema("sqlite"))
    url = request.getfixturevalue("postgres_url")
    return lambda: PostgresDatabase(url, schema=tables.schema("postgresql"))


@pytest.fixture
def database(engine: Callable[[], Database]) -> Iterator[Database]:
    opened = engine()
    yield opened
    opened.close()


@dataclass
class Clock:
    """A clock that a test sets; it starts at the real time and stands still."""

    us: int = field(default_factory=now_us)

    def __call__(self) -> int:
        return self.us


@dataclass
class Store:
    """Everything that appends to one database, and two tenants, `acme` and `globex`."""

    database: Database
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.ledger = Ledger(clock=self.clock)
        self.vault = Vault(self.database, KeyRing([MASTER]), clock=self.clock)
        self.appender = Appender(self.database, self.ledger)
        self.database.write_now(lambda connection: tables.ensure_shard(connection, 0))

    def open_tenants(self) -> "Store":
        for tenant in (TENANT, OTHER):
            self.database.write_now(lambda connection, tenant=tenant: self._open(connection, tenant))
        return self

    def _open(self, connection: Connection, tenant: TenantId) -> None:
        head = self.ledger.open_log(
            connection,
            tenant,
            log_id=f"01j0000000000000000000{tenant[:4]}",
            origin=f"localhost/tlog/{tenant}",
        )
        self.vault.create(connection, head.tenant_no)

    def append(self, records, *, tenant=TENANT, atomic=False):
        return self.appender.append(tenant, records, atomic=atomic).result(30)


@pytest.fixture
def store(database: Database) -> Store:
    return Store(database).open_tenants()
