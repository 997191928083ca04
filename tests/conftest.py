"""What holds for every test: nothing of the developer's own set-up leaks in.

Random order, strict markers and warnings as errors are in pyproject.toml; fixtures live beside the tests that
use them.
"""

import os

import pytest
from hypothesis import HealthCheck, settings

# Two workers share two cores with a PostgreSQL: a slow example is the machine's affair, not a failure.
settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("house")


@pytest.fixture(autouse=True, scope="session")
def _no_settings_from_outside() -> None:
    """A test says itself which settings it runs under; ATP_* of the shell does not count (ATP_TEST_* is for us)."""
    for name in [n for n in os.environ if n.startswith("ATP_") and not n.startswith("ATP_TEST_")]:
        del os.environ[name]
