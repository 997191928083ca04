"""Where the engines of the crash tests keep their store, and how it is opened again."""

from collections.abc import Callable
from pathlib import Path

import pytest

from atp.engine.database import Database
from atp.engine.postgres import PostgresDatabase
from atp.engine.sqlite import SqliteDatabase
from tests.conformance.engines import postgres_url
from tests.integrity.world import schema

__all__ = ["engine_place", "postgres_url"]


@pytest.fixture
def engine_place(
    request: pytest.FixtureRequest, engine_name: str, tmp_path: Path
) -> tuple[str, Callable[[], Database]]:
    """The store's address for a child process, and a function that opens it here."""
    if engine_name == "sqlite":
        path = tmp_path / "atp.db"
        return str(path), lambda: SqliteDatabase(path, schema=schema("sqlite"))
    url = request.getfixturevalue("postgres_url")
    return url, lambda: PostgresDatabase(url, schema=schema("postgresql"))
