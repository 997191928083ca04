"""The flow of an import: recognise, read, map, send, note.

The calling thread maps and notes while one other thread sends; batches are noted in the order of the source.
"""

from __future__ import annotations

from base64 import b64encode
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from hashlib import sha256
from typing import NamedTuple

import msgspec

from atp.imports.commands.mapping import Mapper
from atp.imports.commands.unpacking import Stream, parts
from atp.imports.model import (
    BATCH_BYTES_MAX,
    BATCH_EVENTS_MAX,
    Answer,
    Checkpoint,
    Counts,
    Line,
    Reject,
    Sink,
    SinkUnavailable,
    SourceUnreadable,
    Unmappable,
)
from atp.imports.rules.csv_rows import CsvMapping
from atp.imports.rules.detect import FORMATS, detect
from atp.imports.store import Checkpoints, RejectFile

HEAD_BYTES_MAX = 1 << 16
"""So much of a source's beginning tells it from others."""

IN_FLIGHT_MAX = 2
"""Batches that are mapped but not acknowledged. One connection sends them in order, so that the log keeps
the order of the source; the second is ready when the first is answered."""


class Plan(NamedTuple):
    """What to import: `identity` names source and destination for the checkpoint, None where it has no name."""

    name: str
    identity: str | None = None
    format: str | None = None
    mapping: CsvMapping | None = None
    stream: str | None = None
    restart: bool = False


class Report(NamedTuple):
    """How it ended: `damage` tells why the source could not be read to its end."""

    format: str
    counts: Counts
    resumed_lines: int
    damage: str | None


Progress = Callable[[Counts, int], None]
"""Called with the counts and the number of packed bytes read, after each batch that is sent off or settled."""


class _Batch(NamedTuple):
    events: list[bytes]
    sent: list[Line]
    """The line of each event."""
    rejects: list[Reject]
    read: int
    """Lines of the source that are done when this batch is."""
    noted: bool = True
    """False for a last line without its newline: it is sent, and looked at again by the next run, because
    whoever writes the log may yet add to it."""


def run_import(
    stream: Stream,
    plan: Plan,
    sink: Sink,
    *,
    checkpoints: Checkpoints,
    rejects: Callable[[int], RejectFile],
    progress: Progress,
) -> Report:
    """Import a source from where an earlier run stopped; SourceUnreadable if not even its format is clear.

    `rejects` opens the reject file, keeping the given number of bytes. Raises SinkUnavailable or
    KeyboardInterrupt with everything acknowledged so far noted: running it again continues.
    """
    head, pieces = _head(parts(stream, plan.name, plan.mapping.encoding if plan.mapping else "utf-8"))
    format_name = _format(plan, head)
    source_id, checkpoint = _recognise(plan, format_name, head, checkpoints)
    mapper = Mapper(format_name, checkpoint.head, mapping=plan.mapping, stream=plan.stream)
    reject_file = rejects(checkpoint.rejects_bytes)
    resumed = checkpoint.counts.lines
    ledger = _Ledger(source_id, checkpoint, checkpoints, reject_file)
    line_up = _InOrder(sink)
    damage: str | None = None
    with ThreadPoolExecutor(1, thread_name_prefix="import-sender") as sender:
        flight: deque[tuple[_Batch, Future[list[Answer]]]] = deque()
        try:
            batches = _batches(mapper, pieces, resumed)
            while True:
                try:
                    batch = next(batches, None)
                except SourceUnreadable as error:
                    # The batches before it are complete; the generator handed out the last one first.
                    damage, batch = str(error), None
                if batch is None:
                    break
                flight.append((batch, sender.submit(line_up.send, batch.events)))
                if len(flight) >= IN_FLIGHT_MAX:
                    ledger.settle(*_landed(flight))
                progress(checkpoint.counts, stream.position)
            while flight:
                ledger.settle(*_landed(flight))
                progress(checkpoint.counts, stream.position)
        finally:
            # An interrupt must not wait for retries. What is under way may be stored and not noted: the next
            # run sends it again and its keys say so.
            sender.shutdown(wait=False, cancel_futures=True)
            sink.close()
    return Report(format_name, checkpoint.counts, resumed, damage)


