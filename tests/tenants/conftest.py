"""One real edge per test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.gateway.edge import Edge, open_edge


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[Edge]:
    opened = open_edge(tmp_path)
    yield opened
    opened.close()
