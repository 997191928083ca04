"""Every engine for the tests of this folder, and a PostgreSQL of one's own that may be mistreated."""

from collections.abc import Iterator

import pytest

from tests.conformance.engines import postgres_database, postgres_url, sqlite_database
from tests.engine.local_postgres import LocalPostgres

__all__ = ["own_postgres", "postgres_database", "postgres_url", "sqlite_database"]


@pytest.fixture
def own_postgres() -> Iterator[LocalPostgres]:
    """A server that no other test uses: it may be stopped, crashed and misconfigured."""
    server = LocalPostgres()
    yield server
    server.close()
