"""Servers for the flows: a fresh one for a test that kills or changes it, a shared one for those that only ask."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engine.local_postgres import shared
from tests.server import Server

ENGINES = ("sqlite", "postgresql")


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def new_server(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Makes servers that are not started yet; `engine="postgresql"` gives one a database of its own."""
    servers: list[Server] = []
    names: list[str] = []

    def make(*, engine: str = "sqlite", database: str = "", **given: Any) -> Server:
        if engine == "postgresql" and not database:
            names.append(shared().create())
            database = shared().url(names[-1])
        folder = tmp_path / f"server-{len(servers)}"
        folder.mkdir()
        servers.append(Server(folder, database=database, **given))
        return servers[-1]

    yield make
    for server in servers:
        server.kill()
    for name in names:
        shared().drop(name)


@pytest.fixture
def server(new_server: Callable[..., Server], engine: str) -> Server:
    """A server that runs, once per engine."""
    return new_server(engine=engine).start()


@pytest.fixture
def embedded(new_server: Callable[..., Server]) -> Server:
    """A server that runs on the embedded engine."""
    return new_server().start()


@pytest.fixture(scope="module", params=ENGINES)
def standing(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that all tests of a module share, with lifted limits; they leave it running."""
    name = shared().create() if request.param == "postgresql" else ""
    database = shared().url(name) if name else ""
    server = Server(tmp_path_factory.mktemp("standing"), database=database).start().lift_limits()
    yield server
    code = server.stop()
    if name:
        shared().drop(name)
    assert code == 0
