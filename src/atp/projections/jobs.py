"""The loop that feeds one projection from the log, with a thread of its own.

Records flow in from the record store in feed order, rows and the checkpoint flow out into the projection's
database in one transaction. While one batch is being committed the next one is read and prepared.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from prometheus_client import Counter, Gauge

from atp.engine.database import Connection, Database, Dialect, StorageUnavailable
from atp.engine.telemetry import REGISTRY
from atp.kernel.clock import SECOND_US, Clock, now_us, parse_rfc3339
from atp.projections import store
from atp.projections.model import Lag, Overtaken, Parked
from atp.streams import queries
from atp.streams.model import StoredRecord

BATCH_RECORDS: Final = 2_000
"""Records of one transaction at most: bounds memory, and how long the writer is held."""
GATHER_SECONDS: Final = 0.02
"""Pause after a small batch, so that a steady trickle is committed fifty times a second and not five hundred."""
POLL_SECONDS: Final = 0.1
"""How often the feed is looked at without being notified: other processes may write to the same database."""
STANDBY_SECONDS: Final = 1.0
"""How long to stand by after another process has moved the checkpoint."""
RETRY_SECONDS: Final = 0.5
"""Pause after the database refused."""


PROJECTED: Final = Counter(
    "atp_projected_records", "Records taken by a projection.", ["projection"], registry=REGISTRY
)
PARKED: Final = Counter(
    "atp_parked_records", "Records that a projection could not take.", ["projection"], registry=REGISTRY
)
LAG_SECONDS: Final = Gauge(
    "atp_projection_lag_seconds",
    "Age of the last record when it was projected.",
    ["projection"],
    registry=REGISTRY,
)


class Projection(Protocol):
    """Turns records into rows of its own.

    Durability: what `apply` writes is committed together with the checkpoint, so each record is applied once.
    Order: records arrive in the order of the feed. Retry: a record that either method refuses is parked.
    """

    @property
    def name(self) -> str:
        """Under which the checkpoint is kept; a new name starts from the beginning."""
        ...

    def schema(self, dialect: Dialect) -> Sequence[str]:
        """Return the statements that create the tables which are not there yet."""
        ...

    def prepare(self, record: StoredRecord) -> Any:
        """Return what `apply` needs of a record; pure, and done while the database is busy with others."""
        ...

    def apply(self, connection: Connection, prepared: Sequence[Any]) -> None:
        """Write the rows of several records, inside the caller's transaction."""
        ...


@dataclass(slots=True)
class _Batch:
    start: int
    end: int
    prepared: list[tuple[StoredRecord, Any]] = field(default_factory=list)
    parked: list[Parked] = field(default_factory=list)
    positions: dict[int, int] = field(default_factory=dict)


