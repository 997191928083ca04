"""Ingestion over HTTP: bytes to commands, outcomes to answers. JSON is read here, because the pipeline wants bytes.

Refusals become verdicts per item and acceptances links to the records; nothing is decided about an event here.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NoReturn
from urllib.parse import quote

import msgspec

from atp.engine import telemetry
from atp.ingestion.commands import Pipeline, append, ingest
from atp.ingestion.jobs import PipelineProcesses
from atp.ingestion.model import BATCH_EVENTS_MAX, Batch, Origin
from atp.kernel.clock import format_us, monotonic
from atp.kernel.errors import MISSING, Detail, Problem
from atp.kernel.hashing import b64u
from atp.kernel.ids import encode_ulid, encode_ulids
from atp.specs import errors
from atp.streams.commands import Appender
from atp.streams.model import Appended, Outcome
from atp.tenants.queries import Directory
from atp.web.body import decode_json, refuse_repeated_members
from atp.web.request import Handler, Request, raw_body
from atp.web.response import Response, json_response

_EVENTS = "/api/v1/audit-events"
PREPARING_MAX = 20_000
"""Events that may wait for the pipeline, as many as may wait for the writer behind it; beyond, 503 (ING-07)."""
RETRY_SECONDS = 1.0
LOCAL_REGION = "local"
"""The region of tenants that were given none; it says nothing and is not added to events."""


class _Envelope(msgspec.Struct, forbid_unknown_fields=True):
    """A batch as sent; its events stay bytes, so that each is measured and judged on its own."""

    events: list[msgspec.Raw]
    atomic: bool = False


class _ItemError(msgspec.Struct, omit_defaults=True):
    code: str
    message: str
    details: list[dict[str, object]] = []


class _Item(msgspec.Struct, omit_defaults=True):
    index: int
    status: str
    id: str | None = None
    position: int | None = None
    record_hash: str | None = msgspec.field(default=None, name="recordHash")
    error: _ItemError | None = None


class _Verdicts(msgspec.Struct):
    accepted: int
    duplicates: int
    rejected: int
    results: list[_Item]


_decode_envelope = msgspec.json.Decoder(_Envelope).decode


class Room:
    """How many events wait for the pipeline. Owned by the event loop's thread."""

    def __init__(self) -> None:
        self._events = 0

    @contextmanager
    def for_events(self, count: int) -> Iterator[None]:
        """Count events in while they are prepared; OVERLOADED when too many wait already."""
        if self._events and self._events + count > PREPARING_MAX:
            raise Problem("OVERLOADED", retry_after=RETRY_SECONDS)
        self._events += count
        try:
            yield
        finally:
            self._events -= count


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestionApi:
    """The handlers. `workers` leads batches through `processes`, so that a large one does not hold up the event loop."""

    pipeline: Pipeline
    appender: Appender
    processes: PipelineProcesses
    directory: Directory
    workers: Executor
    room: Room = field(default_factory=Room)

    def handlers(self) -> Mapping[str, Handler]:
        """Return the handler of each operation."""
        return {"ingestAuditEvent": self.ingest_one, "ingestAuditEventBatch": self.ingest_batch}

    @raw_body
    async def ingest_one(self, request: Request) -> Response:
        """Append one event; 201, or 200 for a repeat."""
        started = monotonic()
        origin = await self._origin(request)
        key = request.parameter("Idempotency-Key")
        outcome = (
            await asyncio.wrap_future(
                ingest(self.pipeline, self.appender, origin, Batch([request.body], idempotency_key=key))
            )
        )[0]
        _count([outcome], started)
        if isinstance(outcome, Problem):
            raise outcome
        receipt = _receipt(outcome)
        location = (("location", f"{_EVENTS}/{receipt['id']}"),)
        return json_response(receipt, 200 if outcome.duplicate else 201, headers=location)

    @raw_body
    async def ingest_batch(self, request: Request) -> Response:
        """Append many events; a verdict per event, in order."""
        started = monotonic()
        origin = await self._origin(request)
        sent, atomic = _read(request)
        key = request.parameter("Idempotency-Key")
        batch = Batch(sent, atomic=atomic, idempotency_key=key, received_us=request.received_us)
        loop = asyncio.get_running_loop()
        with self.room.for_events(len(sent)), telemetry.step("ingest.prepare", events=len(sent)):
            records = await loop.run_in_executor(self.workers, self.processes.prepare, origin, batch)
        appended = append(self.pipeline, self.appender, origin, batch=batch, records=records)
        with telemetry.step("ingest.append", events=len(sent)):
            outcomes = await asyncio.wrap_future(appended)
        _count(outcomes, started)
        verdicts = _verdicts(outcomes)
        if atomic and verdicts.rejected:
            raise Problem("BATCH_REJECTED", extra=msgspec.to_builtins(verdicts))
        return json_response(verdicts)

    async def _origin(self, request: Request) -> Origin:
        tenant = await self.directory.tenant(request.tenant)
        region = tenant.region if tenant and tenant.region != LOCAL_REGION else ""
        correlation = request.correlation
        return Origin(
            tenant=request.tenant,
            region=region,
            trace_id=correlation.trace_id if correlation.parent_id else None,
        )


