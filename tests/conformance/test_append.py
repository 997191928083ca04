"""What every engine promises about appending: order, versions, verdicts, one group, nothing half-written."""

import threading
from collections.abc import Callable
from concurrent.futures import CancelledError

import pytest

from atp.engine.database import Database, StorageUnavailable
from atp.kernel.errors import Problem
from atp.kernel.hashing import b64u, sha256
from atp.kernel.ids import TenantId
from atp.streams import queries
from atp.streams.model import Appended, SealRequest
from tests.conformance.engines import OTHER, TENANT, Store
from tests.streams.making import new_record, new_records

ACTOR = {"type": "system", "id": "test"}


def _log(store: Store, tenant: TenantId = TENANT) -> list:
    return store.database.read_now(lambda connection: queries.read_log(connection, tenant))


def _assert_whole(store: Store, tenant: TenantId = TENANT) -> int:
    """Check positions, versions and the chain of every stream from the stored bytes; return the log's size."""
    previous: dict[str, tuple[int, bytes]] = {}
    records = _log(store, tenant)
    for position, record in enumerate(records):
        header = record.header_json
        assert header["position"] == record.position == position
        assert header["contentHash"] == b64u(sha256(record.content))
        assert header["id"] == record.ulid
        version, before = previous.get(header["stream"], (0, None))
        assert header["streamVersion"] == record.version == version + 1
        assert header["previousHash"] == (None if before is None else b64u(before))
        previous[header["stream"]] = (record.version, record.record_hash)
    head = store.database.read_now(lambda connection: queries.log(connection, tenant))
    assert head.size == len(records)
    assert [r.id for r in records] == sorted({r.id for r in records})
    return len(records)


def test_positions_and_versions_have_no_gaps(store: Store) -> None:
    """STR-01: one position after the other per tenant, one version after the other per stream, hashes chained."""
    for group in range(5):
        store.append([new_record(f"{group}.{n}", stream=f"document/d{n % 7}") for n in range(40)])
        store.append(new_records(3), tenant=OTHER)
    assert _assert_whole(store) == 200
    assert _assert_whole(store, OTHER) == 15


def test_what_is_answered_is_what_is_stored(store: Store) -> None:
    """API-01: id, position, version, record hash and time of the answer are those of the stored record."""
    outcomes = store.append(new_records(10))
    for outcome, record in zip(outcomes, _log(store), strict=True):
        assert (outcome.id, outcome.position, outcome.version) == (record.id, record.position, record.version)
        assert (outcome.record_hash, outcome.sequence) == (record.record_hash, record.sequence)
        assert not outcome.duplicate


def test_the_same_event_again_is_the_first_record(store: Store) -> None:
    """ING-03: the same key and event returns the first record, in the same call, in a later one, and per tenant."""
    first, again = store.append([new_record("a", key="k"), new_record("a", key="k")])
    later = store.append([new_record("a", key="k")])[0]
    elsewhere = store.append([new_record("a", key="k")], tenant=OTHER)[0]
    assert (first.duplicate, again.duplicate, later.duplicate, elsewhere.duplicate) == (
        False,
        True,
        True,
        False,
    )
    assert first.id == again.id == later.id != elsewhere.id
    assert (later.record_hash, later.recorded_us) == (first.record_hash, first.recorded_us)
    assert (later.stream, later.version, later.sequence) == (first.stream, first.version, first.sequence)
    assert _assert_whole(store) == 1


def test_a_used_key_with_another_event_is_a_conflict_that_names_the_first(store: Store) -> None:
    """ING-03: the conflict names the first record, or the item of the same request."""
    first, clash = store.append([new_record("a", key="k"), new_record("b", key="k")])
    later = store.append([new_record("c", key="k")])[0]
    assert isinstance(clash, Problem)
    assert clash.code == later.code == "IDEMPOTENCY_CONFLICT"
    assert later.extra["firstRecord"]["position"] == first.position
    assert _assert_whole(store) == 1


def test_keys_are_remembered_over_a_restart(engine: Callable[[], Database]) -> None:
    """ING-03, ING-07: another process knows the key, and goes on at the next position."""
    database = engine()
    store = Store(database).open_tenants()
    first = store.append([new_record("a", key="k"), *new_records(4)])[0]
    database.close()
    database = engine()
    store = Store(database)
    again, following = store.append([new_record("a", key="k"), new_record("b")])
    assert again.duplicate
    assert again.id == first.id
    assert (following.position, following.version) == (5, 6)
    assert _assert_whole(store) == 6
    database.close()


