"""Group commit: requests that arrive while one transaction is being written share the next one.

Owns the queue of waiting requests and the transaction being formed. Records ready to be appended go in; futures
come out, which resolve after the commit.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Final

from atp.engine.database import Connection, Database, StorageUnavailable
from atp.kernel.errors import Problem
from atp.kernel.ids import TenantId
from atp.streams.commands.ledger import Ledger
from atp.streams.model import NewRecord, Outcome

GROUP_RECORDS: Final = 2_000
"""Records committed together at most; two full batches, so that a large backlog does not delay its first."""
QUEUE_RECORDS: Final = 20_000
"""Records that may wait; beyond it the caller is told to come back (503), because waiting would be a lie."""
RETRY_SECONDS: Final = 1.0


Closing = Callable[[Sequence[Outcome]], NewRecord | None]
"""Given the outcomes of a request, returns one more record to append behind it in the same transaction."""


@dataclass(slots=True)
class _Request:
    tenant: TenantId
    records: Sequence[NewRecord]
    atomic: bool
    closing: Closing | None
    future: Future[list[Outcome]] = field(default_factory=Future)

    def begin(self) -> bool:
        """Return False when its caller has cancelled it; otherwise it is too late for that now."""
        return self.future.set_running_or_notify_cancel()


class Appender:
    """The front door of the ledger for many producers.

    State: `_waiting` and `_running` are guarded by `_lock`. At most one group is with the database at a time;
    while it is being made durable the next one gathers, so the group grows with the load and a lone request
    waits for nobody.
    """

    def __init__(
        self, database: Database, ledger: Ledger, *, on_commit: Callable[[], None] = lambda: None
    ) -> None:
        """`on_commit` is called after each durable group, on the writer thread; it must be quick."""
        self._database = database
        self._ledger = ledger
        self._on_commit = on_commit
        self._lock = threading.Lock()
        self._waiting: deque[_Request] = deque()
        self._waiting_records = 0
        self._running = False

    @property
    def queued(self) -> int:
        """Records waiting for their transaction."""
        return self._waiting_records

    def append(
        self,
        tenant: TenantId,
        records: Sequence[NewRecord],
        *,
        atomic: bool = False,
        closing: Closing | None = None,
    ) -> Future[list[Outcome]]:
        """Queue records; the future resolves, after the commit is durable, with an outcome for each.

        Raises OVERLOADED when too many wait. The future fails with StorageUnavailable when the database does;
        then nothing of the group was stored.
        """
        request = _Request(tenant, records, atomic, closing)
        with self._lock:
            if self._waiting_records and self._waiting_records + len(records) > QUEUE_RECORDS:
                raise Problem("OVERLOADED", retry_after=RETRY_SECONDS)
            self._waiting.append(request)
            self._waiting_records += len(records)
            start, self._running = not self._running, True
        if start:
            self._start()
        return request.future

    def _start(self) -> None:
        group: list[_Request] = []

        def work(connection: Connection) -> list[list[Outcome]]:
            self._gather(group)
            return [outcomes for run in _runs(group) for outcomes in self._append_run(connection, run)]

        try:
            self._database.write(work).add_done_callback(lambda done: self._finish(group, done))
        except StorageUnavailable as error:  # The database is closed: whoever waits must hear so.
            with self._lock:
                self._running = False
                group += self._waiting
                self._waiting.clear()
                self._waiting_records = 0
            _settle([request for request in group if request.begin()], None, error)

    def _append_run(self, connection: Connection, run: Sequence[_Request]) -> list[list[Outcome]]:
        """Append requests that may be taken as one, and give each its own outcomes back.

        Thirty lone events are one call of the ledger instead of thirty: each would look up the same heads and
        run the same ten statements.
        """
        if len(run) == 1:
            return [self._append(connection, run[0])]
        records = [record for request in run for record in request.records]
        outcomes = self._ledger.append(connection, run[0].tenant, records)
        shares, start = [], 0
        for request in run:
            shares.append(outcomes[start : start + len(request.records)])
            start += len(request.records)
        return shares

    def _append(self, connection: Connection, request: _Request) -> list[Outcome]:
        outcomes = self._ledger.append(connection, request.tenant, request.records, atomic=request.atomic)
        if request.closing and (record := request.closing(outcomes)):
            self._ledger.append(connection, request.tenant, [record])
        return outcomes

    def _gather(self, group: list[_Request]) -> None:
        """Move waiting requests into the group, at the moment the writer is free for them.

        One whose caller has gone is dropped here; from here on it can no longer be cancelled.
        """
        size = 0
        with self._lock:
            while self._waiting and (not group or size + len(self._waiting[0].records) <= GROUP_RECORDS):
                request = self._waiting.popleft()
                self._waiting_records -= len(request.records)
                if request.begin():
                    size += len(request.records)
                    group.append(request)

    def _finish(self, group: list[_Request], done: Future[list[list[Outcome]]]) -> None:
        error = done.exception()
        if error is not None and not group:
            self._gather(group)  # The transaction never began: those who wait for it must hear so.
        if error is not None and len(group) > 1 and not isinstance(error, StorageUnavailable):
            # One of them cannot be stored at all. All of it was rolled back; each now gets its own verdict.
            for request in group:
                self._commit_alone(request)
            group = []
        with self._lock:
            more = self._running = bool(self._waiting)
        if more:
            self._start()
        _settle(group, None if error else done.result(), error)
        if error is None:
            self._on_commit()

    def _commit_alone(self, request: _Request) -> None:
        def settle(done: Future[list[list[Outcome]]]) -> None:
            error = done.exception()
            _settle([request], None if error else done.result(), error)
            if error is None:
                self._on_commit()

        try:
            self._database.write(lambda connection: [self._append(connection, request)]).add_done_callback(
                settle
            )
        except StorageUnavailable as error:
            _settle([request], None, error)


def _runs(group: Sequence[_Request]) -> list[list[_Request]]:
    """Cut a group into runs of neighbours that the ledger may take as one request.

    They are of one tenant, none is atomic or asks for a closing record, and no idempotency key occurs in two of
    them: what the ledger says of a key's earlier use must be about the caller's own request.
    """
    runs: list[list[_Request]] = []
    keys: set[bytes] = set()
    for request in group:
        own = {record.idempotency.key for record in request.records if record.idempotency}
        simple = not request.atomic and request.closing is None
        if (
            runs
            and simple
            and not keys & own
            and runs[-1][0].tenant == request.tenant
            and not runs[-1][0].atomic
            and runs[-1][0].closing is None
        ):
            runs[-1].append(request)
            keys |= own
        else:
            runs.append([request])
            keys = own
    return runs


def _settle(
    group: Sequence[_Request], results: list[list[Outcome]] | None, error: BaseException | None
) -> None:
    for index, request in enumerate(group):
        if results is None:
            request.future.set_exception(error or RuntimeError("the writer gave no result"))
        else:
            request.future.set_result(results[index])
