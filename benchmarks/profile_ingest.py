"""Where the CPU time of an event goes: the ingest path in this process, stage by stage, in CPU microseconds.

`python -m benchmarks.profile_ingest [--events N] [--engine sqlite|postgresql] [--cprofile FILE]`. Only CPU time
of the thread at work is counted, and the least of many batches printed, so the figures hold on a busy machine.
Stages before the ledger are run one after another over a batch by calling the functions the pipeline calls;
stages of the writer are timed inside real appends. The last lines hold the sum against the whole path, run as
it is, to show what escaped.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from atp.app.parts import open_databases
from atp.classification.queries import classify, protect
from atp.engine import codec
from atp.engine.database import Database
from atp.engine.keys import KeyRing
from atp.engine.settings import Settings
from atp.engine.sqlite import SqliteConnection, SqliteDatabase
from atp.ingestion import api, commands, jobs, rules
from atp.ingestion.commands import Pipeline, append, prepare
from atp.ingestion.model import FUTURE_SKEW_US, Batch, Origin
from atp.integrity.commands import Guard, Integrator, Signers
from atp.kernel import canonical
from atp.kernel.clock import format_us, now_us
from atp.kernel.hashing import sha256
from atp.kernel.ids import TenantId
from atp.kernel.randomness import random_salt
from atp.policy.queries import decide_by_default
from atp.projections.jobs import ProjectionLoop
from atp.query.handlers import SearchProjection
from atp.specs import schemas
from atp.streams import rules as record_rules
from atp.streams import store
from atp.streams.commands import Appender, Ledger, Sealer, Vault
from atp.streams.commands import ledger as ledger_module
from atp.web.body import parse_json
from benchmarks.events import SECOND, EventMaker

TENANT = TenantId("bench")
BATCH = 1_000


def cpu_us(work: Callable[[], object], events: int) -> float:
    """Return the CPU microseconds per event of `work`."""
    before = time.thread_time()
    work()
    return (time.thread_time() - before) / events * 1e6


def yardstick_us() -> float:
    """Return what a fixed piece of Python costs here and now, to compare figures of different moments by."""
    text = "a" * 100
    return min(cpu_us(lambda: [text.encode().count(b"b") for _ in range(1_000)], 1_000) for _ in range(50))


class WriterClock:
    """Sums the CPU time of the writer's stages by standing around the functions it calls."""

    def __init__(self) -> None:
        self.groups: list[dict[str, float]] = []
        self._spent: dict[str, float] = defaultdict(float)

    def least(self) -> dict[str, float]:
        """Return {stage: CPU µs an event} of the group that was disturbed least; groups are of BATCH events."""
        return {
            stage: us / BATCH * 1e6
            for stage, us in min(self.groups, key=lambda group: group["whole transaction"]).items()
        }

    @contextmanager
    def watching(self, connection: type) -> Iterator[None]:
        """Time the functions below while the context lasts; they are called a few times per group only."""
        database = SqliteDatabase if connection is SqliteConnection else _postgres().PostgresDatabase
        places: list[tuple[Any, str, str]] = [
            (database, "_transact", "whole transaction"),
            (database, "_commit", "commit (fsync not counted)"),
            (connection, "insert", "insert"),
            (connection, "many", "insert subject keys"),
            (Ledger, "_load_heads", "ledger: read heads"),
            (Ledger, "_decide", "ledger: decide"),
            (Ledger, "_draft", "ledger: headers, hashes, rows"),
            (ledger_module, "pack_many", "ledger: compress headers"),
        ]
        kept = [(owner, name, getattr(owner, name)) for owner, name, _ in places]
        for owner, name, stage in places:
            setattr(owner, name, self._timed(getattr(owner, name), stage))
        try:
            yield
        finally:
            for owner, name, original in kept:
                setattr(owner, name, original)

    def _timed(self, original: Callable[..., Any], stage: str) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            before = time.thread_time()
            try:
                return original(*arguments, **named)
            finally:
                name = f"insert {arguments[1]}" if stage == "insert" else stage
                self._spent[name] += time.thread_time() - before
                if name == "whole transaction":
                    self.groups.append(dict(self._spent))
                    self._spent.clear()

        return call


def _postgres() -> Any:
    from atp.engine import postgres

    return postgres


@contextmanager
def opened(engine: str) -> Iterator[tuple[Path, Database, Database]]:
    """A fresh, empty installation: its folder, the main store and the search model."""
    with tempfile.TemporaryDirectory(prefix="atp-profile-") as name:
        folder, server = Path(name), None
        if engine == "sqlite":
            settings = Settings(data=folder)
        else:
            from tests.engine.local_postgres import LocalPostgres

            server = LocalPostgres()
            settings = Settings(data=folder, database=server.url(server.create()))
        database, search = open_databases(settings, SearchProjection())
        yield folder, database, search
        search.close()
        database.close()
        if server is not None:
            server.close()


