"""What every engine promises about reading: one stream, one log, the feed, both ways, by position and time."""

import threading
from collections.abc import Callable

import pytest

from atp.engine.database import Database
from atp.kernel.errors import Problem
from atp.kernel.ids import TenantId
from atp.streams import queries
from tests.conformance.engines import OTHER, TENANT, Store
from tests.streams.making import new_record, new_records


@pytest.fixture
def filled(store: Store) -> Store:
    """Thirty records of one tenant in three streams, a second apart, mixed with those of another tenant."""
    for number in range(30):
        store.clock.us += 1_000_000
        store.append([new_record(f"{number}", stream=f"document/d{number % 3}")])
        store.append([new_record(f"o{number}")], tenant=OTHER)
    return store


def _positions(store: Store, **options) -> list[int]:
    records = store.database.read_now(lambda c: queries.read_log(c, TENANT, **options))
    return [record.position for record in records]


def _versions(store: Store, **options) -> list[int]:
    records = store.database.read_now(lambda c: queries.read_stream(c, TENANT, "document/d1", **options))
    return [record.version for record in records]


def test_a_log_is_read_from_any_position_both_ways(filled: Store) -> None:
    """STR-05: start inclusive, end exclusive, bounded by a limit; backward begins at the end."""
    assert _positions(filled) == list(range(30))
    assert _positions(filled, start=7, end=11) == [7, 8, 9, 10]
    assert _positions(filled, start=25, limit=3) == [25, 26, 27]
    assert _positions(filled, backward=True, limit=4) == [29, 28, 27, 26]
    assert _positions(filled, end=5, backward=True) == [4, 3, 2, 1, 0]
    assert _positions(filled, start=30) == []


def test_a_stream_is_read_from_any_version_both_ways(filled: Store) -> None:
    """STR-05: versions from 1, in order."""
    assert _versions(filled) == list(range(1, 11))
    assert _versions(filled, start=4, end=6) == [4, 5]
    assert _versions(filled, backward=True, limit=2) == [10, 9]
    with pytest.raises(Problem, match="STREAM_NOT_FOUND"):
        filled.database.read_now(lambda c: queries.read_stream(c, TENANT, "document/none"))


def test_a_log_is_read_from_a_time(filled: Store) -> None:
    """STR-05: the first position recorded at or after a moment."""
    first = filled.clock.us - 29_000_000

    def at(us: int) -> int:
        return filled.database.read_now(lambda c: queries.position_at(c, TENANT, us))

    assert [at(first - 1), at(first), at(first + 1), at(first + 5_000_000)] == [0, 0, 1, 5]
    assert [at(filled.clock.us), at(filled.clock.us + 1)] == [29, 30]


def test_records_are_found_by_id_within_their_tenant_only(filled: Store) -> None:
    """QRY-03: another tenant's id is as unknown as one that never was."""
    mine = filled.database.read_now(lambda c: queries.read_log(c, TENANT))[3]
    found = filled.database.read_now(lambda c: queries.record(c, TENANT, mine.ulid))
    assert (found.header, found.content) == (mine.header, mine.content)
    for tenant, ulid in ((OTHER, mine.ulid), (TENANT, "0" * 26), (TENANT, "not a ulid")):
        with pytest.raises(Problem, match="EVENT_NOT_FOUND"):
            filled.database.read_now(lambda c, t=tenant, u=ulid: queries.record(c, t, u))


def test_many_positions_at_once(filled: Store) -> None:
    """Look-ups of any number of keys: one, a few, more than one chunk, with repeats and absent ones."""
    filled.append(new_records(1000))
    for wanted in ([5], [3, 4, 4, 9], list(range(700)), [*range(1020, 1100)]):
        found = filled.database.read_now(lambda c, w=wanted: queries.records_at(c, TENANT, w))
        assert sorted(found) == sorted({position for position in wanted if position < 1030})
        assert all(record.position == position for position, record in found.items())


