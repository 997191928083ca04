"""A store for tests that keeps what `Sink` promises: answers in order, one record a key, conflicts refused."""

from __future__ import annotations

import io
import json
from pathlib import Path

from atp.imports.commands.run import Plan, Report, run_import
from atp.imports.commands.unpacking import Stream
from atp.imports.model import Answer, SinkUnavailable
from atp.imports.store import Checkpoints, RejectFile

ROOT = Path(__file__).parents[2]
CLOUDTRAIL = ROOT / "src/atp/samples/cloudtrail-s3-exfiltration.jsonl"
WINDOWS_ZIP = ROOT / "examples/data/windows-eventlog-add-user.zip"


class Kept:
    """Records by idempotency key. `calls_left` lets the process "die" before or after a batch is stored."""

    def __init__(self) -> None:
        self.records: dict[str, bytes] = {}
        self.order: list[bytes] = []
        self.batches = 0
        self.fail_at: int | None = None
        self.store_before_failing = False

    def send(self, batch):
        self.batches += 1
        failing = self.fail_at is not None and self.batches == self.fail_at
        if failing and not self.store_before_failing:
            raise SinkUnavailable("killed before the batch")
        answers = [self._one(event) for event in batch]
        if failing:
            raise SinkUnavailable("killed after the batch, before the answer")
        return answers

    def close(self) -> None:
        pass

    def _one(self, event: bytes) -> Answer:
        key = json.loads(event)["idempotencyKey"]
        if key not in self.records:
            self.records[key] = event
            self.order.append(event)
            return Answer("accepted")
        if self.records[key] == event:
            return Answer("duplicate")
        return Answer("rejected", "IDEMPOTENCY_CONFLICT", "another event")


def import_bytes(raw: bytes, sink, folder: Path, **plan) -> Report:
    """Import `raw` as the file `source` of `folder`, with checkpoint and reject file there."""
    return run_import(
        Stream(io.BytesIO(raw)),
        Plan(**({"name": "source", "identity": "here"} | plan)),
        sink,
        checkpoints=Checkpoints(folder / "imports"),
        rejects=lambda kept: RejectFile(folder / "source.rejects.jsonl", kept),
        progress=lambda _counts, _position: None,
    )


def rejects(folder: Path) -> list[dict]:
    path = folder / "source.rejects.jsonl"
    return [json.loads(line) for line in path.read_bytes().splitlines()] if path.exists() else []