def open_pipeline(database: Database) -> tuple[Pipeline, Appender]:
    """Return pipeline and appender as the server builds them, over one tenant."""
    ledger, vault = Ledger(), Vault(database, KeyRing([b"m" * 32]))
    database.write_now(lambda connection: store.ensure_shard(connection, 0))

    def create(connection: Any) -> None:
        head = ledger.open_log(
            connection, TENANT, log_id="01j00000000000000000000000", origin="localhost/tlog/bench"
        )
        vault.create(connection, head.tenant_no)

    database.write_now(create)
    return Pipeline(
        contract=schemas.validator("audit-event.v1"),
        vault=vault,
        sealer=Sealer(database, vault.tenant),
    ), Appender(database, ledger)


def stages(pipeline: Pipeline, sent: Sequence[bytes]) -> dict[str, float]:
    """Return {stage: CPU µs an event} for what happens before the ledger, and for the edge around it."""
    count, found = len(sent), {}
    origin, vault = Origin(TENANT), pipeline.vault.tenant(TENANT)
    body = b'{"events":[' + b",".join(sent) + b"]}"
    found["edge: read the envelope"] = cpu_us(
        lambda: [bytes(event) for event in api._decode_envelope(body).events], count
    )
    found["parse"] = cpu_us(lambda: [parse_json(raw) for raw in sent], count)
    events = [parse_json(raw) for raw in sent]
    found["validate"] = cpu_us(lambda: [pipeline.contract.is_valid(event) for event in events], count)
    latest = format_us(now_us() + FUTURE_SKEW_US)
    found["times"] = cpu_us(lambda: [rules.times(event, latest) for event in events], count)
    when = [rules.times(event, latest) for event in events]
    found["enrich"] = cpu_us(lambda: [rules.enrich(event, origin, None) for event in events], count)
    found["classify"] = cpu_us(lambda: [classify(event) for event in events], count)
    verdicts = [classify(event) for event in events]

    def refuse_hidden() -> None:
        for raw, seen in zip(sent, verdicts, strict=True):
            commands._refuse_hidden(raw, 0, seen)

    found["refuse hidden"] = cpu_us(refuse_hidden, count)
    found["decide"] = cpu_us(
        lambda: [decide_by_default(TENANT, event, "personal") for event in events], count
    )
    decided = decide_by_default(TENANT, events[0], "personal")
    opened_values: list[list[bytes]] = []

    def protect_all() -> list[dict[str, Any]]:
        opened_values.clear()
        protected = []
        for event, seen in zip(events, verdicts, strict=True):
            values: list[bytes] = []

            def seal(pointer: str, value: object, values: list[bytes] = values) -> dict[str, str]:
                bytes_, marker = record_rules.disclosure(pointer, value, plain=True)
                values.append(bytes_)
                return marker

            protected.append(protect(event, seen, seal=seal, pseudonym=vault.pseudonym))
            opened_values.append(values)
        return protected

    found["protect (seal values)"] = cpu_us(protect_all, count)
    protected = protect_all()

    def contents() -> list[dict[str, Any]]:
        return [
            rules.content(event, times, decided, seen, random_salt())
            for event, times, seen in zip(protected, when, verdicts, strict=True)
        ]

    found["stream, subject"] = cpu_us(
        lambda: [
            (rules.stream_name(event), commands._subject(vault, event["actor"]["type"], event["actor"]["id"]))
            for event in protected
        ],
        count,
    )
    found["content"] = cpu_us(contents, count)
    made = contents()
    found["encode"] = cpu_us(lambda: [canonical.encode_plain(content) for content in made], count)
    encoded = [canonical.encode_plain(content) for content in made]
    found["hash"] = cpu_us(lambda: [sha256(content) for content in encoded], count)
    found["compress"] = cpu_us(lambda: codec.pack_many(encoded), count)
    refs = [commands._subject(vault, event["actor"]["type"], event["actor"]["id"]) for event in events]
    found["subject keys"] = cpu_us(lambda: pipeline.sealer.keys_for(TENANT, set(refs)), count)
    keys = pipeline.sealer.keys_for(TENANT, set(refs))
    digest = sha256(b"")
    found["encrypt"] = cpu_us(
        lambda: [keys[ref].box(values, digest) for ref, values in zip(refs, opened_values, strict=True)],
        count,
    )
    return found


