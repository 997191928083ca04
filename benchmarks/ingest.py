"""Batch ingest over HTTP, burst and sustained, on both engines, each beside the raw engine; bytes on disk.

Burst: the time from the first byte sent to the last acknowledgement, with projection and integrity at work in the
same server. Sustained: the sender holds back while the search model is more than HOLD_SECONDS behind, so the rate
is what the whole server can keep up with.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from benchmarks.figures import Figure
from benchmarks.load import Load, LoadProcess, run
from benchmarks.raw import PostgresStore, Rows, SqliteStore
from benchmarks.server import Server, open_tenant, prepared

CONNECTIONS: Final = 4
BATCH: Final = 1_000
WARM_EVENTS: Final = 10_000
"""Sent before anything is measured: all streams and most subject keys exist then."""
WAKE_EVENTS: Final = 2_000
"""Sent before each burst: a server that had nothing to do may have put its processes to rest."""
HOLD_SECONDS: Final = 1.0
POLL_SECONDS: Final = 0.25
SEALED_VALUES: Final = 3


@dataclass(frozen=True)
class Sizes:
    """How much is sent; `FULL`, `QUICK` and, to debug, `TINY`."""

    runs: int
    burst_events: int
    sustained_seconds: float
    disk_events: int


FULL: Final = Sizes(runs=5, burst_events=100_000, sustained_seconds=60, disk_events=100_000)
QUICK: Final = Sizes(runs=3, burst_events=20_000, sustained_seconds=15, disk_events=20_000)
TINY: Final = Sizes(runs=2, burst_events=4_000, sustained_seconds=3, disk_events=4_000)


class Store(Protocol):
    """A store that can be read beside its server, and whose rows can be inserted raw."""

    def read_from(self, position: int) -> Rows: ...
    def insert(self, rows: Rows, group: int) -> float: ...


@dataclass
class _Runs:
    """Figures of one engine, run by run."""

    rates: list[float] = field(default_factory=list)
    raw: list[float] = field(default_factory=list)
    plain: list[float] = field(default_factory=list)
    groups: list[int] = field(default_factory=list)
    server_us: list[float] = field(default_factory=list)
    load_us: list[float] = field(default_factory=list)


def measure(sizes: Sizes) -> list[Figure]:
    """The embedded engine: burst, raw, sustained."""
    with prepared() as server:
        store = SqliteStore(server.data)

        def commits() -> int:
            """Return the groups committed: all transactions but the integrator's, one for each checkpoint."""
            return store.commits() - _checkpoints(server)

        begun = commits()

        def groups(position: int) -> int:
            nonlocal begun
            count, begun = commits() - begun, commits()
            return count

        return _measure("sqlite", "SQLite", [server], store, sizes, groups)


def measure_postgres(sizes: Sizes) -> list[Figure]:
    """PostgreSQL with two server processes: one runs everything, the other gateway and ingestion."""
    with _two_servers() as (servers, url):
        store = PostgresStore(url)
        try:
            return _measure("postgres", "COPY", servers, store, sizes, store.groups_from)
        finally:
            store.close()


def _measure(
    name: str,
    raw_name: str,
    servers: Sequence[Server],
    store: Store,
    sizes: Sizes,
    groups: Callable[[int], int],
) -> list[Figure]:
    runs = _bursts(servers, store, sizes, groups)
    rate, lag = _sustained(servers, sizes.sustained_seconds)
    rates = [value / raw for value, raw in zip(runs.rates, runs.raw, strict=True)]
    sent = f"{len(servers)} × server, {CONNECTIONS} connections, bodies of {BATCH} events"
    return [
        Figure(f"{name}.burst", runs.rates, f"{sizes.burst_events:,} events a run; {sent}", ratios=rates),
        Figure(f"{name}.burst.raw", rates, f"per run; transactions of about {runs.groups[-1]} records"),
        _context(
            f"raw {raw_name}, the same rows", runs.raw, "events/s", "compressed, as the server stored them"
        ),
        _context(
            f"raw {raw_name}, rows uncompressed", runs.plain, "events/s", "header and content as hashed"
        ),
        _context("CPU of the server(s), all threads", runs.server_us, "µs", "an event, during the bursts"),
        _context("CPU of the load generator", runs.load_us, "µs", "an event, part of the same two cores"),
        Figure(
            f"{name}.sustained",
            [rate],
            f"{sizes.sustained_seconds:.0f} s; held back while search is more than {HOLD_SECONDS:.0f} s behind",
        ),
        Figure(f"{name}.lag", [lag], "last acknowledgement until that record is found by the API"),
    ]


def _context(what: str, values: Sequence[float], unit: str, note: str) -> Figure:
    return Figure("", values, note, what=f"    {what}", unit=unit)


