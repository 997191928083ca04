"""A real edge for tests: gateway, tenants, ledger and vault on an embedded database, and what stands in for
the contexts above, which the gateway does not know either."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atp.engine.database import Database, Dialect
from atp.engine.keys import KeyRing
from atp.engine.postgres import PostgresDatabase
from atp.engine.sqlite import SqliteDatabase
from atp.gateway.application import Gateway, build
from atp.gateway.credentials import Authentication
from atp.gateway.tenancy import Tenancy
from atp.kernel import clock
from atp.kernel.clock import now_us
from atp.kernel.errors import Problem
from atp.kernel.ids import TenantId
from atp.specs import load
from atp.streams import queries as streams_queries
from atp.streams import store as streams_store
from atp.streams.commands import Ledger, Vault
from atp.tenants import commands, store
from atp.tenants.api import TenantApi
from atp.tenants.commands import Books, Change
from atp.tenants.jobs import LastUsed
from atp.tenants.model import IssuedKey, NewApiKey, NewTenant
from atp.tenants.queries import Directory
from atp.web.page import Cursors
from atp.web.principal import Clearance, Principal
from atp.web.request import Handler, Request
from atp.web.response import Response
from tests.client import Client

SYSTEM = Principal(
    id="test",
    log_id="test",
    kind="system",
    home=None,
    tenants=None,
    roles=frozenset(),
    scopes=frozenset(),
    clearance=Clearance.SECRET,
)


@dataclass
class Other:
    """Another process on the same database, as far as commands go."""

    database: Database
    books: Books

    def change(self) -> Change:
        return Change(principal=SYSTEM, now_us=now_us(), books=self.books)

    def close(self) -> None:
        self.database.close()


@dataclass
class Edge:
    """Everything a test of the edge touches."""

    database: Database
    gateway: Gateway
    directory: Directory
    books: Books
    last_used: LastUsed
    client: Client
    admin_key: str
    folder: Path

    def change(self) -> Change:
        return Change(principal=SYSTEM, now_us=now_us(), books=self.books)

    def add_tenant(self, tenant: str, **given: Any) -> None:
        wanted = NewTenant(id=tenant, display_name=tenant.title(), **given)
        self.database.write_now(lambda c: commands.create_tenant(c, wanted, change=self.change()))

    def add_key(self, tenant: str, *roles: str, **given: Any) -> IssuedKey:
        wanted = NewApiKey(name="A test's key", roles=roles, **given)
        return self.database.write_now(
            lambda c: commands.create_api_key(c, TenantId(tenant), wanted=wanted, change=self.change())
        )

    def as_(self, *roles: str, tenant: str = "demo", **given: Any) -> Client:
        return self.client.with_(api_key=self.add_key(tenant, *roles, **given).secret)

    def records(self, tenant: str) -> list[tuple[str, dict[str, Any]]]:
        """Return type and content of the tenant's platform records, in order."""
        found = self.database.read_now(lambda c: streams_queries.read_log(c, TenantId(tenant), limit=1000))
        contents = [record.content_json for record in found]
        return [(content["type"], content) for content in contents if content["kind"] == "platform"]

    def second(self, postgres_url: str) -> Other:
        """Open the same database as another process would: with memories of its own."""
        database = _database(self.folder, postgres_url)
        return Other(database, Books(ledger=Ledger(), vault=Vault(database, KeyRing([b"k" * 32]))))

    def close(self) -> None:
        self.client.close()
        self.database.close()


def open_edge(
    folder: Path,
    *,
    handlers: Mapping[str, Handler] | None = None,
    tokens: Any = None,
    base_host: str | None = None,
    monotonic: Callable[[], float] = clock.monotonic,
    postgres_url: str | None = None,
) -> Edge:
    """Open an edge with tenant `demo`; `handlers` replace stand-ins."""
    database = _database(folder, postgres_url)
    database.write_now(lambda c: streams_store.ensure_shard(c, 0))
    books = Books(ledger=Ledger(), vault=Vault(database, KeyRing([b"k" * 32])))
    directory = Directory(database, clock=monotonic)
    last_used = LastUsed(database)
    api = TenantApi(database=database, books=books, directory=directory, cursors=Cursors(b"c" * 32))
    specification = load()
    stand_ins: dict[str, Handler] = dict.fromkeys(specification.operations, _not_here)
    gateway = build(
        {**stand_ins, **api.handlers(), **(handlers or {})},
        specification=specification,
        authentication=Authentication(directory, tokens=tokens, used=last_used.note),
        tenancy=Tenancy(directory, base_host=base_host),
    )
    change = Change(principal=SYSTEM, now_us=now_us(), books=books)
    issued = database.write_now(lambda c: commands.ensure_demo(c, change=change))
    assert issued is not None
    client = Client(gateway, api_key=issued.secret)
    return Edge(database, gateway, directory, books, last_used, client, issued.secret, folder)


def _database(folder: Path, postgres_url: str | None) -> Database:
    def schema(dialect: Dialect) -> list[str]:
        return [*streams_store.schema(dialect), *store.SCHEMA]

    if postgres_url is not None:
        return PostgresDatabase(postgres_url, schema=schema("postgresql"))
    return SqliteDatabase(folder / "atp.db", schema=schema("sqlite"))


async def _not_here(request: Request) -> Response:
    raise Problem("NOT_FOUND", f"{request.operation_id} belongs to another context's tests.")


def example(operation_id: str, status: int) -> Any:
    """Return the contract's own example of an answer, for handlers that stand in."""
    schema = load().response_schema(operation_id, status)
    assert schema is not None
    name = schema["$ref"].rsplit("/", 1)[1]
    return load().document["components"]["schemas"][name]["examples"][0]
