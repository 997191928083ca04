"""Finding records: a search becomes a filter, a path and windows; the record decides.

Each window is one bounded statement, so a page costs the same at any depth, and a search that finds little
ends with a shorter page and a cursor instead of an error. Results are read from the record store: the model
proposes positions, never contents.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Literal

from atp.engine.database import Connection, Database
from atp.kernel.clock import SECOND_US, monotonic
from atp.kernel.errors import Problem
from atp.kernel.ids import TenantId
from atp.projections.queries import reached
from atp.query.model import SEARCH, Filter, Hit, Node, Search, Times, Window
from atp.query.rules import needs
from atp.query.rules.matching import matcher, resolved
from atp.query.rules.scan import BEYOND, WINDOW_ROWS, Found, Match, Scan
from atp.query.rules.view import document, event_view
from atp.query.store import reading
from atp.query.store.reading import PROBE_ROWS
from atp.query.store.schema import key
from atp.streams import queries
from atp.streams.commands import TenantVault

ROW_COST: Final = 1
"""What a row of an index costs, the unit of the following: about 0.3 microseconds."""
WORDS_COST: Final = 10
"""A row of the index of words, with the look-up of its event."""
SORT_COST_MAX: Final = 200_000
"""Rows of a path that may be read and sorted for one page by occurrence: about 60 milliseconds."""
CHECK_COST: Final = 100
"""A record that is read from the store, decoded and judged."""


class Finder:
    """Answers searches of tenants from the model and the record store, each read in short snapshots."""

    def __init__(self, model: Database, records: Database, vault: Callable[[TenantId], TenantVault]) -> None:
        self._model = model
        self._records = records
        self._vault = vault

    def reached(self, tenant: TenantId) -> int | None:
        """Return the tenant's last position that the model holds (QRY-07)."""
        number = self._vault(tenant).tenant_no
        return self._model.read_now(lambda c: reached(c, SEARCH, number))

    def find(self, tenant: TenantId, search: Search) -> Found:
        """Return one page of a search; TIMEOUT when so many cannot be skipped in time."""
        vault = self._vault(tenant)
        searched_to = self._model.read_now(lambda c: reached(c, SEARCH, vault.tenant_no))
        if searched_to is None:
            return Found((), None, None)
        node = resolved(search.node, vault.pseudonym)
        first, last, streams = self._records.read_now(lambda c: _named(c, tenant, node))
        scan = Scan(search, matcher(node), first, min(last, searched_to))
        self._model.read_now(lambda c: _plan(c, scan, vault.tenant_no, node, streams))
        while scan.goes_on():
            window, limit, started = scan.window(), scan.chunk, monotonic()
            hits = self._hits(scan, window, limit)
            scan.measured(monotonic() - started)
            self._judge(tenant, scan, hits)
            scan.advance(window, hits, complete=len(hits) < limit)
        if len(scan.matches) < search.offset and not scan.finished:
            raise Problem("TIMEOUT", "So many records cannot be skipped in time; use a cursor.")
        return scan.page(searched_to)

    def _hits(self, scan: Scan, window: Window, limit: int) -> list[Hit]:
        return self._model.read_now(lambda c: reading.hits(c, scan.path, scan.wanted, window, limit))

    def _judge(self, tenant: TenantId, scan: Scan, hits: Sequence[Hit]) -> None:
        """Read the proposed records and keep those that match."""
        positions = [position for position, _ in hits]
        records = self._records.read_now(lambda c: queries.records_at(c, tenant, positions))
        for position, occurred_us in hits:
            if (record := records.get(position)) is not None:
                shown = document(record)
                if scan.matches_node(shown):
                    scan.matches.append((Match(record, event_view(record)), occurred_us))


def _named(connection: Connection, tenant: TenantId, node: Node) -> tuple[int, int, frozenset[int] | None]:
    """Return the positions [first, last] that a search names, by position or id, and the streams' numbers."""
    numbers = needs.needed_range(node, ("position",))
    first = max(numbers.start or 0, 0)
    last = BEYOND if numbers.end is None else numbers.end - 1
    ids = needs.needed_values(node, ("id",))
    if ids is not None:
        found = [position for id_ in ids if (position := _position_of(connection, tenant, id_)) is not None]
        first, last = max(first, min(found, default=BEYOND)), min(last, max(found, default=-1))
    return first, last, _stream_numbers(connection, tenant, node)


def _position_of(connection: Connection, tenant: TenantId, ulid: str) -> int | None:
    try:
        return queries.record(connection, tenant, ulid).position
    except Problem:
        return None


def _stream_numbers(connection: Connection, tenant: TenantId, node: Node) -> frozenset[int] | None:
    names = needs.needed_values(node, ("stream",))
    if names is None:
        return None
    numbers = set()
    for name in names:
        try:
            numbers.add(queries.stream(connection, tenant, name).stream_no)
        except Problem:
            continue
    return frozenset(numbers)


