"""SQLite on a disk that fills up, fails, forgets and loses power: refused, readable, recovered, nothing lost."""

import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from atp.engine.database import CommitUncertain, StorageUnavailable, WriteRefused
from atp.engine.sqlite import DatabaseInUse, SqliteDatabase
from atp.kernel.hashing import b64u
from atp.streams import queries
from atp.streams import store as tables
from tests.conformance.engines import TENANT, Store
from tests.engine.faulty_disk import Disk, fails_at, faulty_disk
from tests.streams.making import new_record, new_records

SCHEMA = tables.schema("sqlite")


@pytest.fixture
def disk() -> Iterator[Disk]:
    with faulty_disk() as disk:
        yield disk


@pytest.fixture
def store(disk: Disk, tmp_path: Path) -> Iterator[Store]:
    store = Store(SqliteDatabase(tmp_path / "atp.db", schema=SCHEMA, vfs=disk.name)).open_tenants()
    yield store
    store.database.close()


def _contents(database: SqliteDatabase) -> list[bytes]:
    """Return every content in order, having checked that positions and hashes chain without a gap."""
    records = database.read_now(lambda c: queries.read_log(c, TENANT))
    previous: dict[str, bytes] = {}
    for position, record in enumerate(records):
        header = record.header_json
        before = previous.get(header["stream"])
        assert (header["position"], record.position) == (position, position)
        assert header["previousHash"] == (None if before is None else b64u(before))
        previous[header["stream"]] = record.record_hash
    return [record.content for record in records]


@pytest.mark.parametrize("step", ["write wal", "sync wal"])
@pytest.mark.parametrize("error", [apsw.IOError, apsw.FullError])
def test_a_failing_write_is_refused_and_the_next_one_stands(
    store: Store, disk: Disk, step: str, error: type
) -> None:
    """TST-02: whichever step of the append fails, the append is refused, reading goes on, no repair is needed."""
    store.append(new_records(5))
    what, kind = step.split()
    failed = 0
    disk.error = error
    for number in range(1, 12):
        before = _contents(store.database)
        disk.fault = fails_at(what, kind, number)
        pending = store.appender.append(TENANT, [new_record(f"{number}", stream=f"document/{number}")])
        refused = pending.exception(30)
        failed += refused is not None
        assert isinstance(refused, StorageUnavailable | None)
        assert len(_contents(store.database)) == len(before) + (refused is None)
        disk.fault = lambda step, kind: False
        store.append([new_record(f"after {number}")])
    assert failed, "no step failed: the test shows nothing"


def test_a_disk_that_stays_full_can_be_read_and_comes_back(store: Store, disk: Disk) -> None:
    """ING-05, TST-02: while no write succeeds every append is refused; once there is room it works again."""
    store.append(new_records(50))
    disk.error = apsw.FullError
    disk.fault = lambda step, kind: step == "write"
    for attempt in range(5):
        with pytest.raises(StorageUnavailable):
            store.append(new_records(20, text=f"lost{attempt}"))
        assert len(_contents(store.database)) == 50
    disk.fault = lambda step, kind: False
    assert store.append([new_record("back")])[0].position == 50
    assert len(_contents(store.database)) == 51


def test_a_file_that_may_not_grow_is_a_full_disk(store: Store) -> None:
    """TST-02: SQLite's own limit of pages reports what a full disk does, in the middle of a transaction."""
    store.append(new_records(10))
    store.database.write_now(lambda c: c.raw.pragma("max_page_count", c.raw.pragma("page_count") + 5))
    with pytest.raises(StorageUnavailable):
        store.append([new_record("x" * 300 + str(n), stream=f"document/{n}") for n in range(1000)])
    assert len(_contents(store.database)) == 10
    store.database.write_now(lambda c: c.raw.pragma("max_page_count", 1 << 30))
    assert store.append(new_records(1))[0].position == 10


def test_a_failed_sync_of_the_commit_is_uncertain_and_then_gone(store: Store, disk: Disk) -> None:
    """TST-02: the caller learns that nobody knows; after the next write it is certain that nothing was stored."""
    store.append(new_records(3))
    disk.fault = fails_at("sync", "wal", 1)
    with pytest.raises(CommitUncertain):
        store.append([new_record("uncertain", key="k")])
    again = store.append([new_record("uncertain", key="k")])[0]
    assert (again.duplicate, again.position) == (False, 3)
    assert len(_contents(store.database)) == 4


