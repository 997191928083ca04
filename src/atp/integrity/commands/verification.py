"""The life of a verification run: asked for, claimed by a runner, kept informed, ended with a record of it.

A run is a row: every step is a change of its state, so that a run whose process died is seen and ended. The
record of the result goes into the log that was checked.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from atp.engine.database import Connection
from atp.integrity import events, store
from atp.integrity.model import Target, Verification, VerificationResult
from atp.kernel.errors import Problem
from atp.kernel.ids import UlidFactory, encode_ulid
from atp.streams import queries as streams
from atp.streams.commands import Ledger
from atp.streams.model import LogHead

SILENT_US: Final = 60_000_000
"""A running verification without a sign of life for so long has lost its process."""
SYSTEM: Final[dict[str, Any]] = {"type": "system", "id": "atp"}


def request_verification(
    connection: Connection, log: LogHead, target: Target, *, now_us: int
) -> Verification:
    """Queue a verification.

    Raises EVENT_NOT_FOUND and STREAM_NOT_FOUND for what is not there, and VERIFICATION_RUNNING while the same
    is being verified.
    """
    for tenant_no, other, _ in store.open_verifications(connection):
        if tenant_no == log.tenant_no and _same(other.target, target):
            raise Problem(
                "VERIFICATION_RUNNING", f"Verification {other.id} is {other.status}; follow that one."
            )
    if target.scope == "record":
        streams.record(connection, log.tenant, target.record_id or "")
    elif target.scope == "stream":
        streams.stream(connection, log.tenant, target.stream or "")
    wanted = Verification(
        id=encode_ulid(UlidFactory(lambda: now_us).next_many(1)[0]),
        target=target,
        status="queued",
        requested_us=now_us,
    )
    store.put_verification(connection, log.tenant_no, wanted, now_us)
    return wanted


def _same(one: Target, other: Target) -> bool:
    return (one.scope, one.stream, one.record_id) == (other.scope, other.stream, other.record_id)


def abort_lost(connection: Connection, *, now_us: int, all_running: bool) -> int:
    """Mark running verifications whose process is gone as aborted; return how many.

    `all_running` is for the embedded engine at start: its lock proves that no other process runs any.
    """
    count = 0
    for tenant_no, run, updated_us in store.open_verifications(connection):
        if run.status == "running" and (all_running or updated_us < now_us - SILENT_US):
            ended = msgspec.structs.replace(run, status="aborted", finished_us=now_us)
            store.put_verification(connection, tenant_no, ended, now_us)
            count += 1
    return count


def claim(connection: Connection, *, now_us: int) -> tuple[int, Verification] | None:
    """Take the next queued verification; records and streams first, because they take a moment only."""
    queued = [(no, run) for no, run, _ in store.open_verifications(connection) if run.status == "queued"]
    for tenant_no, run in sorted(queued, key=lambda item: item[1].target.scope == "log"):
        if store.claim_verification(connection, tenant_no, run.id, now_us):
            running = msgspec.structs.replace(run, status="running", started_us=now_us)
            store.put_verification(connection, tenant_no, running, now_us)
            return tenant_no, running
    return None


def note_progress(
    connection: Connection, tenant_no: int, run: Verification, *, done: int, total: int, now_us: int
) -> None:
    """Keep how far a run is, which is also its sign of life."""
    progress = msgspec.structs.replace(run, done=done, total=total)
    store.put_verification(connection, tenant_no, progress, now_us)


def finish(
    connection: Connection,
    ledger: Ledger,
    log: LogHead,
    *,
    run: Verification,
    result: VerificationResult | None,
    now_us: int,
) -> Verification:
    """End a run with its result, None for one that was broken off, and append the record that tells of it.

    Crash argument: both are one transaction; a crash before it leaves a running verification, which the next
    start marks as aborted.
    """
    status = "aborted" if result is None else "verified" if result.verified else "failed"
    size = run.done if result is None else result.size
    ended = msgspec.structs.replace(
        run, status=status, finished_us=now_us, result=result, done=size, total=max(run.total, size)
    )
    store.put_verification(connection, log.tenant_no, ended, now_us)
    if result is not None:
        ledger.append_platform(
            connection,
            log.tenant,
            type=events.VERIFICATION_COMPLETED if result.verified else events.VERIFICATION_FAILED,
            stream=events.integrity_stream(log),
            payload=events.verification_ended(ended, result),
            actor=SYSTEM,
        )
    return ended
