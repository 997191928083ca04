"""The search model over every engine, filled from a real record store."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from atp.engine.database import Database
from atp.engine.sqlite import SqliteDatabase
from atp.projections.jobs import ProjectionLoop
from atp.query.handlers import SearchProjection
from atp.query.queries import Finder
from tests.conformance.engines import Store, database, engine, postgres_url, store

__all__ = ["database", "engine", "postgres_url", "store"]


@dataclass
class Searched:
    """A record store, its search model, and the finder over both."""

    store: Store
    model: Database

    def __post_init__(self) -> None:
        self.projection = SearchProjection()
        self.loop = ProjectionLoop(self.store.database, self.model, self.projection)
        self.finder = Finder(self.model, self.store.database, self.store.vault.tenant)

    def positions(self, tenant, search) -> list[int]:
        return [match.record.position for match in self.finder.find(tenant, search).matches]


def open_model(store: Store, path: Path) -> Database:
    """SQLite keeps the model in a second file, PostgreSQL in the same database."""
    schema = SearchProjection().schema(store.database.dialect)
    if store.database.dialect == "sqlite":
        return SqliteDatabase(path / "search.db", schema=schema)
    store.database.write_now(lambda c: [c.execute(statement) for statement in schema])
    return store.database


@pytest.fixture
def searched(store: Store, tmp_path: Path) -> Iterator[Searched]:
    model = open_model(store, tmp_path)
    yield Searched(store, model)
    if model is not store.database:
        model.close()
