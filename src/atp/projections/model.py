"""What a projection is: tables derived from the feed, which can be deleted and built again.

A projection never decides anything; whoever needs to know the truth reads the record.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from atp.engine.database import Connection, Dialect
from atp.streams.model import StoredRecord


class Projection(Protocol):
    """Turns records into rows of its own.

    Durability: what `apply` writes is committed together with the checkpoint, so each record is applied once.
    Order: records arrive in the order of the feed. Retry: a record that either method refuses is parked.
    """

    @property
    def name(self) -> str:
        """Under which the checkpoint is kept; a new name starts from the beginning."""
        ...

    def schema(self, dialect: Dialect) -> Sequence[str]:
        """Return the statements that create the tables which are not there yet."""
        ...

    def prepare(self, record: StoredRecord) -> Any:
        """Return what `apply` needs of a record; pure, and done while the database is busy with others."""
        ...

    def apply(self, connection: Connection, prepared: Sequence[Any]) -> None:
        """Write the rows of several records, inside the caller's transaction."""
        ...


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