def preview(stream: Stream, plan: Plan) -> tuple[str, Iterator[bytes | Reject]]:
    """Return the format, and the events and rejects of a source, without sending or noting anything."""
    head, pieces = _head(parts(stream, plan.name, plan.mapping.encoding if plan.mapping else "utf-8"))
    format_name = _format(plan, head)
    mapper = Mapper(format_name, _digest(head), mapping=plan.mapping, stream=plan.stream)

    def outcomes() -> Iterator[bytes | Reject]:
        for batch in _batches(mapper, pieces, 0):
            yield from batch.rejects
            yield from batch.events

    return format_name, outcomes()


class _InOrder:
    """Sends batch after batch, and none after one that failed: the log keeps the order of the source."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._broken = False

    def send(self, events: list[bytes]) -> list[Answer]:
        """Deliver a batch, on the sender's thread only."""
        if self._broken:
            raise SinkUnavailable("A batch before this one was not delivered.")
        self._broken = True
        answers = list(self._sink.send(events)) if events else []
        self._broken = False
        return answers


def _landed(flight: deque[tuple[_Batch, Future[list[Answer]]]]) -> tuple[_Batch, list[Answer]]:
    batch, future = flight.popleft()
    return batch, future.result()


class _Ledger:
    """Notes what was acknowledged: counts, rejects, checkpoint; written only by the importing thread."""

    def __init__(
        self, source_id: str, checkpoint: Checkpoint, checkpoints: Checkpoints, rejects: RejectFile
    ) -> None:
        self._source_id, self._checkpoint = source_id, checkpoint
        self._checkpoints, self._rejects = checkpoints, rejects

    def settle(self, batch: _Batch, answers: list[Answer]) -> None:
        """Book one acknowledged batch; batches come in the order of the source."""
        counts, refused = self._checkpoint.counts, list(batch.rejects)
        for line, answer in zip(batch.sent, answers, strict=True):
            match answer.status:
                case "accepted":
                    counts.accepted += 1
                case "duplicate":
                    counts.duplicates += 1
                case "rejected":
                    refused.append(_reject(line, Unmappable(answer.code, answer.message)))
        counts.rejected += len(refused)
        counts.lines = batch.read
        rejects = sorted(refused, key=lambda reject: (reject.part, reject.line))
        self._rejects.add(rejects)
        if not batch.noted:
            return
        # A crash here leaves rejects beyond `rejects_bytes`; the next run cuts them off and repeats the batch.
        self._checkpoint.rejects_bytes = self._rejects.size_bytes
        self._checkpoints.save(self._source_id, self._checkpoint)


def _head(
    pieces: Iterator[tuple[str, Iterator[bytes]]],
) -> tuple[bytes, Iterator[tuple[str, Iterator[bytes]]]]:
    """Return the first bytes of the first part, and all parts with nothing taken away."""
    name, chunks = next(pieces, ("", iter(())))
    held: list[bytes] = []
    damage: list[SourceUnreadable] = []
    try:
        while sum(map(len, held)) < HEAD_BYTES_MAX and (chunk := next(chunks, b"")):
            held.append(chunk)
    except SourceUnreadable as error:
        damage.append(error)

    def whole() -> Iterator[bytes]:
        # One piece, so that whoever looks at the first chunk for the format sees enough of it.
        yield b"".join(held)
        if damage:
            raise damage[0]
        yield from chunks

    def again() -> Iterator[tuple[str, Iterator[bytes]]]:
        yield name, whole()
        yield from pieces

    return b"".join(held)[:HEAD_BYTES_MAX], again()


