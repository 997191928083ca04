"""The fact this context states: sealed values were shown to somebody (SEC-04).

Its payload names the records and counts the values; it never holds one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

SEALED_VALUES_ACCESSED: Final = "sealed_values.accessed"
ACCESS_STREAM: Final = "sealed_values/access"
"""One stream of a tenant holds all accesses in order, so that they can be read without a search."""


def access_payload(
    *, operation: str, records: Sequence[str], values: int | None, clearance: str, after: int | None = None
) -> dict[str, Any]:
    """Return the payload. A live tail is open-ended: it names where it began, and no count."""
    payload: dict[str, Any] = {"operation": operation, "clearance": clearance, "records": list(records)}
    if values is not None:
        payload["value_count"] = values
    if after is not None:
        payload["after_position"] = after
    return payload
