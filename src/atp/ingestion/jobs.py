"""Child processes that prepare large batches, so that the pipeline's work does not share one interpreter's lock.

A batch goes out as bytes, records ready to be appended come back; only the parent writes. Children are started
when the first large batch comes and end when none has come for a while, or when the parent is gone.
"""

from __future__ import annotations

import gc
import multiprocessing
import signal
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection as Pipe
from typing import Any, Final

import msgspec

from atp.engine import telemetry
from atp.ingestion.commands import Pipeline, prepare
from atp.ingestion.model import Batch, Origin
from atp.kernel.clock import monotonic
from atp.kernel.errors import MISSING, Detail, Problem
from atp.kernel.ids import TenantId
from atp.streams.model import Disclosure, Idempotency, NewRecord, SubjectKeyRow

LARGE_EVENTS: Final = 50
"""Batches of fewer events are prepared in the parent: the way to a child and back costs as much."""
IDLE_SECONDS: Final = 30.0
"""A child that had nothing to do for so long ends and gives its memory back."""
GC_THRESHOLD: Final = 50_000
STOP_SECONDS: Final = 2.0

Prepared = list[NewRecord | Problem]


class _Order(msgspec.Struct, array_like=True):
    """A batch on its way to a child."""

    tenant: str
    region: str
    trace_id: str | None
    sent: list[bytes]
    atomic: bool
    idempotency_key: str | None
    received_us: int | None


class _Key(msgspec.Struct, array_like=True):
    key_id: int
    ref: bytes
    wrapped: bytes


class _Box(msgspec.Struct, array_like=True):
    key_id: int
    box: bytes
    key: _Key | None


class _Record(msgspec.Struct, array_like=True, tag="r"):
    stream: str
    content_hash: bytes
    packed: bytes
    expected_version: int | None
    idempotency: tuple[bytes, bytes] | None
    disclosures: list[_Box]


class _Refusal(msgspec.Struct, array_like=True, tag="p"):
    code: str
    message: str | None
    details: list[tuple[str, str, bool, Any]]
    extra: dict[str, Any]


_encode = msgspec.msgpack.Encoder().encode
_decode_order = msgspec.msgpack.Decoder(_Order).decode
_decode_items = msgspec.msgpack.Decoder(list[_Record | _Refusal]).decode


class PipelineProcesses:
    """Prepares batches, large ones in children.

    State: `_idle` holds the children that have nothing to do and `_ready` counts those that ever said they are
    ready, both guarded by `_free`; a child in use belongs to the thread that took it. While all are busy a batch
    waits for one, because the parent's interpreter has the writer to serve. One that fails is dropped and its
    batch prepared here.
    """

    def __init__(self, pipeline: Pipeline, factory: Callable[[], Pipeline], *, processes: int) -> None:
        """`factory` is called in each child, so it must be picklable."""
        self._pipeline = pipeline
        self._factory = factory
        self._processes = processes
        self._free = threading.Condition()
        self._idle: list[_Child] = []
        self._started = 0
        self._ready = 0

    def prepare(self, origin: Origin, batch: Batch) -> Prepared:
        """Take a batch through the pipeline up to where it must be appended. Blocks."""
        child = self._take() if len(batch.sent) >= LARGE_EVENTS else None
        if child is None:
            return prepare(self._pipeline, origin, batch)
        try:
            prepared = child.prepare(origin, batch)
        except (OSError, EOFError, msgspec.MsgspecError) as error:
            telemetry.logger().warning("pipeline_process_lost", reason=type(error).__name__)
            self._drop(child)
            return prepare(self._pipeline, origin, batch)
        self._give_back(child)
        return prepared

    def _give_back(self, child: _Child) -> None:
        with self._free:
            self._idle.append(child)
            self._free.notify()

    def _take(self) -> _Child | None:
        """Return a child that is ready, waiting for one that is busy; None while none has become ready yet."""
        with self._free:
            if self._started < self._processes and not any(child.ready() for child in self._idle):
                self._started += 1
                self._idle.append(_Child(self._factory))
            while True:
                ready = next((child for child in reversed(self._idle) if child.ready()), None)
                if ready is not None:
                    self._idle.remove(ready)
                    if not ready.counted:
                        ready.counted = True
                        self._ready += 1
                    return ready
                if not self._ready:
                    return None
                self._free.wait()

    def _forget(self, children: Sequence[_Child]) -> None:
        """Count children out that end; the caller holds `_free`."""
        self._started -= len(children)
        self._ready -= sum(child.counted for child in children)
        self._free.notify_all()

    def end_idle(self) -> None:
        """End the children that have had nothing to do for a while."""
        limit = monotonic() - IDLE_SECONDS
        with self._free:
            ending = [child for child in self._idle if child.used_at < limit]
            self._idle = [child for child in self._idle if child.used_at >= limit]
            self._forget(ending)
        for child in ending:
            child.stop()

    def _drop(self, child: _Child) -> None:
        with self._free:
            self._forget([child])
        child.stop()

    def close(self) -> None:
        """End all children; those in use by other threads must have come back."""
        with self._free:
            ending, self._idle, self._processes = self._idle, [], 0
            self._forget(ending)
        for child in ending:
            child.stop()


