"""What ingestion takes from its callers and what it answers per event.

`Origin` is what the edge knows of the caller, `Batch` the events as bytes, `Draft` one event on its way to a
record, before it is sealed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from atp.classification.model import Classification
from atp.kernel.errors import Problem
from atp.kernel.ids import TenantId

EVENT_BYTES_MAX: Final = 64 * 1024
"""Size of one event as sent."""
BATCH_EVENTS_MAX: Final = 1_000
BATCH_BYTES_MAX: Final = 5 * 1024 * 1024
FUTURE_SKEW_US: Final = 5 * 60 * 1_000_000
"""How far ahead of the server's clock a producer's may be."""

Locate = Callable[[str], Mapping[str, Any] | None]
"""Returns the location of an IP address, or None; a local look-up, no network."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose events these are and what the request says of them all; `trace_id` only when the caller sent one."""

    tenant: TenantId
    region: str = ""
    trace_id: str | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """Events as sent, one JSON text each. `received_us` is set for a batch, which is itself recorded (ING-06).

    `idempotency_key` is the request header's: the key of a single event, and with `:index` that of an event
    of a batch that has none of its own.
    """

    sent: Sequence[bytes]
    atomic: bool = False
    idempotency_key: str | None = None
    received_us: int | None = None

    def key(self, index: int) -> str | None:
        """Return the key that the request gives the event at `index`."""
        if self.idempotency_key is None or self.received_us is None:
            return self.idempotency_key
        return f"{self.idempotency_key}:{index}"


class Draft:
    """An event on its way through the pipeline; each stage fills in what the next ones need.

    `problem` is why the event is refused: the stages after that pass it by.
    """

    __slots__ = (
        "added_keys",
        "classification",
        "content",
        "disclosures",
        "event",
        "idempotency_key",
        "plain",
        "problem",
        "protected",
        "raw",
        "stream",
        "subject",
        "when",
    )

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.problem: Problem | None = None
        self.event: dict[str, Any]
        self.when: dict[str, str]
        self.idempotency_key: str | None
        self.added_keys: int
        self.classification: Classification
        self.plain: bool
        self.protected: dict[str, Any]
        self.disclosures: list[bytes] = []
        self.subject: bytes | None = None
        self.stream: str
        self.content: dict[str, Any]
