"""Tenants are tested through the real edge."""

from tests.gateway.conftest import edge, opened

__all__ = ["edge", "opened"]
