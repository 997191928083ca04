"""A record store on every engine, and a small projection that can be made to refuse."""

from tests.conformance.engines import database, engine, postgres_url, store

__all__ = ["database", "engine", "postgres_url", "store"]
