"""What a search is: one tree, whichever way it was written, and the page it asks for.

Leaves compare one field or look for words. Bounds keep every search finite before anything is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

SEARCH: Final = "search-1"
"""The projection's name; a new layout takes a new one and is built from the beginning."""
DEPTH_MAX: Final = 8
"""Levels of a search: and, or, not and parentheses inside each other."""
LEAVES_MAX: Final = 200
"""Comparisons and words of one search."""
ALTERNATIVES_MAX: Final = 100
"""Values of one `in`."""
OFFSET_MAX: Final = 10_000
"""How many may be skipped; whoever wants to go deeper takes a cursor."""

Comparison = Literal["eq", "ne", "in", "gt", "gte", "lt", "lte", "prefix", "contains", "exists"]
Value = str | int | float | bool
Operand = tuple[Value, ...]
"""What one written value may mean: `12` in the search language is the text and the number."""
Order = Literal["recordedAt", "-recordedAt", "occurredAt", "-occurredAt"]


@dataclass(frozen=True, slots=True)
class Compare:
    """One field compared. `path` is its full path; any of `operands` may hold; `exists` has one boolean."""

    path: tuple[str, ...]
    comparison: Comparison
    operands: tuple[Operand, ...]


@dataclass(frozen=True, slots=True)
class Words:
    """Words side by side in the record's text, already folded; with `prefix` the last one may go on."""

    words: tuple[str, ...]
    prefix: bool = False


@dataclass(frozen=True, slots=True)
class All:
    """Every part holds; with no parts, everything does."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Some:
    """At least one part holds; with no parts, nothing does."""

    parts: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """The part does not hold."""

    part: Node


Node = Compare | Words | All | Some | Not
EVERYTHING: Final = All(())


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page ended: the last position seen, and, in order of occurrence, its time in microseconds."""

    position: int
    occurred_us: int | None = None


@dataclass(frozen=True, slots=True)
class Times:
    """A half-open range in microseconds; None is open."""

    start: int | None = None
    end: int | None = None


ANY_TIME: Final = Times()


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """One page of one search. `recorded` is a range of the time of recording, apart because it orders the log."""

    node: Node = EVERYTHING
    recorded: Times = ANY_TIME
    order: Order = "-recordedAt"
    limit: int = 50
    offset: int = 0
    after: Place | None = None

    @property
    def newest_first(self) -> bool:
        """Whether the order is descending."""
        return self.order.startswith("-")

    @property
    def by_occurrence(self) -> bool:
        """Whether the order is that of happening, not of recording."""
        return self.order.endswith("occurredAt")


@dataclass(frozen=True, slots=True)
class Phrase:
    """Words side by side, the last one perhaps only begun."""

    words: tuple[str, ...]
    prefix: bool = False


@dataclass(frozen=True, slots=True)
class Both:
    """All parts are needed."""

    parts: tuple[WordNeed, ...]


@dataclass(frozen=True, slots=True)
class Either:
    """One of the parts is needed."""

    parts: tuple[WordNeed, ...]


WordNeed = Phrase | Both | Either


Path = Literal["log", "shape", "actor", "resource", "stream_no", "words", "occurred_us"]
"""The index a window is read through; `log` is the table itself, in order of position."""
Hit = tuple[int, int]
"""A row found: position and time of occurrence in microseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Conditions on a row, all of which must hold; None is no condition."""

    tenant_no: int
    shape: frozenset[int] | None = None
    actor: frozenset[int] | None = None
    resource: frozenset[int] | None = None
    stream_no: frozenset[int] | None = None
    occurred: Times = ANY_TIME
    words: WordNeed | None = None

    @property
    def empty(self) -> bool:
        """Whether nothing can be found."""
        return any(
            values is not None and not values
            for values in (self.shape, self.actor, self.resource, self.stream_no)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A part of the order: positions [first, last], and for order by occurrence also its times [start, end].

    `after` is exclusive and refines the edge where the last page ended within one moment.
    """

    first: int
    last: int
    times: Times | None = None
    after: Place | None = None
    newest_first: bool = True
