"""A search under way: which part of the order is read next, how much of it, and where the page ends.

Pure: the store is told what to read and tells what it found; the scan decides when a page is full, and when
enough was read for one request.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from atp.kernel.clock import monotonic
from atp.query.model import Filter, Hit, Path, Place, Search, Times, Window
from atp.query.rules.matching import Matcher
from atp.streams.model import StoredRecord

SCAN_SECONDS: Final = 0.25
"""How long one page may look for matches; what was not looked at yet is behind the page's cursor."""
SKIP_SECONDS: Final = 2.0
"""The same for a page by offset, which has no cursor to say how much is still to be skipped."""
WINDOW_ROWS: Final = 4_096
"""Rows of the first window where nothing is known about density."""
WINDOW_SECONDS: Final = 0.005
"""A window that took less is followed by one four times as large; one that took eight times more, by a half."""
PATIENCE_WINDOWS: Final = 3
"""Windows of an order by occurrence that may find too little before another path is taken."""
CHUNK_ROWS: Final = 1_000
"""Records read and judged together at most."""
BEYOND: Final = (1 << 53) - 1
"""Behind every position."""
NOTHING: Final = Filter(tenant_no=0)


@dataclass(frozen=True, slots=True)
class Match:
    """A record that a search has found, and its shown form, nothing disclosed."""

    record: StoredRecord
    view: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Found:
    """One page. `after` is where the next one begins, None at the end; `searched_to` the model's last position."""

    matches: Sequence[Match]
    after: Place | None
    searched_to: int | None


@dataclass(slots=True)
class Scan:
    """A search under way. Positions [first, last] or times [start, end) are what was not looked at yet."""

    search: Search
    matches_node: Matcher
    first: int
    last: int
    wanted: Filter = NOTHING
    path: Path = "log"
    times: Times | None = None
    after: Place | None = None
    size: int = field(default_factory=lambda: WINDOW_ROWS)
    sparse: bool = False
    fallback: Path | None = None
    windows: int = 0
    matches: list[tuple[Match, int]] = field(default_factory=list)
    finished: bool = False
    chunk: int = 0
    _deadline: float = 0.0

    def __post_init__(self) -> None:
        self.chunk = min(self.search.offset + self.search.limit + 1, CHUNK_ROWS)
        self._deadline = monotonic() + (SKIP_SECONDS if self.search.offset else SCAN_SECONDS)
        place = self.search.after
        if place is not None and not self.search.by_occurrence:
            if self.search.newest_first:
                self.last = min(self.last, place.position - 1)
            else:
                self.first = max(self.first, place.position + 1)

    def goes_on(self) -> bool:
        """Whether another window is to be read."""
        if self.wanted.empty or self.first > self.last or (self.times and _width(self.times) <= 0):
            self.finished = True
        wanted = self.search.offset + self.search.limit
        return not self.finished and len(self.matches) <= wanted and monotonic() < self._deadline

    def window(self) -> Window:
        """Return the next window, at the end where reading begins."""
        first, last, times, newest = self.first, self.last, self.times, self.search.newest_first
        if times is not None:
            start, end = times.start or 0, times.end or 0
            if not self.sparse:
                start, end = (
                    (max(start, end - self.size), end) if newest else (start, min(end, start + self.size))
                )
            times = Times(start, end)
        elif not self.sparse:
            first, last = (
                (max(first, last - self.size + 1), last)
                if newest
                else (first, min(last, first + self.size - 1))
            )
        return Window(first=first, last=last, times=times, after=self.after, newest_first=newest)

    def measured(self, seconds: float) -> None:
        """Make the next window larger or smaller, so that each takes a few milliseconds.

        Where the first windows of the order did not fill the page, matches are rare in it: then all rows of
        the `fallback` path are read and sorted instead.
        """
        self.windows += 1
        if self.fallback is not None and self.windows == PATIENCE_WINDOWS:
            self.path, self.sparse = self.fallback, True
        if seconds < WINDOW_SECONDS:
            self.size *= 4
        elif seconds > WINDOW_SECONDS * 8:
            self.size = max(self.size // 2, 1)

    def advance(self, window: Window, hits: Sequence[Hit], *, complete: bool) -> None:
        """Go on behind what was read: the whole window, or its part up to the last row."""
        if not complete:
            position, occurred_us = hits[-1]
            self.chunk = min(self.chunk * 2, CHUNK_ROWS)
            self.behind(Place(position, occurred_us if self.times else None))
        elif window.times is not None:
            times = window.times
            edge = Place(-1, times.start) if window.newest_first else Place(BEYOND, (times.end or 0) - 1)
            self.behind(edge)
        else:
            self.behind(Place(window.first if window.newest_first else window.last))

    def behind(self, place: Place) -> None:
        """Leave out everything up to a place, the place included."""
        newest = self.search.newest_first
        if self.times is None:
            if newest:
                self.last = place.position - 1
            else:
                self.first = place.position + 1
            return
        moment = place.occurred_us or 0
        self.after = place
        # The edge's own moment stays in reach unless all of it was read.
        if newest:
            self.times = Times(self.times.start, moment + (place.position >= 0))
        else:
            self.times = Times(moment + (place.position == BEYOND), self.times.end)

    def page(self, searched_to: int) -> Found:
        """Return what was found, and where to go on."""
        skip, limit = self.search.offset, self.search.limit
        shown = self.matches[skip : skip + limit]
        after = None
        if len(self.matches) > skip + limit:
            match, occurred_us = shown[-1]
            after = Place(match.record.position, occurred_us if self.search.by_occurrence else None)
        elif not self.finished:
            after = self._edge()
        return Found([match for match, _ in shown], after, searched_to)

    def _edge(self) -> Place:
        if self.times is not None:
            assert self.after is not None
            return self.after
        return Place(self.last + 1 if self.search.newest_first else self.first - 1)


def _width(times: Times) -> int:
    return (times.end or 0) - (times.start or 0)
