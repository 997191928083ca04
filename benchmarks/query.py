"""What the search model costs an event, and what searches cost on many.

Builds N records through the ledger, projects them, and runs searches page by page with fresh random values:
`python -m benchmarks.query [--events 200000] [--folder DIR] [--seconds 10]`. A folder that holds the records
already is used again. Figures are medians and 95th percentiles in milliseconds; the projection's in
microseconds of an event, the interpreter's share apart.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from atp.engine.codec import pack_many
from atp.engine.keys import KeyRing
from atp.engine.sqlite import SqliteDatabase
from atp.kernel import canonical
from atp.kernel.clock import format_us, now_us
from atp.kernel.hashing import b64u, sha256
from atp.kernel.ids import TenantId
from atp.projections.jobs import ProjectionLoop
from atp.query.handlers import SearchProjection
from atp.query.model import Search, Times
from atp.query.queries import Finder
from atp.query.rules.language import parse
from atp.streams import queries, store
from atp.streams.commands import Ledger, Vault
from atp.streams.model import NewRecord

TENANT = TenantId("bench")
BATCH = 1_000
STEP_US = 500_000
"""Between two records: two a second, so that 2 million are eleven days."""
ACTORS, RESOURCES = 5_000, 200_000
ACTIONS = [
    f"{kind}.{verb}"
    for kind in ("invoice", "contract", "shipment", "ticket", "dataset", "user")
    for verb in ("read", "updated", "created", "deleted", "exported")
]
WORDS = [
    f"{a}{b}"
    for a in ["ba", "ce", "di", "fo", "gu", "ha", "je", "ki", "lo", "mu", "na", "pe"]
    for b in ["tron", "lix", "mar", "vel", "don", "ser"]
]
BEGIN_US = 1_795_000_000_000_000


class Ticking:
    """The ledger's clock: moves with the records, so that ranges of time mean something."""

    us = BEGIN_US

    def __call__(self) -> int:
        return self.us


def skewed(rng: random.Random, count: int) -> int:
    """Return a number below `count`; small ones are far more frequent, as in life."""
    return int(count * rng.random() ** 3)


def content(rng: random.Random, occurred_us: int) -> bytes:
    """Return a content of about 1,200 bytes with three sealed values."""
    action = ACTIONS[skewed(rng, len(ACTIONS))]
    sealed = [{"~sealed": b64u(rng.randbytes(32))} for _ in range(3)]
    return canonical.encode(
        {
            "action": {"name": action, "category": "access" if action.endswith("read") else "change"},
            "actor": {
                "type": "service" if rng.random() < 0.3 else "user",
                "id": f"u-{skewed(rng, ACTORS)}",
                "name": sealed[0],
                "email": sealed[1],
            },
            "classification": {
                "findings": [
                    ["/actor/email", "email", "high", "profile.default", "seal"],
                    ["/actor/name", "person_name", "high", "profile.default", "seal"],
                    ["/context/ip", "ip_address", "high", "profile.default", "seal"],
                ],
                "level": "personal",
                "subject": "Q3J5cHRvLXN1Ympl",
            },
            "context": {
                "ip": sealed[2],
                "sessionId": f"s-{rng.getrandbits(32):x}",
                "userAgent": "ledger-sync/4.2 (linux; amd64)",
            },
            "correlation": {"requestId": f"req-{rng.getrandbits(48):x}"},
            "kind": "audit",
            "occurredAt": format_us(occurred_us - int(rng.expovariate(1 / 3_000_000))),
            "outcome": rng.choices(("success", "failure", "denied"), (90, 8, 2))[0],
            "payload": {
                "amount": rng.randrange(1000),
                "note": " ".join(rng.choices(WORDS, k=8)),
                "state": {"after": rng.choice(("final", "draft", "open"))},
            },
            "policy": {"retentionDays": 365, "rule": "default", "version": "builtin-1"},
            "resource": {
                "type": action.split(".")[0],
                "id": f"r-{skewed(rng, RESOURCES)}",
                "path": f"/2026/{rng.randrange(12)}/file.pdf",
            },
            "salt": b64u(rng.randbytes(16)),
            "schema": {"name": "audit-event", "version": "1"},
            "type": "audit_event.received",
        }
    )


def build(database: SqliteDatabase, vault: Vault, events: int) -> None:
    """Append records until there are `events`."""
    clock, rng = Ticking(), random.Random(7)
    ledger = Ledger(clock=clock)

    def begin(connection) -> int:
        store.ensure_shard(connection, 0)
        if store.log_head(connection, TENANT) is None:
            head = ledger.open_log(
                connection, TENANT, log_id="01kakbr8mz9v3w7t5q2e8yh4nc", origin="localhost/bench"
            )
            vault.create(connection, head.tenant_no)
        return queries.log(connection, TENANT).size

    done = database.write_now(begin)
    while done < events:
        contents = []
        for step in range(min(BATCH, events - done)):
            clock.us = BEGIN_US + (done + step) * STEP_US
            contents.append(content(rng, clock.us))
        new = [
            NewRecord(f"r/{skewed(rng, RESOURCES)}", raw, sha256(raw), packed)
            for raw, packed in zip(contents, pack_many(contents), strict=True)
        ]
        database.write_now(lambda c, new=new: ledger.append(c, TENANT, new))
        done += len(new)