class ProjectionLoop:
    """Feeds one projection from one shard.

    State: `_next` and everything without a lock belongs to the loop's thread; `_wake` and `_stopping` may be
    set by any. `lag` may be asked from any thread.
    """

    def __init__(
        self,
        source: Database,
        target: Database,
        projection: Projection,
        *,
        shard: int = 0,
        clock: Clock = now_us,
        on_progress: Callable[[], None] = lambda: None,
    ) -> None:
        """`on_progress` is called after each durable batch, on the loop's thread; it must be quick."""
        self._source = source
        self._target = target
        self._projection = projection
        self._shard = shard
        self._clock = clock
        self._on_progress = on_progress
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._next = 0
        self._projected = PROJECTED.labels(projection.name)
        self._parked = PARKED.labels(projection.name)
        self._lag_seconds = LAG_SECONDS.labels(projection.name)
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin on a thread of its own."""
        self._thread = threading.Thread(target=self._run, name=f"atp-project-{self._projection.name}")
        self._thread.start()

    def notify(self) -> None:
        """Say that something was committed. Any thread; costs next to nothing."""
        self._wake.set()

    def stop(self) -> None:
        """Project what is committed already, then end; returns when the thread has ended."""
        self._stopping.set()
        self._wake.set()
        if self._thread is not None:
            self._thread.join()

    def lag(self) -> Lag:
        """Return how far the projection is behind, as the databases say it."""
        name, shard = self._projection.name, self._shard
        following = self._target.read_now(lambda c: store.next_sequence(c, name, shard))
        return self._source.read_now(lambda c: self._lag(c, following))

    def _lag(self, connection: Connection, following: int) -> Lag:
        heads = queries.logs(connection)
        total = sum(head.size for head in heads if head.shard == self._shard)
        oldest = queries.feed(connection, self._shard, following, 1)
        if not oldest:
            return Lag(0, 0.0)
        age_us = self._clock() - parse_rfc3339(oldest[0].header_json["recordedAt"])
        return Lag(total - following, max(age_us, 0) / SECOND_US)

    def catch_up(self) -> int:
        """Project everything that is committed now, on the calling thread; return how many records it was.

        For rebuilding and for tests; not while the loop runs.
        """
        self._reload()
        first = self._next
        while (batch := self._read()) is not None:
            self._prepare_or_split(batch)
        return self._next - first

    def _run(self) -> None:
        pending: Future[None] | None = None
        failed, split = True, False
        while True:
            try:
                if failed:
                    self._reload()
                    failed = False
                if split:
                    split = False
                    self._one_by_one()
                    self._on_progress()
                self._wake.clear()
                batch = self._read()
                if pending is not None:
                    pending.result()
                    pending = None
                    self._on_progress()
                if batch is None:
                    self._lag_seconds.set(0.0)
                if batch is None:
                    if self._stopping.is_set():
                        return
                    self._wake.wait(POLL_SECONDS)
                    continue
                pending = self._submit(batch)
                if batch.end - batch.start < BATCH_RECORDS // 4 and not self._stopping.is_set():
                    self._stopping.wait(GATHER_SECONDS)
            except Overtaken:
                pending, failed = None, True
                if self._stopping.wait(STANDBY_SECONDS):
                    return
            except StorageUnavailable:
                pending, failed = None, True
                if self._stopping.wait(RETRY_SECONDS):
                    return
            except Exception:  # noqa: BLE001 - found out record by record
                # One of the batch's records was refused by the database: find it, park it, go on.
                pending, failed, split = None, True, True

    def _reload(self) -> None:
        name, shard = self._projection.name, self._shard
        self._next = self._target.read_now(lambda c: store.next_sequence(c, name, shard))

    def _read(self) -> _Batch | None:
        start, shard = self._next, self._shard
        rows = self._source.read_now(lambda c: list(queries.feed_tolerant(c, shard, start, BATCH_RECORDS)))
        if not rows:
            return None
        batch = _Batch(start, rows[-1].sequence + 1)
        for row in rows:
            batch.positions[row.tenant_no] = row.position
            if not isinstance(row, StoredRecord):
                batch.parked.append(Parked(row.sequence, row.tenant_no, row.position, "CorruptValue"))
                continue
            try:
                batch.prepared.append((row, self._projection.prepare(row)))
            except Exception as error:  # noqa: BLE001 - one record must never stop the projection
                batch.parked.append(_refused(row, error))
        self._next = batch.end
        return batch

    def _count(self, batch: _Batch) -> None:
        self._projected.inc(len(batch.prepared))
        self._parked.inc(len(batch.parked))
        if batch.prepared:
            recorded = batch.prepared[-1][0].header_json["recordedAt"]
            self._lag_seconds.set(max(self._clock() - parse_rfc3339(recorded), 0) / SECOND_US)

    def _submit(self, batch: _Batch) -> Future[None]:
        return self._target.write(lambda connection: self._write(connection, batch))

    def _write(self, connection: Connection, batch: _Batch) -> None:
        """Write rows and checkpoint.

        Crash argument: both are one transaction, so after a crash the batch is either wholly there and never
        read again, or not there at all and read again from the checkpoint.
        """
        name, shard = self._projection.name, self._shard
        store.advance(connection, name, shard, start=batch.start, end=batch.end)
        self._projection.apply(connection, [prepared for _, prepared in batch.prepared])
        store.reach(connection, name, batch.positions)
        if batch.parked:
            store.park(connection, name, shard, batch.parked)
        self._count(batch)

    def _prepare_or_split(self, batch: _Batch) -> None:
        try:
            self._submit(batch).result()
        except (Overtaken, StorageUnavailable):
            raise
        except Exception:  # noqa: BLE001 - whatever it was, it belongs to single records
            self._one_by_one()
        self._on_progress()

    def _one_by_one(self) -> None:
        """Apply the batch behind the checkpoint record by record; park those that fail."""
        self._reload()
        batch = self._read()
        if batch is None:
            return
        singles = _singles(batch)
        for single in singles:
            try:
                self._submit(single).result()
            except (Overtaken, StorageUnavailable):
                raise
            except Exception as error:  # noqa: BLE001 - this very record is at fault
                single.parked = [_refused(record, error) for record, _ in single.prepared]
                single.prepared = []
                self._submit(single).result()


def _singles(batch: _Batch) -> Sequence[_Batch]:
    parked = {item.sequence: item for item in batch.parked}
    records = {record.sequence: (record, prepared) for record, prepared in batch.prepared}
    singles, start = [], batch.start
    for sequence in sorted(parked.keys() | records.keys()):
        single = _Batch(start, sequence + 1)
        if sequence in records:
            record, prepared = records[sequence]
            single.prepared = [(record, prepared)]
            single.positions = {record.tenant_no: record.position}
        else:
            single.parked = [parked[sequence]]
            single.positions = {parked[sequence].tenant_no: parked[sequence].position}
        singles.append(single)
        start = sequence + 1
    return singles


def _refused(record: StoredRecord, error: Exception) -> Parked:
    # The type only: a message may quote what was in the record.
    return Parked(record.sequence, record.tenant_no, record.position, type(error).__name__)
