"""What classification costs an event, and what the alternatives would.

Prints medians (and the best, for machines that others use too) of several runs in microseconds of the thread's own
time; beside a busy thread in microseconds that pass. The machine's speed is in the first line (a fixed loop), so
that figures of two runs can be compared. `python benchmarks/detection.py [events.jsonl ...]`; without files
it uses the CloudTrail sample of the package and a made-up event of 600 bytes.
"""

from __future__ import annotations

import re
import statistics
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import hyperscan
import msgspec

from atp.classification.model import DEFAULT_PROFILE
from atp.classification.queries import classify, protect
from atp.classification.rules.decisions import decider
from atp.classification.rules.detectors import TRIGGERS
from atp.classification.rules.findings import automaton, search
from atp.classification.rules.scan import Automaton
from atp.classification.rules.screen import glance, screen
from atp.classification.rules.walk import walk

RUNS = 9
# Long enough for the clock, short enough that all rows together stay below twenty seconds.
SECONDS_PER_RUN = 0.03
SAMPLE = Path(__file__).parents[1] / "src/atp/samples/cloudtrail-s3-exfiltration.jsonl"

Event = dict[str, Any]

TYPICAL: Event = {
    "occurredAt": "2026-11-21T10:00:00.123456Z",
    "actor": {"type": "user", "id": "u-123", "name": "Alice Example", "email": "alice@example.com"},
    "action": {"name": "document.view", "category": "read"},
    "resource": {"type": "document", "id": "doc-1", "path": "/folders/7/doc-1"},
    "outcome": "success",
    "context": {
        "ip": "203.0.113.77",
        "userAgent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/120.0.0.0 Safari/537.36",
        "sessionId": "fd4f1042-c7f6-4107-a6ee-d841d92596e7",
    },
    "payload": {
        "title": "Quarterly report",
        "pages": 12,
        "tags": ["finance", "q3"],
        "note": "please review before Friday",
    },
}


def with_payload(payload: Any) -> Event:
    """A source's own event as an importer hands it over."""
    return {
        "occurredAt": "2026-11-21T10:00:00.123456Z",
        "actor": {"type": "user", "id": "u-1"},
        "action": {"name": "imported"},
        "resource": {"type": "log", "id": "l-1"},
        "payload": payload,
    }


def median_us(
    call: Callable[[], object], events: int = 1, clock: Callable[[], float] = time.thread_time
) -> tuple[float, float]:
    """Median and best over RUNS of the time of one call, divided by the events it handles."""
    call()
    started = clock()
    call()
    repeat = max(1, int(SECONDS_PER_RUN / max(clock() - started, 1e-6)))
    runs = []
    for _ in range(RUNS):
        started = clock()
        for _ in range(repeat):
            call()
        runs.append((clock() - started) / repeat / events * 1e6)
    return statistics.median(runs), min(runs)


def line(label: str, micros: tuple[float, float]) -> None:
    """One row of the report."""
    print(f"  {label:<50}{micros[0]:9.2f} us/event, best {micros[1]:8.2f}")


def report(label: str, events: list[Event]) -> None:
    """The steps of classification over some events."""
    size = sum(len(msgspec.json.encode(event)) for event in events) // len(events)
    count = len(events)
    verdict = decider(DEFAULT_PROFILE)
    blobs = [("\0".join(walk(event, verdict.places).texts) + "\0").encode() for event in events]
    verdicts = [(event, classify(event)) for event in events]
    settled = sum(glance(event, verdict).facts is not None for event in events) / count
    print(
        f"{label}: {count} events, {settled:.0%} without a walk, {size} bytes each, {sum(len(v.findings) for _, v in verdicts) / count:.1f} findings"
    )
    line("classify", median_us(lambda: [classify(event) for event in events], count))
    line("  the look at bytes", median_us(lambda: [glance(event, verdict) for event in events], count))
    line("without the look", median_us(lambda: [search(event, verdict, {}) for event in events], count))
    line("  of it: walk", median_us(lambda: [walk(event, verdict.places) for event in events], count))
    line("  of it: automaton", median_us(lambda: [automaton().hits(blob) for blob in blobs], count))
    line("protect", median_us(lambda: [protect(e, v, seal=_seal, pseudonym=str) for e, v in verdicts], count))


