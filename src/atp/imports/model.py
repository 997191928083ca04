"""The types of an import: a line of a source, why one is refused, what a sink answers, and the counts.

`Sink` has two implementations, HTTP and in-process (`commands/sinks.py`); both run the same tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple, Protocol

import msgspec

LINE_BYTES_MAX = 1 << 20
"""A longer line or record is refused unread. An event is at most 64 KiB; white space and escapes may add."""

EVENT_BYTES_MAX = 65_536
"""The API's limit for one event as sent; checked here too, so that the reason names the line."""

BATCH_EVENTS_MAX = 1_000
BATCH_BYTES_MAX = 4 << 20
"""A batch stays below the API's 1,000 events and 5 MiB, and two of them are held at a time."""


class SourceUnreadable(Exception):
    """The source cannot be read, or not further: the message says why and what to do.

    Lines handed out before it are good, and what was imported of them stays.
    """


class SinkUnavailable(Exception):
    """Nothing can be delivered: the message says why. Running the import again continues where it stopped."""


class Unmappable(Exception):
    """One line cannot become an event: `code` for machines, the message for the reject file."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Line(NamedTuple):
    """One line, array element or CSV row: `number` from 1 and `offset` in bytes, both within its part.

    A part is the file itself or a member of an archive. `fault` tells why it was not read whole. `ended` is
    False for a last line without its newline: a log that is still being written may yet add to it.
    """

    part: str
    number: int
    offset: int
    raw: bytes
    fault: Unmappable | None = None
    ended: bool = True


class Answer(NamedTuple):
    """A sink's verdict on one event; `duplicate` means that the same event was there already."""

    status: Literal["accepted", "duplicate", "rejected"]
    code: str = ""
    message: str = ""


class Sink(Protocol):
    """Takes events, in order, and says for each what became of it.

    An answer of `accepted` or `duplicate` is durable. A sink retries by itself what may pass, and may
    therefore deliver an event twice: the events' idempotency keys make that harmless.
    """

    def send(self, batch: Sequence[bytes]) -> Sequence[Answer]:
        """Deliver serialized events; one answer each, in order. Raises SinkUnavailable when it gives up."""
        ...

    def close(self) -> None:
        """Stop waiting for retries and let go of connections; may be called from another thread."""
        ...


class Reject(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """A line of the reject file. `raw` or, where the line is not UTF-8, `rawBase64` holds what was read."""

    part: str
    line: int
    offset: int
    code: str
    reason: str
    raw: str | None = None
    raw_base64: str | None = None
    cut: bool = False
    """True when only the beginning was kept: the source still holds all of it at `offset`."""


class Counts(msgspec.Struct):
    """How many lines were read and what became of each; blank lines are not counted."""

    lines: int = 0
    accepted: int = 0
    duplicates: int = 0
    rejected: int = 0


class Checkpoint(msgspec.Struct):
    """What of a source is durably done: its first `counts.lines` lines.

    `head` (digest of the first `head_bytes` bytes) recognises the source: a file that merely grew goes on,
    another file under the same name starts afresh.
    """

    source: str
    format: str
    head: str
    head_bytes: int
    counts: Counts
    rejects_bytes: int = 0
    """Length of the reject file; whatever a crash left behind it is cut off and written again."""
