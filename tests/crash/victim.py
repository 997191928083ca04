"""A process that appends under load and says what was acknowledged, until it is killed or kills itself at a step.

Run as `python -m tests.crash.victim ENGINE PLACE GUARD RUN STEP NUMBER`; keys to send again come on standard
input. It writes `sent KEY` before it asks, `ack KEY POSITION ID` after it was answered, and `signed SIZE ROOT` for
each checkpoint that could be served, a line a write.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from atp.engine.database import Connection, Database
from atp.engine.keys import KeyRing
from atp.engine.postgres import PostgresDatabase
from atp.engine.sqlite import SqliteDatabase
from atp.integrity import queries
from atp.integrity.commands import Guard, Integrator, Signers
from atp.kernel.ids import encode_ulid
from atp.streams.commands import Appender, Ledger, Vault
from atp.streams.queries import log
from tests.conformance.engines import MASTER, TENANT
from tests.engine.faulty_disk import Disk, faulty_disk
from tests.integrity.world import schema
from tests.streams.making import new_record

THREADS = 3
BATCHES_MAX = 4_000
"""Batches of a thread before it gives up waiting for its death; the parent takes that for a failure."""

SHARED_STEPS = ("before begin", "locked", "inserted", "committed", "answered", "root noted", "tiles inserted")
POSTGRES_STEPS = (*SHARED_STEPS, "commit sent")
SQLITE_STEPS = (*SHARED_STEPS, "write wal", "sync wal", "write db", "sync db")
"""The SQLite steps below the engine happen inside COMMIT, and inside the checkpoint that may follow it."""


class Death:
    """Kills this process the `number`-th time that `step` is reached."""

    def __init__(self, step: str, number: int) -> None:
        self._step = step
        self._left = number

    def reach(self, step: str) -> None:
        if step == self._step:
            self._left -= 1
            if self._left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)


def say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


def open_database(engine: str, place: str, death: Death, disk: Disk | None) -> Database:
    """Open the real engine and put the steps around its own methods."""
    database: SqliteDatabase | PostgresDatabase
    if engine == "sqlite":
        if disk:
            disk.before_step = lambda step, kind: death.reach(f"{step} {kind}")
        database = SqliteDatabase(Path(place), schema=schema("sqlite"), vfs=disk.name if disk else None)
        database.write_now(lambda connection: connection.raw.wal_autocheckpoint(60))
    else:
        database = PostgresDatabase(place, schema=schema("postgresql"))
    commit, transact = database._commit, database._writer._transact

    def dying_commit(connection) -> None:
        if death._step == "commit sent" and engine == "postgresql" and death._left <= 1:
            connection.raw.pgconn.send_query(b"COMMIT")
            connection.raw.pgconn.flush()
        death.reach("commit sent")
        commit(connection)
        death.reach("committed")

    def dying_transact(work: Callable):
        death.reach("before begin")
        return transact(work)

    database._commit = dying_commit
    database._writer._transact = dying_transact
    return database


class DyingLedger(Ledger):
    """The real ledger; it dies with the lock in hand, or with everything inserted and nothing committed."""

    death: Death

    def _take_lock(self, connection):
        taken = super()._take_lock(connection)
        self.death.reach("locked")
        return taken

    def _write(self, connection, log, places) -> None:
        super()._write(connection, log, places)
        self.death.reach("inserted")


class DyingIntegrator(Integrator):
    """The real integrator; it dies with a root noted outside the store, or with its tiles not yet committed."""

    death: Death

    def _store(self, connection, *arguments) -> bool:
        self.death.reach("root noted")
        stored = super()._store(connection, *arguments)
        self.death.reach("tiles inserted")
        return stored


def integrate(integrator: DyingIntegrator, database: Database, stop: threading.Event) -> None:
    """Step after step, as the server's loop does; say what was signed once it is stored."""
    while not stop.wait(0.002):
        if integrator.step():
            signed = database.read_now(lambda c: queries.checkpoint(c, number_of_log(c)))
            if signed:
                say(f"signed {signed.size} {signed.root.hex()}")


def number_of_log(connection: Connection) -> int:
    return log(connection, TENANT).tenant_no


def load(appender: Appender, death: Death, run: str, thread: int, again: list[str]) -> None:
    """Send what an earlier run had no answer for, then batches of growing and shrinking size."""
    for batch in range(BATCHES_MAX):
        keys = (
            again if batch == 0 and again else [f"{run}.{thread}.{batch}.{n}" for n in range(1 + batch % 17)]
        )
        for key in keys:
            say(f"sent {key}")
        records = [new_record(key, stream=f"document/{hash(key) % 11}", key=key) for key in keys]
        for key, outcome in zip(keys, appender.append(TENANT, records).result(60), strict=True):
            say(f"ack {key} {outcome.position} {encode_ulid(outcome.id)}")
        death.reach("answered")


def main() -> None:
    engine, place, guard, run, step, number = sys.argv[1:]
    death = Death(step, int(number))
    again = sys.stdin.read().split()
    with faulty_disk() as disk:
        below = step.split()[0] in {"write", "sync"}
        database = open_database(engine, place, death, disk if below else None)
        ledger = DyingLedger()
        ledger.death = death
        appender = Appender(database, ledger)
        vault = Vault(database, KeyRing([MASTER]))
        integrator = DyingIntegrator(database, Guard(Path(guard)), Signers(database, vault.tenant))
        integrator.death = death
        say("ready")
        stop = threading.Event()
        signing = threading.Thread(target=integrate, args=(integrator, database, stop), daemon=True)
        signing.start()
        threads = [
            threading.Thread(target=load, args=(appender, death, run, number, again if number == 0 else []))
            for number in range(THREADS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        stop.set()
        signing.join()
    say("survived")


if __name__ == "__main__":
    main()