def _seal(_pointer: str, _value: object) -> dict[str, str]:
    return {"~sealed": "x"}


def _scan_all(other: Automaton, blobs: list[bytes]) -> None:
    for blob in blobs:
        other.hits(blob)


def alternatives(events: list[Event]) -> None:
    """Other ways to point at suspects over the same joined strings."""
    places = decider(DEFAULT_PROFILE).places
    blobs = [("\0".join(walk(event, places).texts) + "\0").encode() for event in events]
    count = len(blobs)
    joined = b"".join(blobs)
    print("the automaton against alternatives, same strings")
    line(
        "triggers, one scan an event (chosen)",
        median_us(lambda: [automaton().hits(blob) for blob in blobs], count),
    )
    line("triggers, one scan for all events", median_us(lambda: automaton().hits(joined), count))
    for name, flag in (
        ("start of match", hyperscan.HS_FLAG_SOM_LEFTMOST),
        ("single match", hyperscan.HS_FLAG_SINGLEMATCH),
    ):
        other = Automaton([(trigger.pattern, trigger.caseless) for trigger in TRIGGERS], extra_flags=flag)
        line(
            f"triggers with {name}",
            median_us(partial(_scan_all, other, blobs), count),
        )
    patterns = [re.compile(t.pattern.encode(), re.IGNORECASE if t.caseless else 0) for t in TRIGGERS]
    line(
        "re, one pattern after the other",
        median_us(lambda: [p.findall(b) for b in blobs for p in patterns], count),
    )


def contended(events: list[Event]) -> None:
    """The same while another thread computes: the scan gives the interpreter lock away at every match."""
    blobs = [("\0".join(walk(event).texts) + "\0").encode() for event in events]
    joined = b"".join(blobs)
    over = threading.Event()

    def compute() -> None:
        while not over.is_set():
            sum(range(1000))

    other = threading.Thread(target=compute)
    other.start()
    print("beside a busy thread (fair share is twice the time)")
    try:
        line(
            "triggers, one scan an event",
            median_us(lambda: [automaton().hits(blob) for blob in blobs], len(blobs), time.perf_counter),
        )
        line(
            "triggers, one scan for all events",
            median_us(lambda: automaton().hits(joined), len(blobs), time.perf_counter),
        )
        line(
            "walk (keeps the lock)",
            median_us(lambda: [walk(event) for event in events], len(events), time.perf_counter),
        )
    finally:
        over.set()
        other.join()


def main(files: list[str]) -> None:
    """Prints the whole report."""
    print(f"machine: sum(range(100)) takes {median_us(lambda: sum(range(100)))[0]:.2f} us")
    started = time.perf_counter()
    screen()
    compiled = time.perf_counter()
    automaton()
    print(
        f"compiled once per process: the look {compiled - started:.2f} s, "
        f"{len(TRIGGERS)} triggers {time.perf_counter() - compiled:.2f} s"
    )
    report("an event of 600 bytes, three sealed values", [TYPICAL])
    mail = {**TYPICAL, "payload": {**TYPICAL["payload"], "sharedWith": "bob@example.org"}}
    report("the same with a mail address in the payload", [mail])
    for path in map(Path, files or [str(SAMPLE)]):
        lines = path.read_bytes().splitlines()
        report(path.name, [with_payload(msgspec.json.decode(text)) for text in lines[:200] if text])
    alternatives([mail] * 50)
    contended([mail] * 50)
    print(f"took {time.perf_counter() - started:.1f} s")


if __name__ == "__main__":
    main(sys.argv[1:])
