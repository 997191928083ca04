"""The verdict on an event, as it is written into the record's content.

Pure data: how long a record is kept, which outcome is assumed, and which rule of which version said so.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Verdict:
    """Which policy version and rule judged, how many days the record is kept, the outcome where none was sent."""

    version: str
    rule: str
    retention_days: int
    outcome: str
