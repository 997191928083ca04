"""PostgreSQL as a peer: settings that would lose records, lost connections, two writers, a standby that is silent."""

import multiprocessing
import signal
import threading
from concurrent.futures import Future
from itertools import pairwise

import msgspec
import psycopg
import pytest

from atp.engine.database import CommitUncertain, StorageUnavailable, UnsafeDatabase
from atp.engine.postgres import PostgresDatabase
from atp.kernel import canonical
from atp.kernel.hashing import b64u
from atp.streams import queries
from atp.streams import store as tables
from tests.conformance.engines import TENANT, Store
from tests.engine.local_postgres import LocalPostgres
from tests.streams.making import new_record, new_records


def _open(url: str) -> PostgresDatabase:
    return PostgresDatabase(url, schema=tables.schema("postgresql"))


def _log(store: Store) -> list:
    return store.database.read_now(lambda connection: queries.read_log(connection, TENANT))


@pytest.mark.parametrize("setting", ["fsync", "full_page_writes"])
def test_a_server_that_answers_before_the_disk_is_refused(own_postgres: LocalPostgres, setting: str) -> None:
    """MSG-12: the refusal names the setting; with the setting mended the same database opens."""
    own_postgres.stop()
    own_postgres.configure(**{setting: "off"})
    own_postgres.start()
    with pytest.raises(UnsafeDatabase, match=setting):
        _open(own_postgres.url())
    own_postgres.stop()
    own_postgres.configure(**{setting: "on"})
    own_postgres.start()
    _open(own_postgres.url()).close()


@pytest.mark.parametrize("level", ["off", "local", "remote_write"])
def test_commits_wait_for_the_disk_whatever_the_server_is_used_to(postgres_url: str, level: str) -> None:
    """MSG-12: synchronous_commit is on in the writer's session, even where role or database say otherwise."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        name = connection.info.dbname
        connection.execute(f"ALTER DATABASE {name} SET synchronous_commit = '{level}'")
    database = _open(postgres_url)
    assert database.write_now(lambda c: c.row("SHOW synchronous_commit")) == ("on",)
    database.close()


def test_a_stricter_server_is_left_as_it_is(postgres_url: str) -> None:
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {connection.info.dbname} SET synchronous_commit = 'remote_apply'")
    database = _open(postgres_url)
    assert database.write_now(lambda c: c.row("SHOW synchronous_commit")) == ("remote_apply",)
    database.close()


def test_a_database_that_cannot_hold_our_text_is_refused(own_postgres: LocalPostgres) -> None:
    """MSG-12: an encoding other than UTF-8 is found at start, not with the first umlaut."""
    own_postgres.execute("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0")
    with pytest.raises(UnsafeDatabase, match="LATIN1"):
        _open(own_postgres.url("latin"))


def test_a_read_only_server_is_unavailable(postgres_url: str) -> None:
    """A standby takes no writes; that is found at start."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {connection.info.dbname} SET default_transaction_read_only = on")
    with pytest.raises(StorageUnavailable):
        _open(postgres_url)


def test_no_server_no_password_in_the_message() -> None:
    """CLS-05: a server that is not there is an expected failure whose message holds no credential."""
    with pytest.raises(StorageUnavailable) as refused:
        _open("postgresql://user:geheim@127.0.0.1:1/nothing")
    assert "geheim" not in str(refused.value)