def test_the_expected_version_decides(store: Store) -> None:
    """STR-01, optimistic concurrency: only what saw the current version is appended; the answer says which it is."""
    outcomes = store.append(
        [
            new_record("a", expected=0),
            new_record("b", expected=1),
            new_record("c", expected=1),
            new_record("d", stream="document/d2", expected=5),
        ]
    )
    assert [type(outcome) for outcome in outcomes] == [Appended, Appended, Problem, Problem]
    assert [outcomes[2].extra["currentVersion"], outcomes[3].extra["currentVersion"]] == [2, 0]
    stale = store.append([new_record("e", expected=1)])[0]
    assert (stale.code, stale.extra["currentVersion"]) == ("VERSION_CONFLICT", 2)
    assert _assert_whole(store) == 2


def test_all_or_nothing(store: Store) -> None:
    """API-02: with `atomic`, one refusal leaves nothing, and a duplicate is no refusal."""
    store.append([new_record("a", key="k")])
    refused = store.append(
        [new_record("b"), new_record("c", expected=9), new_record("d", key="n")], atomic=True
    )
    assert [outcome.code for outcome in refused] == ["BATCH_REJECTED", "VERSION_CONFLICT", "BATCH_REJECTED"]
    assert _assert_whole(store) == 1
    kept = store.append([new_record("a", key="k"), new_record("d", key="n")], atomic=True)
    assert [outcome.duplicate for outcome in kept] == [True, False]
    assert _assert_whole(store) == 2


def test_a_sealed_stream_takes_nothing_more(store: Store) -> None:
    """STR-02: sealing is a record with the final version; appends are refused, also after a restart's forgetting."""
    store.append(new_records(3))
    request = SealRequest("case closed")
    store.database.write_now(
        lambda c: store.ledger.seal_stream(c, TENANT, "document/d1", actor=ACTOR, request=request)
    )
    for ledger_owner in (store, Store(store.database)):
        refused, other = ledger_owner.append([new_record("late"), new_record("x", stream="document/d2")])
        assert refused.code == "STREAM_SEALED"
        assert isinstance(other, Appended)
    info = store.database.read_now(lambda c: queries.stream(c, TENANT, "document/d1"))
    assert (info.state, info.version) == ("sealed", 3)
    with pytest.raises(Problem, match="sealed"):
        store.database.write_now(
            lambda c: store.ledger.seal_stream(c, TENANT, "document/d1", actor=ACTOR, request=request)
        )
    assert _assert_whole(store) == 6


def test_one_that_is_refused_does_not_fail_its_neighbours(store: Store) -> None:
    """ING-07, group commit: requests that share a transaction keep their own verdicts, even when one cannot be stored."""
    hold = threading.Event()
    store.database.write(lambda connection: hold.wait(30))
    unknown = store.appender.append(TenantId("nobody"), [new_record("lost")])
    good = [store.appender.append(TENANT, [new_record(f"g{n}", stream=f"document/{n}")]) for n in range(5)]
    conflict = store.appender.append(TENANT, [new_record("c", expected=7)])
    atomic = store.appender.append(TENANT, [new_record("a"), new_record("b", expected=7)], atomic=True)
    hold.set()
    assert [future.result(30)[0].position for future in good] == [0, 1, 2, 3, 4]
    assert conflict.result(30)[0].code == "VERSION_CONFLICT"
    assert [outcome.code for outcome in atomic.result(30)] == ["BATCH_REJECTED", "VERSION_CONFLICT"]
    with pytest.raises(LookupError):
        unknown.result(30)
    assert _assert_whole(store) == 5


def test_a_caller_who_has_gone_holds_up_nobody(store: Store) -> None:
    """ING-07: a cancelled request is dropped if it still waits, and its neighbours are answered."""
    hold = threading.Event()
    store.database.write(lambda connection: hold.wait(30))
    gone = store.appender.append(TENANT, [new_record("gone")])
    stays = store.appender.append(TENANT, [new_record("stays")])
    assert gone.cancel()
    hold.set()
    assert stays.result(30)[0].position == 0
    with pytest.raises(CancelledError):
        gone.result(30)
    assert _assert_whole(store) == 1


def test_a_full_queue_says_so(store: Store) -> None:
    """ING-07: back-pressure is an answer (503 with a time to come back), never silent loss."""
    hold = threading.Event()
    store.database.write(lambda connection: hold.wait(30))
    waiting = [store.appender.append(TENANT, new_records(1000)) for _ in range(20)]
    with pytest.raises(Problem) as refused:
        store.appender.append(TENANT, new_records(1))
    assert refused.value.code == "OVERLOADED"
    assert refused.value.retry_after
    hold.set()
    assert [len(future.result(60)) for future in waiting] == [1000] * 20
    assert store.append([new_record("welcome again")])[0].position == 20_000


