"""One real edge per test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.gateway.edge import Edge, open_edge


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., Edge]]:
    """Open edges with handlers of the test's own; all are closed at its end."""
    edges: list[Edge] = []

    def open_one(**given: Any) -> Edge:
        folder = tmp_path / str(len(edges))
        folder.mkdir()
        edges.append(open_edge(folder, **given))
        return edges[-1]

    yield open_one
    for edge in edges:
        edge.close()


@pytest.fixture
def edge(opened: Callable[..., Edge]) -> Edge:
    return opened()