def whole(
    path: tuple[Pipeline, Appender],
    batches: Sequence[Sequence[bytes]],
    profile: cProfile.Profile | None = None,
) -> dict[str, float]:
    """Run the path as it is; return CPU µs an event of its parts, of the batch that was disturbed least."""
    pipeline, appender = path
    runs: dict[str, list[float]] = defaultdict(list)
    for sent in batches:
        process, before = time.process_time(), time.thread_time()
        batch = Batch(sent, received_us=now_us())
        if profile:
            profile.enable()
        records = prepare(pipeline, Origin(TENANT), batch)
        if profile:
            profile.disable()
        runs["ahead"].append(time.thread_time() - before)
        outcomes = append(pipeline, appender, Origin(TENANT), batch=batch, records=records).result(60)
        runs["process"].append(time.process_time() - process)
        runs["answers"].append(_seconds(partial(_answer, outcomes)))
        runs["child out"].append(_seconds(partial(_out, records)))
        runs["child in"].append(_seconds(partial(_in, _out(records))))
    return {name: min(times) / BATCH * 1e6 for name, times in runs.items()}


def behind(folder: Path, database: Database, search: Database, vault: Vault, events: int) -> dict[str, float]:
    """Return CPU µs an event, of all threads, of what follows the commit: the search model, tiles and checkpoints."""
    projecting = ProjectionLoop(database, search, SearchProjection())
    guard = Guard(folder / "checkpoints.guard")
    integrator = Integrator(database, guard, Signers(database, vault.tenant))
    found = {}
    before = time.process_time()
    projecting.catch_up()
    found["search model"] = (time.process_time() - before) / events * 1e6
    before = time.process_time()
    while integrator.step():
        pass
    found["tiles and checkpoints"] = (time.process_time() - before) / events * 1e6
    guard.close()
    return found


def _answer(outcomes: Sequence[Any]) -> bytes:
    return msgspec.json.encode(api._verdicts(outcomes))


def _out(records: Sequence[Any]) -> bytes:
    return jobs._encode(jobs._outward(records))


def _in(packed: bytes) -> list[Any]:
    return [jobs._inward(item) for item in jobs._decode_items(packed)]


def _seconds(work: Callable[[], object]) -> float:
    return cpu_us(work, 1) / 1e6


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--engine", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--cprofile", help="Write a profile of the path before the writer to this file.")
    options = parser.parse_args()
    second = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()).encode()
    maker = EventMaker()
    batches = [
        [maker.event().replace(SECOND, second) for _ in range(BATCH)] for _ in range(options.events // BATCH)
    ]
    # As the server does it (atp.cli.serve), or the collector's walks would be measured.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)
    clock = WriterClock()
    connection = SqliteConnection if options.engine == "sqlite" else _postgres().PostgresConnection
    with clock.watching(connection), opened(options.engine) as (folder, database, search):
        path = open_pipeline(database)
        whole(path, batches[: max(1, len(batches) // 4)])  # Warm: subject keys, streams, caches.
        clock.groups.clear()
        profile = cProfile.Profile() if options.cprofile else None
        measured = whole(path, batches, profile)
        writer = clock.least()
        runs = [stages(path[0], sent) for sent in batches]
        stored = len(batches) * BATCH + max(1, len(batches) // 4) * BATCH
        after = behind(folder, database, search, path[0].vault, stored)
        if profile:
            profile.dump_stats(options.cprofile)
    found = {stage: min(run[stage] for run in runs) for stage in runs[0]}
    _print(found, writer, measured, after)


def _print(
    found: dict[str, float], writer: dict[str, float], measured: dict[str, float], after: dict[str, float]
) -> None:
    transaction = writer.pop("whole transaction")
    writer["ledger: headers, hashes, rows"] -= writer.get("ledger: compress headers", 0.0)
    inner = sum(us for stage, us in found.items() if not stage.startswith("edge"))
    print(f"CPU microseconds per event; yardstick {yardstick_us():.3f} µs\n")
    print("on the caller's thread")
    for stage, us in found.items():
        print(f"  {stage:34}{us:7.2f}")
    print(f"  {'sum without the edge':34}{inner:7.2f}")
    print(f"  {'as it is':34}{measured['ahead']:7.2f}\n")
    print("on the writer's thread")
    for stage, us in sorted(writer.items(), key=lambda item: -item[1]):
        print(f"  {stage:34}{us:7.2f}")
    print(f"  {'other':34}{transaction - sum(writer.values()):7.2f}")
    print(f"  {'whole transaction':34}{transaction:7.2f}\n")
    print(f"  {'answer: verdicts as JSON':34}{measured['answers']:7.2f}   (not in the whole)")
    print(f"  {'child process: records out':34}{measured['child out']:7.2f}   (not in the whole)")
    print(f"  {'child process: records in':34}{measured['child in']:7.2f}   (not in the whole)")
    print("after the commit, all threads")
    for stage, us in after.items():
        print(f"  {stage:34}{us:7.2f}")
    rate = 1e6 / measured["process"]
    print(
        f"  {'whole process':34}{measured['process']:7.2f}   = {rate:,.0f} events/s on one core, without HTTP"
    )


if __name__ == "__main__":
    main()