@pytest.mark.parametrize("seed", range(8))
def test_no_power_cut_takes_what_was_acknowledged(tmp_path: Path, disk: Disk, seed: int) -> None:
    """ING-07, TST-02: syncs fail and forget at random, and after every answer the power may go: all of it is there.

    The disk marks pages clean after a failed sync, as Linux does, so that a later sync proves nothing about them.
    """
    chance = random.Random(seed)
    store = Store(SqliteDatabase(tmp_path / "atp.db", schema=SCHEMA, vfs=disk.name)).open_tenants()
    store.database.write_now(lambda c: c.raw.wal_autocheckpoint(40))
    disk.fault = lambda step, kind: (
        step != "truncate" and chance.random() < (0.25 if step == "sync" else 0.005)
    )
    acknowledged: list[bytes] = []
    refused = 0
    for number in range(60):
        new = [new_record(f"{number}.{n}", stream=f"document/{n}") for n in range(chance.randrange(1, 5))]
        try:
            store.append(new)
        except StorageUnavailable:
            refused += 1
            continue
        acknowledged += [record.content for record in new]
        if number % 5 == seed % 5:
            survivor = SqliteDatabase(disk.power_cut(tmp_path / f"cut{number}"), schema=SCHEMA)
            assert set(acknowledged) <= set(_contents(survivor))
            survivor.close()
    assert refused > 5
    assert acknowledged
    disk.fault = lambda step, kind: False
    assert set(acknowledged) <= set(_contents(store.database))
    store.database.close()


def test_after_a_crash_the_log_is_written_again_before_it_is_trusted(tmp_path: Path, disk: Disk) -> None:
    """TST-02: frames that recovery reads from a cache that was never synced are made durable before more follow."""
    store = Store(SqliteDatabase(tmp_path / "atp.db", schema=SCHEMA, vfs=disk.name)).open_tenants()
    store.append(new_records(3))
    crashed = tmp_path / "crashed"
    crashed.mkdir()
    for file in ("atp.db", "atp.db-wal"):
        shutil.copy(tmp_path / file, crashed / file)
    script = f"""
import os, sys
opened = os.fsync
os.fsync = lambda descriptor: (print("synced", os.fstat(descriptor).st_size), opened(descriptor))
from pathlib import Path
from atp.engine.sqlite import SqliteDatabase
database = SqliteDatabase(Path({str(crashed / "atp.db")!r}))
print(database.read_now(lambda c: c.row("SELECT count(*) FROM records"))[0])
database.close()
"""
    size = (crashed / "atp.db-wal").stat().st_size
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert told.stdout.split("\n")[:2] == [f"synced {size}", "3"]
    store.database.close()


def test_a_second_server_on_one_file_is_refused(tmp_path: Path) -> None:
    """Two servers on one SQLite file: the second refuses, and the first does not notice."""
    first = Store(SqliteDatabase(tmp_path / "atp.db", schema=SCHEMA)).open_tenants()
    with pytest.raises(DatabaseInUse):
        SqliteDatabase(tmp_path / "atp.db", schema=SCHEMA)
    script = f"""
from pathlib import Path
from atp.engine.sqlite import DatabaseInUse, SqliteDatabase
try:
    SqliteDatabase(Path({str(tmp_path / "atp.db")!r}))
except DatabaseInUse:
    print("refused")
"""
    other = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert other.stdout == "refused\n"
    assert first.append(new_records(1))[0].position == 0
    first.database.close()
    SqliteDatabase(tmp_path / "atp.db", schema=SCHEMA).close()


def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    """A file that is something else is left alone, and its lock given back."""
    path = tmp_path / "atp.db"
    path.write_bytes(b"not a database" * 500)
    for _ in range(2):
        with pytest.raises(StorageUnavailable):
            SqliteDatabase(path, schema=SCHEMA)
    assert path.read_bytes() == b"not a database" * 500


def test_work_that_commits_by_itself_is_refused(store: Store) -> None:
    """ING-05: only the engine commits, so nothing is half-written by a statement too many."""

    def commits(connection):
        connection.execute("UPDATE shards SET next_stream = next_stream + 1 WHERE shard = $1", (0,))
        connection.execute("COMMIT")

    before = store.database.read_now(lambda c: c.row("SELECT next_stream FROM shards"))
    with pytest.raises(WriteRefused):
        store.database.write_now(commits)
    assert store.database.read_now(lambda c: c.row("SELECT next_stream FROM shards")) == before


def test_what_follows_a_rollback_by_sqlite_itself_is_not_committed(store: Store, disk: Disk) -> None:
    """ING-05: SQLite rolls back whole on a full disk; work that swallows that cannot go on and commit the rest."""
    store.append(new_records(2))

    def careless(connection):
        try:
            connection.raw.execute("ROLLBACK")  # What SQLite does on SQLITE_FULL and SQLITE_IOERR.
            raise apsw.FullError
        except apsw.FullError:
            connection.execute("UPDATE shards SET next_stream = next_stream + 50 WHERE shard = $1", (0,))

    before = store.database.read_now(lambda c: c.row("SELECT next_stream FROM shards"))
    with pytest.raises(WriteRefused):
        store.database.write_now(careless)
    assert store.database.read_now(lambda c: c.row("SELECT next_stream FROM shards")) == before
