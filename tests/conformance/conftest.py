"""Every engine for the tests of this folder."""

from tests.conformance.engines import (
    database,
    engine,
    postgres_database,
    postgres_url,
    sqlite_database,
    store,
)

__all__ = ["database", "engine", "postgres_database", "postgres_url", "sqlite_database", "store"]