class _Child:
    """One child process and the pipe to it; used by one thread at a time."""

    def __init__(self, factory: Callable[[], Pipeline]) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, far = context.Pipe()
        self._process = context.Process(target=_serve, args=(far, factory), name="atp-pipeline", daemon=True)
        self._process.start()
        far.close()
        self._ready = False
        self.counted = False
        self.used_at = monotonic()

    def ready(self) -> bool:
        """Tell whether the child has said that it is ready."""
        if not self._ready and self._pipe.poll(0):
            with suppress(EOFError, OSError):
                self._ready = self._pipe.recv_bytes() == b"ready"
        return self._ready

    def prepare(self, origin: Origin, batch: Batch) -> Prepared:
        """Send a batch and wait for its records."""
        order = _Order(
            origin.tenant,
            origin.region,
            origin.trace_id,
            list(batch.sent),
            batch.atomic,
            batch.idempotency_key,
            batch.received_us,
        )
        self._pipe.send_bytes(_encode(order))
        answer = self._pipe.recv_bytes()
        self.used_at = monotonic()
        return [_inward(item) for item in _decode_items(answer)]

    def stop(self) -> None:
        """Close the pipe, which ends the child, and wait for it; kill it if it does not end."""
        self._pipe.close()
        self._process.join(STOP_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _serve(pipe: Pipe, factory: Callable[[], Pipeline]) -> None:
    """The child: prepare what comes until the pipe is closed. The parent's signals are the parent's business."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    pipeline = factory()
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, 50, 100)
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        pipe.send_bytes(b"ready")
        while True:
            order = _decode_order(pipe.recv_bytes())
            origin = Origin(TenantId(order.tenant), order.region, order.trace_id)
            batch = Batch(order.sent, order.atomic, order.idempotency_key, order.received_us)
            pipe.send_bytes(_encode(_outward(prepare(pipeline, origin, batch))))


def _outward(prepared: Sequence[NewRecord | Problem]) -> list[_Record | _Refusal]:
    return [_refusal(item) if isinstance(item, Problem) else _record(item) for item in prepared]


def _record(record: NewRecord) -> _Record:
    use = record.idempotency
    return _Record(
        record.stream,
        record.content_hash,
        record.packed,
        record.expected_version,
        (use.key, use.fingerprint) if use else None,
        [
            _Box(box.key_id, box.box, _Key(box.key.key_id, box.key.ref, box.key.wrapped) if box.key else None)
            for box in record.disclosures
        ],
    )


def _refusal(problem: Problem) -> _Refusal:
    details = [
        (
            detail.field,
            detail.issue,
            detail.value is not MISSING,
            None if detail.value is MISSING else detail.value,
        )
        for detail in problem.details
    ]
    return _Refusal(problem.code, problem.message, details, problem.extra)


def _inward(item: _Record | _Refusal) -> NewRecord | Problem:
    if isinstance(item, _Refusal):
        details = [
            Detail(field, issue, value) if has_value else Detail(field, issue)
            for field, issue, has_value, value in item.details
        ]
        return Problem(item.code, item.message, details=details, extra=item.extra)
    return NewRecord(
        item.stream,
        b"",
        item.content_hash,
        item.packed,
        item.expected_version,
        Idempotency(*item.idempotency) if item.idempotency else None,
        tuple(
            Disclosure(
                box.key_id,
                box.box,
                SubjectKeyRow(box.key.key_id, box.key.ref, box.key.wrapped) if box.key else None,
            )
            for box in item.disclosures
        ),
    )