def test_after_a_rollback_nothing_false_is_remembered(store: Store) -> None:
    """STR-01: what a transaction that failed had put into memory is forgotten: heads, sizes, versions."""
    store.append(new_records(3))

    def fails(connection):
        store.ledger.append(connection, TENANT, [*new_records(5), new_record("n", stream="document/new")])
        raise RuntimeError("after the append")

    for _ in range(2):
        with pytest.raises(RuntimeError):
            store.database.write_now(fails)
        outcome, new = store.append([new_record("x"), new_record("y", stream=f"document/{_}")])
        assert new.version == 1
    assert outcome.version == 5
    assert _assert_whole(store) == 7


def test_a_new_log_that_was_rolled_back_is_forgotten(store: Store) -> None:
    """STR-01: a tenant whose creation failed can be created again and starts at position 0."""
    tenant = TenantId("initech")

    def create(connection, *, fail):
        store.ledger.open_log(
            connection, tenant, log_id="01j0000000000000000000init", origin="localhost/tlog/i"
        )
        store.ledger.append_platform(
            connection, tenant, type="tenant.created", stream="tenant/initech", payload={}, actor=ACTOR
        )
        if fail:
            raise RuntimeError("after creating")

    with pytest.raises(RuntimeError):
        store.database.write_now(lambda connection: create(connection, fail=True))
    store.database.write_now(lambda connection: create(connection, fail=False))
    assert store.append(new_records(1), tenant=tenant)[0].position == 1
    assert _assert_whole(store, tenant) == 2


def test_two_ledgers_in_turn_make_one_order(engine: Callable[[], Database]) -> None:
    """STR-01: what one ledger remembers gives way to what another has appended since."""
    database = engine()
    one, two = Store(database).open_tenants(), Store(database)
    for turn in range(10):
        for store in (one, two):
            store.append([new_record(f"{turn}", stream=f"document/d{n}") for n in range(3)])
    assert _assert_whole(one) == 60
    database.close()


def test_positions_stay_in_order_when_the_clock_jumps(store: Store) -> None:
    """Clock jumps back and forth: recorded times never decrease, identifiers always increase."""
    start = store.clock.us
    for jump in (0, 10**9, -(10**10), 5, -5, 10**12, -(10**12), 0):
        store.clock.us = start + jump
        store.append(new_records(3))
    records = _log(store)
    times = [record.header_json["recordedAt"] for record in records]
    assert times == sorted(times)
    assert [record.id for record in records] == sorted({record.id for record in records})
    assert _assert_whole(store) == 24


def test_a_swallowed_failure_cannot_commit_by_halves(store: Store) -> None:
    """ING-05: work that goes on after a failed statement commits whole or not at all."""
    store.append(new_records(1))

    def careless(connection):
        connection.execute("UPDATE shards SET next_stream = next_stream + 100 WHERE shard = $1", (0,))
        try:
            connection.execute("SELECT no_such_column FROM logs")
        except Exception:  # noqa: BLE001 - the careless caller is the test.
            return "carried on"

    before = store.database.read_now(lambda c: c.row("SELECT next_stream FROM shards"))
    try:
        store.database.write_now(careless)
    except StorageUnavailable:
        expected = before[0]
    else:
        expected = before[0] + 100
    assert store.database.read_now(lambda c: c.row("SELECT next_stream FROM shards")) == (expected,)
    assert store.append(new_records(1))[0].position == 1


def test_work_after_the_close_is_refused(engine: Callable[[], Database]) -> None:
    """A closed database says so, to readers and writers, and finishes what it had taken."""
    database = engine()
    store = Store(database).open_tenants()
    taken = store.appender.append(TENANT, new_records(100))
    database.close()
    assert len(taken.result(30)) == 100
    for attempt in (database.write, database.write_now, database.read, database.read_now):
        with pytest.raises(StorageUnavailable):
            attempt(lambda connection: connection.row("SELECT 1"))
    with pytest.raises(StorageUnavailable):
        store.append(new_records(1))
    database.close()


def test_the_writer_does_not_wait_for_itself(database: Database) -> None:
    """A write inside a write would hang for ever; it is a bug that says so."""
    with pytest.raises(RuntimeError, match="writer"):
        database.write_now(lambda _: database.write_now(lambda connection: connection.row("SELECT 1")))