def _bursts(servers: Sequence[Server], store: Store, sizes: Sizes, groups: Callable[[int], int]) -> _Runs:
    runs, first = _Runs(), servers[0]
    ports, key = [server.port for server in servers], first.key
    warm(servers, WARM_EVENTS)
    for number in range(sizes.runs):
        warm(servers, WAKE_EVENTS)
        position, cpu = first.log_size(), sum(server.cpu_seconds() for server in servers)
        store.read_from(position)
        groups(position)
        load = Load(
            ports=ports,
            key=key,
            connections=CONNECTIONS,
            batch=BATCH,
            events=sizes.burst_events,
            seed=number,
        )
        outcome = run(load)
        used = sum(server.cpu_seconds() for server in servers) - cpu
        committed = groups(position)
        first.catch_up()
        rows = store.read_from(position)
        _check(rows, outcome.accepted)
        group = max(1, round(rows.events / max(1, committed)))
        runs.rates.append(outcome.rate)
        runs.groups.append(group)
        runs.raw.append(store.insert(rows, group))
        runs.plain.append(store.insert(rows.unpacked(), group))
        runs.server_us.append(used / outcome.accepted * 1e6)
        runs.load_us.append(outcome.cpu_seconds / outcome.accepted * 1e6)
    return runs


def warm(servers: Sequence[Server], events: int) -> None:
    """Send events that are not measured, and wait until they are searchable and proved."""
    ports = [server.port for server in servers]
    run(Load(ports=ports, key=servers[0].key, connections=CONNECTIONS, batch=BATCH, events=events, seed=7))
    servers[0].catch_up()


def _check(rows: Rows, accepted: int) -> None:
    """Refuse to measure something else than the issue describes: everything stored, three values sealed in each."""
    stored = rows.unpacked()
    place = rows.columns["records"].index("content")
    events = [row[place] for row in stored.rows["records"] if b'"kind":"audit"' in row[place]]
    sealed = sum(content.count(b'{"~sealed":') for content in events)
    if len(events) != accepted or sealed != SEALED_VALUES * accepted:
        raise RuntimeError(f"{accepted} accepted, {len(events)} stored, {sealed} values sealed")


def _sustained(servers: Sequence[Server], seconds: float) -> tuple[float, float]:
    """Return the rate that search can follow, and the seconds it was behind at the end."""
    first = servers[0]
    load = LoadProcess(
        Load(
            ports=[server.port for server in servers],
            key=first.key,
            connections=CONNECTIONS,
            batch=BATCH,
            seconds=seconds,
            seed=99,
        )
    )
    load.go()
    while not load.finished():
        time.sleep(POLL_SECONDS)
        position, age = first.searched_to()
        load.hold(holding=age > HOLD_SECONDS and position < first.log_size() - 1)
    outcome = load.result()
    return outcome.rate, first.catch_up()


def _checkpoints(server: Server) -> int:
    for line in server.expect("GET", "/metrics").splitlines():
        if line.startswith("atp_checkpoints_total "):
            return int(float(line.split()[1]))
    return 0


@contextmanager
def _two_servers() -> Iterator[tuple[list[Server], str]]:
    from tests.engine.local_postgres import LocalPostgres

    postgres = LocalPostgres()
    url = postgres.url(postgres.create())
    with tempfile.TemporaryDirectory(prefix="atp-bench-") as folder:
        servers = []
        try:
            servers.append(Server(Path(folder) / "a", database=url).start())
            servers[0].key = open_tenant(servers[0])
            keys = str(Path(folder) / "a" / "master.key")
            other = Server(
                Path(folder) / "b",
                database=url,
                only="gateway,ingestion",
                master_key_file=keys,
                sample="false",
            )
            servers.append(other.start())
            yield servers, url
        finally:
            for server in servers:
                server.stop()
            postgres.close()


# -- bytes on disk -----------------------------------------------------------------------------------------


def measure_disk(sizes: Sizes) -> list[Figure]:
    """Main file and write-ahead log after a clean stop, less an empty store, with and without idempotency keys."""
    without, with_keys = (_bytes_per_event(sizes.disk_events, keys) for keys in ("", "order"))
    note = f"{sizes.disk_events:,} events of 5,000 people on 5,000 streams, tiles and checkpoints included"
    return [
        Figure("disk", [without], note),
        _context("the same, each event with an idempotency key", [with_keys], "bytes", ""),
    ]


def _bytes_per_event(events: int, keys: str) -> float:
    with prepared() as server:
        server.stop()
        empty = _size(server.data)
        server.start()
        load = Load(
            ports=[server.port],
            key=server.key,
            connections=CONNECTIONS,
            batch=BATCH,
            events=events,
            keys=keys,
        )
        run(load)
        server.catch_up()
        server.stop()
        return (_size(server.data) - empty) / events


def _size(data: Path) -> int:
    return sum(file.stat().st_size for file in data.glob("atp.db*"))
