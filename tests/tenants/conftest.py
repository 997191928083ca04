"""Tenants are tested through the real edge."""

from tests.conformance.engines import postgres_url
from tests.gateway.conftest import edge, opened

__all__ = ["edge", "opened", "postgres_url"]