def _read(request: Request) -> tuple[list[bytes], bool]:
    """Return the events of a batch as sent, and whether it is atomic; raises the catalogue's refusals."""
    body: bytes = request.body
    asked = request.parameter("atomic")
    if (request.header("content-type") or "").partition(";")[0].strip().lower() == "application/x-ndjson":
        sent = [line for line in body.split(b"\n") if line.strip()]
        atomic = bool(asked)
        _refuse_count(len(sent))
        return sent, atomic
    try:
        envelope = _decode_envelope(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        _explain(body)
    _refuse_count(len(envelope.events))
    sent = [bytes(event) for event in envelope.events]
    # A member written twice shows by its name, or by a backslash outside the events where a name is escaped.
    if (
        body.count(b'"events"') > 1
        or body.count(b'"atomic"') > 1
        or body.count(b"\\") > sum(event.count(b"\\") for event in sent)
    ):
        refuse_repeated_members(body)
    return sent, bool(asked) or envelope.atomic


def _refuse_count(count: int) -> None:
    if not count:
        raise Problem("VALIDATION_FAILED", details=[Detail("events", "holds no event")])
    if count > BATCH_EVENTS_MAX:
        raise Problem(
            "BATCH_TOO_LARGE", details=[Detail("events", f"holds {count} events, at most 1000 are allowed")]
        )


def _explain(body: bytes) -> NoReturn:
    """Raise the refusal of a body that is no batch: what is wrong with the JSON, or with its shape."""
    value = decode_json(body)
    if not isinstance(value, dict):
        raise Problem("VALIDATION_FAILED", details=[Detail("", "is not an object")])
    details = [
        Detail(name[:64], "is not a known field") for name in sorted(value.keys() - {"events", "atomic"})
    ]
    if "events" not in value:
        details.append(Detail("events", "is required"))
    elif not isinstance(value["events"], list):
        details.append(Detail("events", "is not an array"))
    if not isinstance(value.get("atomic", False), bool):
        details.append(Detail("atomic", "is not a boolean"))
    raise Problem("VALIDATION_FAILED", details=details)


def _receipt(outcome: Appended) -> dict[str, Any]:
    ulid = encode_ulid(outcome.id)
    return {
        "id": ulid,
        "status": "duplicate" if outcome.duplicate else "accepted",
        "position": outcome.position,
        "stream": outcome.stream,
        "streamVersion": outcome.version,
        "recordedAt": format_us(outcome.recorded_us),
        "recordHash": b64u(outcome.record_hash),
        "links": links_of(ulid, outcome.stream),
    }


def links_of(ulid: str, stream: str) -> dict[str, str]:
    """Return where to go from a record."""
    return {
        "self": f"{_EVENTS}/{ulid}",
        "proof": f"{_EVENTS}/{ulid}/proof",
        "stream": f"/api/v1/event-streams/{quote(stream, safe='/:@')}",
    }


def _verdicts(outcomes: Sequence[Outcome]) -> _Verdicts:
    ulids = iter(encode_ulids([outcome.id for outcome in outcomes if isinstance(outcome, Appended)]))
    verdicts = _Verdicts(0, 0, 0, [])
    for index, outcome in enumerate(outcomes):
        if isinstance(outcome, Problem):
            verdicts.rejected += 1
            verdicts.results.append(_Item(index, "rejected", error=_item_error(outcome)))
            continue
        if outcome.duplicate:
            verdicts.duplicates += 1
        else:
            verdicts.accepted += 1
        status = "duplicate" if outcome.duplicate else "accepted"
        verdicts.results.append(
            _Item(index, status, next(ulids), outcome.position, b64u(outcome.record_hash))
        )
    return verdicts


def _item_error(problem: Problem) -> _ItemError:
    details = [
        {
            "field": detail.field,
            "issue": detail.issue,
            **({} if detail.value is MISSING else {"value": detail.value}),
        }
        for detail in problem.details
    ]
    return _ItemError(problem.code, problem.message or errors.catalogue()[problem.code].title, details)


def _count(outcomes: Sequence[Outcome], started: float) -> None:
    telemetry.APPEND_SECONDS.observe(monotonic() - started)
    rejected = sum(isinstance(outcome, Problem) for outcome in outcomes)
    duplicates = sum(isinstance(outcome, Appended) and outcome.duplicate for outcome in outcomes)
    for name, count in (
        ("accepted", len(outcomes) - rejected - duplicates),
        ("duplicate", duplicates),
        ("rejected", rejected),
    ):
        if count:
            telemetry.EVENTS.labels(name).inc(count)
