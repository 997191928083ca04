"""The loop that feeds projections: each record once, whatever happens in between."""

import threading
from dataclasses import dataclass, field

import pytest

from atp.engine.database import StorageUnavailable
from atp.projections import store as tables
from atp.projections.jobs import ProjectionLoop
from atp.projections.model import Overtaken
from atp.projections.queries import next_sequence, parked, reached
from tests.conformance.engines import OTHER, Store
from tests.query.records import content, record


@dataclass
class Counting:
    """Keeps the positions it was given; refuses those it is told to, before or in the transaction."""

    name: str = "counting"
    refuse_prepare: set[int] = field(default_factory=set)
    refuse_apply: set[int] = field(default_factory=set)
    fail_once: list[Exception] = field(default_factory=list)

    def schema(self, dialect):
        return [
            *tables.SCHEMA,
            "CREATE TABLE IF NOT EXISTS counted(tenant_no BIGINT NOT NULL, position BIGINT NOT NULL)",
        ]

    def prepare(self, stored):
        if stored.position in self.refuse_prepare:
            raise ValueError(stored.content.decode())
        return stored.tenant_no, stored.position

    def apply(self, connection, prepared):
        connection.many("INSERT INTO counted(tenant_no, position) VALUES ($1, $2)", prepared)
        if any(position in self.refuse_apply for _, position in prepared):
            raise KeyError("secret of the record")
        if self.fail_once:
            raise self.fail_once.pop()


@pytest.fixture
def counting(store: Store) -> Counting:
    projection = Counting()
    store.database.write_now(lambda c: [c.execute(s) for s in projection.schema(store.database.dialect)])
    return projection


def counted(store: Store) -> list[tuple[int, int]]:
    return store.database.read_now(
        lambda c: c.rows("SELECT tenant_no, position FROM counted /* every tenant: a test */ ORDER BY 1, 2")
    )


def test_every_record_is_projected_once_and_the_checkpoint_says_how_far(
    store: Store, counting: Counting
) -> None:
    """QRY-05: resumable by its checkpoint, idempotent by it too."""
    loop = ProjectionLoop(store.database, store.database, counting)
    store.append([record(content()) for _ in range(3)])
    store.append([record(content())], tenant=OTHER)
    assert loop.catch_up() == 4
    assert ProjectionLoop(store.database, store.database, counting).catch_up() == 0
    store.append([record(content())])
    assert ProjectionLoop(store.database, store.database, counting).catch_up() == 1
    assert counted(store) == [(1, 0), (1, 1), (1, 2), (1, 3), (2, 0)]
    assert store.database.read_now(lambda c: next_sequence(c, "counting", 0)) == 5
    assert store.database.read_now(lambda c: reached(c, "counting", 1)) == 3


@pytest.mark.parametrize("where", ["refuse_prepare", "refuse_apply"])
def test_a_record_that_is_refused_is_parked_and_the_others_go_on(
    store: Store, counting: Counting, where: str
) -> None:
    """QRY-05: one bad record stops nothing; what is kept of it is its place and a type of error (CLS-05)."""
    getattr(counting, where).add(1)
    store.append([record(content()) for _ in range(4)])
    ProjectionLoop(store.database, store.database, counting).catch_up()
    assert counted(store) == [(1, 0), (1, 2), (1, 3)]
    [item] = store.database.read_now(lambda c: parked(c, "counting", 0, 10))
    assert (item.sequence, item.tenant_no, item.position) == (1, 1, 1)
    assert item.reason in ("ValueError", "KeyError")
    assert store.database.read_now(lambda c: reached(c, "counting", 1)) == 3


def test_a_batch_that_the_database_refuses_leaves_nothing_and_is_done_again(
    store: Store, counting: Counting
) -> None:
    """QRY-05: rows and checkpoint are one transaction."""
    counting.fail_once.append(StorageUnavailable("the disk is full"))
    store.append([record(content())])
    loop = ProjectionLoop(store.database, store.database, counting)
    with pytest.raises(StorageUnavailable):
        loop.catch_up()
    assert counted(store) == []
    assert loop.catch_up() == 1
    assert counted(store) == [(1, 0)]


def test_of_two_loops_with_one_batch_the_second_does_nothing(store: Store, counting: Counting) -> None:
    """QRY-05: the checkpoint is compared in the transaction that moves it."""
    store.append([record(content())])
    first = ProjectionLoop(store.database, store.database, counting)
    second = ProjectionLoop(store.database, store.database, counting)
    batch = second._read()
    first.catch_up()
    with pytest.raises(Overtaken):
        second._submit(batch).result()
    assert counted(store) == [(1, 0)]


def test_the_running_loop_follows_commits_survives_failures_and_drains_when_stopped(
    store: Store, counting: Counting
) -> None:
    """QRY-05: woken by commits, through a storage failure and a refused record; nothing is left at the end."""
    progressed = threading.Event()
    counting.refuse_apply.add(2)
    counting.fail_once.append(StorageUnavailable("not now"))
    loop = ProjectionLoop(store.database, store.database, counting, on_progress=progressed.set)
    loop.start()
    for _ in range(5):
        store.append([record(content())])
        loop.notify()
    assert progressed.wait(20)
    loop.stop()
    assert counted(store) == [(1, 0), (1, 1), (1, 3), (1, 4)]
    assert loop.lag().records == 0


def test_lag_is_told_in_records_and_seconds(store: Store, counting: Counting) -> None:
    """QRY-05: the age of the oldest record that is not projected yet."""
    loop = ProjectionLoop(store.database, store.database, counting, clock=store.clock)
    assert loop.lag().records == 0
    store.append([record(content()), record(content())])
    store.clock.us += 3_000_000
    lag = loop.lag()
    assert (lag.records, lag.seconds) == (2, 3.0)
    loop.catch_up()
    assert (loop.lag().records, loop.lag().seconds) == (0, 0.0)