def _format(plan: Plan, head: bytes) -> str:
    seen = detect(head)
    name = plan.format or ("csv" if plan.mapping else seen)
    if name is None:
        raise SourceUnreadable(
            f"The beginning of {plan.name} does not tell its format: say --format {'|'.join(FORMATS)}."
        )
    if (name == "csv") != (plan.mapping is not None):
        raise SourceUnreadable("CSV needs a mapping file (--mapping), and only CSV takes one.")
    if seen is not None and seen != name:
        raise SourceUnreadable(f"{plan.name} looks like {seen}, not {name}: say --format {seen}.")
    if b"\0" in head[:1024] and name != "csv":
        raise SourceUnreadable(f"{plan.name} holds binary data, not {name}.")
    return name


def _digest(head: bytes) -> str:
    return sha256(head).hexdigest()


def _recognise(plan: Plan, format_name: str, head: bytes, checkpoints: Checkpoints) -> tuple[str, Checkpoint]:
    """Return the source's id and its checkpoint: the stored one if this is the same source, perhaps grown."""
    mapped = sha256(msgspec.json.encode(plan.mapping)).hexdigest() if plan.mapping else ""
    named = "\0".join((plan.identity or _digest(head), format_name, mapped, plan.stream or ""))
    source_id = sha256(named.encode()).hexdigest()[:32]
    stored = checkpoints.load(source_id)
    if (
        stored is not None
        and len(head) >= stored.head_bytes
        and _digest(head[: stored.head_bytes]) == stored.head
    ):
        if not plan.restart:
            return source_id, stored
        # The head stays, and with it the keys of lines without ids: starting again must not double them.
        return source_id, Checkpoint(plan.name, format_name, stored.head, stored.head_bytes, Counts())
    return source_id, Checkpoint(plan.name, format_name, _digest(head), len(head), Counts())


def _batches(mapper: Mapper, pieces: Iterator[tuple[str, Iterator[bytes]]], skip: int) -> Iterator[_Batch]:
    """Yield batches within the API's limits; when the source ends in damage, the last one first."""
    read = size = 0
    batch = _Batch([], [], [], 0)
    source = _lines(mapper, pieces)
    damage: SourceUnreadable | None = None
    while True:
        try:
            line = next(source, None)
        except SourceUnreadable as error:
            line, damage = None, error
        if line is None:
            break
        read += 1
        if read <= skip:
            continue
        event, fault = _outcome(mapper, line, read)
        weight = len(event or line.raw)
        if size and (size + weight > BATCH_BYTES_MAX or not line.ended):
            yield batch._replace(read=read - 1)
            batch, size = _Batch([], [], [], 0), 0
        size += weight
        if event is not None:
            batch.events.append(event)
            batch.sent.append(line)
        if fault is not None:
            batch.rejects.append(_reject(line, fault))
        if len(batch.sent) + len(batch.rejects) >= BATCH_EVENTS_MAX or not line.ended:
            yield batch._replace(read=read, noted=line.ended)
            batch, size = _Batch([], [], [], 0), 0
    if size:
        yield batch._replace(read=read)
    if damage:
        raise damage


def _outcome(mapper: Mapper, line: Line, ordinal: int) -> tuple[bytes | None, Unmappable | None]:
    try:
        return mapper.event(line, ordinal), None
    except Unmappable as fault:
        return None, fault


def _lines(mapper: Mapper, pieces: Iterator[tuple[str, Iterator[bytes]]]) -> Iterator[Line]:
    for part, chunks in pieces:
        yield from mapper.read(part, chunks)


def _reject(line: Line, fault: Unmappable) -> Reject:
    cut = fault.code == "LINE_TOO_LONG"
    try:
        text = line.raw.decode().rstrip("\r\n")
    except UnicodeDecodeError:
        encoded = b64encode(line.raw).decode("ascii")
        return Reject(
            line.part, line.number, line.offset, fault.code, str(fault), raw_base64=encoded, cut=cut
        )
    return Reject(line.part, line.number, line.offset, fault.code, str(fault), raw=text, cut=cut)
