"""What the loop of a projection tells: records it could not take, how far it is behind, who was faster.

A projection's tables are derived from the feed and never decide anything: they can be built again.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Parked:
    """A record that the projection could not take. `reason` is a type of error and holds nothing of the record."""

    sequence: int
    tenant_no: int
    position: int
    reason: str


@dataclass(frozen=True, slots=True)
class Lag:
    """How far a projection is behind the log: records, and the age of the oldest of them in seconds."""

    records: int
    seconds: float


class Overtaken(Exception):
    """Another process has moved the checkpoint; this one stands by."""
