"""The runner of verifications, those asked for and the continuous self-audit (INT-06).

One at a time, on a thread of its own; the heavy work is done by the engine it is given. What it finds is stored
with the run and appended as a platform record.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from typing import Final

from atp.engine import telemetry
from atp.engine.database import Database, StorageUnavailable
from atp.integrity import store
from atp.integrity.commands import verification as commands
from atp.integrity.model import Target, Verification, VerificationResult
from atp.kernel.clock import SECOND_US, Clock, monotonic, now_us
from atp.kernel.errors import Problem
from atp.streams import queries as streams
from atp.streams.commands import Ledger
from atp.streams.model import LogHead

POLL_SECONDS: Final = 0.5
"""How often queued runs of other processes are looked for."""
AUDIT_LOOK_SECONDS: Final = 10.0
"""How often it is looked whose self-audit is due; the setting's interval is at least this coarse."""
PROGRESS_SECONDS: Final = 1.0
"""Between two notes of a run's progress in the store."""

Progress = Callable[[int, int], None]
"""Called with (records done, records in all); raises to break the verification off."""
Verify = Callable[[LogHead, Target, Progress], VerificationResult]


class _Stopped(Exception):
    """The server stops; the run is broken off."""


class VerificationLoop:
    """Runs queued verifications. State: everything but the two events belongs to its thread."""

    def __init__(
        self,
        database: Database,
        ledger: Ledger,
        verify: Verify,
        *,
        self_audit_seconds: int = 0,
        committed: Callable[[], None] = lambda: None,
        clock: Clock = now_us,
    ) -> None:
        """`self_audit_seconds` 0 turns the self-audit off; `committed` is called after each record appended."""
        self._database = database
        self._ledger = ledger
        self._verify = verify
        self._audit_us = self_audit_seconds * SECOND_US
        self._committed = committed
        self._clock = clock
        self._next_look = 0.0
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="atp-verify", daemon=True)

    def start(self) -> None:
        """Start running what is queued; runs that a crash left behind are marked as aborted."""
        self._thread.start()

    def notify(self) -> None:
        """Say that something may have been queued; cheap, from any thread."""
        self._wake.set()

    def stop(self, timeout_seconds: float = 10.0) -> None:
        """Break off what runs and end the thread."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout_seconds)

    def _run(self) -> None:
        fresh = True
        while not self._stopping.is_set():
            self._wake.clear()
            try:
                if fresh:
                    self._abort_lost(all_running=self._database.dialect == "sqlite")
                    fresh = False
                worked = self._next()
            except StorageUnavailable:
                worked = False  # The integration loop and the readiness check say so already.
            except Exception as error:  # noqa: BLE001 - the loop outlives every failure and tells of it.
                telemetry.logger().error("verification_loop_failed", error=f"{type(error).__name__}: {error}")
                worked = False
            if not worked:
                self._wake.wait(POLL_SECONDS)

    def _abort_lost(self, *, all_running: bool) -> None:
        now = self._clock()
        self._database.write_now(partial(commands.abort_lost, now_us=now, all_running=all_running))

    def _next(self) -> bool:
        """Run what is queued next; tell whether there was anything."""
        if monotonic() >= self._next_look:
            self._next_look = monotonic() + AUDIT_LOOK_SECONDS
            self._abort_lost(all_running=False)
            self._queue_audits()
        waiting = self._database.read_now(store.open_verifications)
        if not any(run.status == "queued" for _, run, _ in waiting):
            return False
        claimed = self._database.write_now(partial(commands.claim, now_us=self._clock()))
        if claimed is None:
            return False
        number, run = claimed
        logs = self._database.read_now(streams.logs)
        self._run_one(next(log for log in logs if log.tenant_no == number), run)
        return True

    def _queue_audits(self) -> None:
        """Queue a verification of every log that was not verified for the interval."""
        if not self._audit_us:
            return
        now = self._clock()
        for log in self._database.read_now(streams.logs):
            newest = self._database.read_now(partial(store.last_of_log, tenant_no=log.tenant_no))
            if newest is None or newest.requested_us <= now - self._audit_us:
                try:
                    self._database.write_now(
                        partial(commands.request_verification, log=log, target=Target(), now_us=now)
                    )
                except Problem as problem:
                    if problem.code != "VERIFICATION_RUNNING":
                        raise

    def _run_one(self, log: LogHead, run: Verification) -> None:
        """Verify, then store the result with the record of it; one wide log line per run."""
        result, failure, started = None, None, monotonic()
        try:
            result = self._verify(log, run.target, self._progress(log, run))
        except _Stopped:
            failure = "the server stopped"
        except Exception as error:  # noqa: BLE001 - the run is marked as aborted, and says why in the log.
            failure = f"{type(error).__name__}: {error}"
        ended = self._database.write_now(
            partial(
                commands.finish,
                ledger=self._ledger,
                log=log,
                run=run,
                result=result,
                now_us=self._clock(),
            )
        )
        self._committed()
        telemetry.VERIFICATIONS.labels(result=ended.status).inc()
        tell = telemetry.logger().info if ended.status == "verified" else telemetry.logger().error
        tell(
            "verification",
            id=run.id,
            log_id=log.log_id,
            scope=run.target.scope,
            status=ended.status,
            size=ended.done,
            findings=result.finding_count if result else None,
            seconds=round(monotonic() - started, 3),
            failure=failure,
        )

    def _progress(self, log: LogHead, run: Verification) -> Progress:
        noted = monotonic()

        def note(done: int, total: int) -> None:
            nonlocal noted
            if self._stopping.is_set():
                raise _Stopped
            if monotonic() - noted >= PROGRESS_SECONDS:
                noted = monotonic()
                self._database.write_now(
                    partial(
                        commands.note_progress,
                        tenant_no=log.tenant_no,
                        run=run,
                        done=done,
                        total=total,
                        now_us=self._clock(),
                    )
                )

        return note
