"""Collecting what a verification finds: counted exactly, kept up to a limit, named by position where possible.

Owns the list during one run; a finding holds kinds, positions and names of fields, never a value of a record.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from atp.engine.database import StorageUnavailable
from atp.engine.sqlite import DatabaseDamaged
from atp.integrity.model import FINDINGS_MAX, Finding
from atp.kernel.ids import encode_ulid
from atp.streams.model import STREAM_LENGTH_MAX

_POSTGRES_DAMAGE = " XX00"
"""SQLSTATEs of class XX: internal error, data corrupted, index corrupted."""


@dataclass(slots=True)
class Findings:
    """What was found so far. Picklable: a worker process returns its own."""

    count: int = 0
    kept: list[Finding] = field(default_factory=list)

    def add(
        self,
        kind: str,
        message: str,
        *,
        position: int | None = None,
        id: bytes | str | None = None,
        stream: str | None = None,
    ) -> None:
        """Note one thing that is wrong; `message` names no value of any event."""
        self.count += 1
        if len(self.kept) >= FINDINGS_MAX:
            return
        text = encode_ulid(id) if isinstance(id, bytes) and len(id) == 16 else id
        self.kept.append(
            Finding(
                kind=kind,
                message=message,
                position=position if isinstance(position, int) and 0 <= position < 1 << 53 else None,
                id=text if isinstance(text, str) else None,
                stream=stream if stream and len(stream) <= STREAM_LENGTH_MAX else None,
            )
        )

    def merge(self, other: Findings) -> None:
        """Add what another part found."""
        self.count += other.count
        self.kept += other.kept[: FINDINGS_MAX - len(self.kept)]


def damage(error: Exception) -> str | None:
    """Return what a failed read says of damaged storage, None where it says nothing: a lost server, a bug."""
    if isinstance(error, DatabaseDamaged):
        return str(error)
    if isinstance(error, StorageUnavailable) and _POSTGRES_DAMAGE in str(error):
        return str(error)
    return None