def project(database: SqliteDatabase, model: SqliteDatabase) -> None:
    """Bring the model up to date; print what it costs, each part measured in CPU time of its thread."""
    projection = SearchProjection()
    loop = ProjectionLoop(database, model, projection)
    sample = database.read_now(lambda c: queries.feed(c, 0, 0, 5_000))
    for _ in range(2):
        started = time.thread_time()
        for record in sample:
            projection.prepare(record)
        preparing = time.thread_time() - started
    started = time.thread_time()
    database.read_now(lambda c: queries.feed(c, 0, 0, 5_000))
    reading = time.thread_time() - started
    wall, cpu = time.perf_counter(), time.process_time()
    count = loop.catch_up()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    print(
        f"projection: read {reading / len(sample) * 1e6:.1f} µs, prepare {preparing / len(sample) * 1e6:.1f} µs"
        + (
            f"; {count} events, {cpu / count * 1e6:.1f} µs CPU, {wall / count * 1e6:.1f} µs wall an event"
            if count
            else ""
        )
    )


def span(rng: random.Random, events: int, share: float) -> Times:
    """Return a range of time that holds that share of the records."""
    width = int(events * share)
    first = rng.randrange(max(events - width, 1))
    return Times(BEGIN_US + first * STEP_US, BEGIN_US + (first + width) * STEP_US)


def searches(events: int) -> dict[str, Callable[[random.Random], Search]]:
    """Return what is measured: the ordinary, the rare, and the worst."""

    def three(
        share: float, text: Callable[[random.Random], str], **given
    ) -> Callable[[random.Random], Search]:
        return lambda rng: Search(node=parse(text(rng)), recorded=span(rng, events, share), **given)

    def action(rng: random.Random) -> str:
        return ACTIONS[skewed(rng, len(ACTIONS))]

    return {
        "actor, action, outcome; a tenth": three(
            0.1, lambda r: f"actor:u-{skewed(r, ACTORS)} action:{action(r)} outcome:success"
        ),
        "resource, actor type, outcome; half": three(
            0.5, lambda r: f"resource:r-{skewed(r, RESOURCES)} actor.type:user outcome:success"
        ),
        "busiest actor, resource type, denied; all": three(
            1.0, lambda r: f"actor:u-0 resource.type:{r.choice(ACTIONS).split('.')[0]} outcome:denied"
        ),
        "none selective, common; all": three(
            1.0, lambda _: "actor.type:user action.category:access outcome:success"
        ),
        "none selective, none match; all": three(
            1.0, lambda _: "actor.type:user action:invoice.read action.category:change"
        ),
        "none selective, rare together; all": three(
            1.0, lambda _: "actor.type:service action:user.exported outcome:denied"
        ),
        "action, outcome by occurrence; a tenth": three(
            0.1, lambda r: f"action:{action(r)} outcome:failure actor.type:user", order="-occurredAt"
        ),
        "busiest actor by occurrence, denied; all": three(
            1.0, lambda _: "actor:u-1 outcome:denied actor.type:user", order="occurredAt"
        ),
        "two words and an outcome; all": three(
            1.0, lambda r: f"{r.choice(WORDS)} {r.choice(WORDS)} outcome:denied"
        ),
        "payload field, action; a tenth": three(
            0.1, lambda r: f"payload.state.after:final payload.amount:>990 action:{action(r)}"
        ),
    }


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--events", type=int, default=200_000)
    arguments.add_argument("--folder", type=Path)
    arguments.add_argument("--seconds", type=float, default=1.0, help="for each search")
    chosen = arguments.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = chosen.folder or Path(temporary)
        database = SqliteDatabase(folder / "atp.db", schema=store.schema("sqlite"))
        model = SqliteDatabase(folder / "search.db", schema=SearchProjection().schema("sqlite"))
        vault = Vault(database, KeyRing([b"b" * 32]), clock=now_us)
        build(database, vault, chosen.events)
        project(database, model)
        size = sum(path.stat().st_size for path in folder.glob("search.db*"))
        print(f"model: {size / chosen.events:.0f} bytes an event")
        finder, rng = Finder(model, database, vault.tenant), random.Random(11)
        for name, make in searches(chosen.events).items():
            times, shown, cut = [], 0, 0
            until = time.perf_counter() + chosen.seconds
            while time.perf_counter() < until or len(times) < 5:
                search = make(rng)
                started = time.perf_counter()
                found = finder.find(TENANT, search)
                times.append((time.perf_counter() - started) * 1000)
                shown += len(found.matches)
                cut += found.after is not None and len(found.matches) < search.limit
            times.sort()
            p95 = times[int(len(times) * 0.95)]
            print(
                f"{name:45} p50 {statistics.median(times):7.2f} ms  p95 {p95:7.2f} ms  "
                f"{shown / len(times):5.1f} found, {cut} of {len(times)} cut short"
            )
        model.close()
        database.close()


if __name__ == "__main__":
    main()