def _plan(
    connection: Connection, scan: Scan, tenant_no: int, node: Node, streams: frozenset[int] | None
) -> None:
    """Decide what the model is asked: the range, the filter, the path, and how large the first window is."""
    _limit_by_time(connection, scan, tenant_no, node)
    shapes, records, total = _shapes(connection, tenant_no, node)
    scan.wanted = Filter(
        tenant_no=tenant_no,
        shape=shapes,
        actor=_keys(connection, tenant_no, node, "actor"),
        resource=_keys(connection, tenant_no, node, "resource"),
        stream_no=streams,
        occurred=needs.needed_range(node, ("occurredAt",)),
        words=needs.needed_words(node),
    )
    if scan.wanted.empty or scan.first > scan.last:
        return
    _choose_path(connection, scan, records, total)
    if scan.search.by_occurrence:
        _order_by_occurrence(connection, scan, total)
    else:
        scan.fallback = None


def _limit_by_time(connection: Connection, scan: Scan, tenant_no: int, node: Node) -> None:
    """Turn ranges of the time of recording into positions."""
    for times in (scan.search.recorded, needs.needed_range(node, ("recordedAt",))):
        if times.start is not None:
            first = reading.position_at(connection, tenant_no, times.start)
            scan.first = max(scan.first, BEYOND if first is None else first)
        if times.end is not None:
            behind = reading.position_at(connection, tenant_no, times.end)
            scan.last = min(scan.last, BEYOND if behind is None else behind - 1)


def _shapes(connection: Connection, tenant_no: int, node: Node) -> tuple[frozenset[int] | None, int, int]:
    """Return the shapes that can match (None: any), how many records they have, and how many there are."""
    possible = needs.shape_possible(node)
    if possible is None:
        return None, 0, reading.count(connection, tenant_no)
    rows = reading.shapes(connection, tenant_no)
    total = sum(records for _, records, _ in rows)
    chosen = {number: records for number, records, shape in rows if possible(shape)}
    if len(rows) > reading.SHAPES_MAX or len(chosen) == len(rows):
        return None, 0, total
    return frozenset(chosen), sum(chosen.values()), total


def _keys(
    connection: Connection, tenant_no: int, node: Node, name: Literal["actor", "resource"]
) -> frozenset[int] | None:
    identifiers = needs.needed_values(node, (name, "id"))
    if identifiers is None:
        return None
    return reading.existing(connection, tenant_no, name, frozenset(map(key, identifiers)))


def _choose_path(connection: Connection, scan: Scan, shape_records: int, total: int) -> None:
    """Take the cheapest path: rows to read, times what a row costs until it is known to match or not.

    A path is looked into from where reading begins; one that has few rows at all is read in one window.
    Where words are needed, every other path proposes records that only their text can decide.
    """
    newest = scan.search.newest_first
    whole = Window(first=scan.first, last=scan.last, newest_first=newest)
    length, begin = scan.last - scan.first + 1, scan.last if newest else scan.first
    proposing = CHECK_COST if scan.wanted.words is not None else ROW_COST
    cheapest = length * proposing
    for path in reading.paths(scan.wanted):
        if path == "shape":
            rows = shape_records * length // max(total, 1)
            few = shape_records < PROBE_ROWS
            size = length * PROBE_ROWS // max(rows, 1)
        else:
            place = reading.probe(connection, path, scan.wanted, whole)
            few = place is None
            size = abs(begin - (place or 0)) + 1
            rows = PROBE_ROWS // 2 if few else length * PROBE_ROWS // size
        cost = rows * (WORDS_COST if path == "words" else proposing)
        if cost < cheapest:
            scan.path, scan.size, scan.sparse, cheapest = path, size, few, cost
            scan.fallback = path if cost <= SORT_COST_MAX else None


def _order_by_occurrence(connection: Connection, scan: Scan, total: int) -> None:
    """Read by time: all of a path that has few rows, else windows of the index of times."""
    bounds = reading.occurred_bounds(connection, scan.wanted.tenant_no)
    if bounds is None:
        scan.finished = True
        return
    start, end = bounds[0], bounds[1] + 1
    occurred, after = scan.wanted.occurred, scan.search.after
    start = start if occurred.start is None else max(start, occurred.start)
    end = end if occurred.end is None else min(end, occurred.end)
    scan.times = Times(start, end)
    scan.size = max((bounds[1] - bounds[0]) * WINDOW_ROWS // max(total, 1), SECOND_US)
    if scan.sparse:
        scan.fallback = None
    else:
        scan.path = "occurred_us"
    if after is not None and after.occurred_us is not None:
        scan.behind(after)
        scan.times = Times(max(start, scan.times.start or 0), min(end, scan.times.end or 0))