def test_the_feed_is_every_tenant_in_one_order(filled: Store) -> None:
    """MSG-01: sequences without a gap; whoever asks behind the last one it saw misses nothing."""
    seen, after = [], 0
    while page := filled.database.read_now(lambda c, a=after: queries.feed(c, 0, a, 7)):
        seen += page
        after = page[-1].sequence + 1
    assert [record.sequence for record in seen] == list(range(60))
    assert len({record.tenant_no for record in seen}) == 2


def test_a_long_result_is_streamed_in_the_middle_of_other_queries(store: Store) -> None:
    """Constant memory: a stream of rows goes on while the same connection answers something else."""
    store.append(new_records(2_500))

    def walk(connection):
        number = queries.log(connection, TENANT).tenant_no
        seen = 0
        for (position,) in connection.stream(
            "SELECT position FROM records WHERE tenant_no = $1 ORDER BY position", (number,)
        ):
            assert position == seen
            if seen % 500 == 0:
                assert connection.row("SELECT size FROM logs WHERE tenant_no = $1", (number,)) == (2_500,)
            seen += 1
        return seen

    def abandon(connection):
        return next(iter(connection.stream("SELECT position FROM records ORDER BY sequence")))

    assert store.database.read_now(walk) == 2_500
    assert store.database.read_now(abandon) == (0,)
    assert store.database.write_now(walk) == 2_500
    assert store.database.read_now(walk) == 2_500


def test_a_reader_sees_one_moment(store: Store) -> None:
    """A read is a snapshot: what is committed meanwhile is not in it, and the next read has it."""
    store.append(new_records(3))

    def twice(connection):
        before = queries.log(connection, TENANT).size
        threading.Thread(target=lambda: store.append(new_records(2))).start()
        while store.database.read_now(lambda c: queries.log(c, TENANT)).size == before:
            pass
        return before, queries.log(connection, TENANT).size, len(queries.read_log(connection, TENANT))

    assert store.database.read_now(twice) == (3, 3, 3)
    assert _positions(store) == list(range(5))


def test_readers_cannot_write(store: Store) -> None:
    """A read connection refuses to change anything, so that a query can never be a command by accident."""
    with pytest.raises(Exception, match=r"(?i)read.?only"):
        store.database.read_now(lambda c: c.execute("DELETE FROM idempotency"))
    assert store.append(new_records(1))[0].position == 0


def test_values_keep_their_types(database: Database) -> None:
    """Text, bytes, integers and null come back as they went in; counts and sums are plain numbers."""
    values = ("grüße \U0001f600", b"\x00\xff'\\", 2**62, None)

    def there_and_back(connection):
        connection.execute("INSERT INTO logs VALUES (1, $1, 0, 0, 0, $2, $3)", (values[0], "l", "o"))
        connection.insert("dictionaries", ("codec", "dictionary"), [(values[2], values[1])])
        connection.many(
            "INSERT INTO idempotency VALUES ($1, $2, $3, $4)", [(1, bytes([n]), b"f", n) for n in range(9)]
        )
        text = connection.row("SELECT tenant FROM logs WHERE tenant = $1", (values[0],))
        raw = connection.row("SELECT dictionary, codec FROM dictionaries WHERE codec = $1", (values[2],))
        count, total = connection.row("SELECT count(*), sum(position) FROM idempotency")
        nothing = connection.row("SELECT max(shard) FROM shards")
        return (*text, *raw, *nothing, count, total, connection.row("SELECT 1 FROM shards"))

    answer = database.write_now(there_and_back)
    assert answer == (values[0], values[1], values[2], None, 9, 36, None)
    assert [type(value) for value in answer[-3:-1]] == [int, int]
    assert database.write_now(lambda c: c.execute("UPDATE logs SET size = size + $1", (1,))) == 1


def test_a_tenant_without_a_log_is_unknown(store: Store) -> None:
    with pytest.raises(LookupError):
        store.database.read_now(lambda c: queries.read_log(c, TenantId("nobody")))


def test_opening_twice_in_a_row_changes_nothing(engine: Callable[[], Database]) -> None:
    """STR-11: the schema is idempotent, and a store is found again as it was left."""
    for size in (0, 5, 10):
        database = engine()
        store = Store(database)
        if not size:
            store.open_tenants()
        assert _positions(store) == list(range(size))
        store.append(new_records(5))
        database.close()