def test_two_processes_may_start_together(postgres_url: str) -> None:
    """STR-11: creating the tables twice at once is as good as once."""
    errors: list[BaseException] = []

    def start() -> None:
        try:
            _open(postgres_url).close()
        except BaseException as error:  # noqa: BLE001 - shown below.
            errors.append(error)

    threads = [threading.Thread(target=start) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


def test_a_restart_of_the_server_loses_nothing_acknowledged(own_postgres: LocalPostgres) -> None:
    """TST-02, database restart: refused while it is away, back without our restart, nothing lost or twice."""
    store = Store(_open(own_postgres.url())).open_tenants()
    store.append(new_records(10))
    for how in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        size = len(_log(store))
        own_postgres.stop(how)
        with pytest.raises(StorageUnavailable):
            store.append([new_record("while away", key=how.name)])
        with pytest.raises(StorageUnavailable):
            _log(store)
        own_postgres.start()
        outcome = store.append([new_record("while away", key=how.name)])[0]
        assert (outcome.position, outcome.duplicate) == (size, False)
        assert len(_log(store)) == size + 1
    store.database.close()


def test_a_connection_lost_before_the_commit_has_stored_nothing(postgres_database: PostgresDatabase) -> None:
    """TST-02: the work fails, nothing of it is there, and the next write finds a new connection."""
    store = Store(postgres_database).open_tenants()

    def cut(connection):
        store.ledger.append(connection, TENANT, new_records(5))
        (own,) = connection.row("SELECT pg_backend_pid()::int8")
        postgres_database.read_now(lambda c: c.row("SELECT pg_terminate_backend($1::int4)", (own,)))
        return connection.row("SELECT 1")

    with pytest.raises(StorageUnavailable) as lost:
        postgres_database.write_now(cut)
    assert not isinstance(lost.value, CommitUncertain)
    assert _log(store) == []
    assert store.append(new_records(2))[1].position == 1


def test_a_commit_whose_answer_is_lost_is_uncertain(postgres_database: PostgresDatabase, monkeypatch) -> None:
    """TST-02: committed or not, the caller is told that nobody knows, and an idempotency key settles it."""
    store = Store(postgres_database).open_tenants()
    original = PostgresDatabase._commit

    def commit_and_lose_the_answer(database, connection) -> None:
        connection.raw.pgconn.send_query(b"COMMIT")
        while connection.raw.pgconn.is_busy():
            connection.raw.pgconn.consume_input()
        connection.raw.pgconn.finish()
        original(database, connection)

    monkeypatch.setattr(PostgresDatabase, "_commit", commit_and_lose_the_answer)
    with pytest.raises(CommitUncertain):
        store.append([new_record("a", key="k")])
    monkeypatch.undo()
    again = store.append([new_record("a", key="k")])[0]
    assert again.duplicate
    assert len(_log(store)) == 1


def test_a_commit_that_a_standby_has_not_confirmed_is_not_acknowledged(own_postgres: LocalPostgres) -> None:
    """MSG-12: a cancelled wait for a synchronous standby is only a warning to PostgreSQL; here it is a failure."""
    database = _open(own_postgres.url())
    store = Store(database).open_tenants()
    own_postgres.execute("ALTER SYSTEM SET synchronous_standby_names = 'absent'")
    own_postgres.execute("SELECT pg_reload_conf()")
    pending: Future = store.appender.append(TENANT, [new_record("a", key="k")])
    waiting = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
    while not (found := own_postgres.execute(waiting)):
        assert not pending.done()
    own_postgres.execute(f"SELECT pg_cancel_backend({found[0][0]})")
    with pytest.raises(CommitUncertain):
        pending.result(30)
    own_postgres.execute("ALTER SYSTEM RESET synchronous_standby_names")
    own_postgres.execute("SELECT pg_reload_conf()")
    database.close()


def test_a_lock_that_is_never_given_back_is_waited_for_only_so_long(postgres_url: str, monkeypatch) -> None:
    """ING-07: behind a writer that hangs, a write is refused after the lock timeout and works again afterwards."""
    monkeypatch.setattr(
        "atp.engine.postgres._WRITER_SESSION", "SET lock_timeout = '50ms'; SET enable_seqscan = off"
    )
    database = _open(postgres_url)
    store = Store(database).open_tenants()
    with psycopg.connect(postgres_url) as other:
        other.execute("SELECT * FROM shards FOR UPDATE")
        with pytest.raises(StorageUnavailable, match="LockNotAvailable"):
            store.append(new_records(1))
    assert store.append(new_records(1))[0].position == 0
    database.close()


def _write(url: str, name: str, groups: int, started) -> None:
    database = _open(url)
    store = Store(database)
    started.wait()
    for group in range(groups):
        store.append([new_record(f"{name}.{group}.{n}", stream=f"document/{n % 3}") for n in range(7)])
    database.close()


def test_two_writers_make_one_order_and_the_feed_misses_nothing(postgres_url: str) -> None:
    """STR-11: two processes on one database; a reader that follows sees every record once, in one gapless order."""
    database = _open(postgres_url)
    store = Store(database).open_tenants()
    context = multiprocessing.get_context("spawn")
    started = context.Barrier(3)
    writers = [context.Process(target=_write, args=(postgres_url, name, 60, started)) for name in "ab"]
    for writer in writers:
        writer.start()
    started.wait()
    seen = []
    while len(seen) < 840:
        after = len(seen)
        page = database.read_now(lambda c, after=after: queries.feed(c, 0, after, 100))
        assert [record.sequence for record in page] == list(range(after, after + len(page)))
        seen += page
        assert page or any(writer.is_alive() for writer in writers)
    for writer in writers:
        writer.join(30)
        assert writer.exitcode == 0
    assert len({record.content for record in seen}) == 840
    heads: dict[int, tuple[int, bytes | None]] = {}
    for position, record in enumerate(seen):
        version, previous = heads.get(record.stream_no, (0, None))
        assert (record.position, record.version) == (position, version + 1)
        assert record.header == _with_previous(record.header, previous)
        heads[record.stream_no] = (record.version, record.record_hash)
    authors = [record.content[9:10] for record in seen]
    interleaved = sum(one != two for one, two in pairwise(authors))
    assert interleaved > 2
    assert store.append(new_records(1))[0].position == 840
    database.close()


def _with_previous(header: bytes, previous: bytes | None) -> bytes:
    """Return the canonical header with that `previousHash`: equal to `header` only if it was that already."""
    values = msgspec.json.decode(header)
    return canonical.encode(values | {"previousHash": None if previous is None else b64u(previous)})
