"""Deprecation (RFC 9745) and Sunset (RFC 8594) headers, from the contract (API-14).

Times come from the contract as RFC 3339 and go out in the two forms that the two RFCs ask for.
"""

from __future__ import annotations

from functools import lru_cache
from wsgiref.handlers import format_date_time

from atp.kernel.clock import SECOND_US, parse_rfc3339
from atp.specs import Operation


def headers(operation: Operation) -> list[tuple[str, str]]:
    """Return the headers that tell of an operation's deprecation and of its end."""
    return list(_headers(operation.deprecated_since, operation.sunset))


@lru_cache(maxsize=256)
def _headers(since: str | None, sunset: str | None) -> tuple[tuple[str, str], ...]:
    told: list[tuple[str, str]] = []
    if since is not None:
        told.append(("deprecation", f"@{parse_rfc3339(since) // SECOND_US}"))
    if sunset is not None:
        told.append(("sunset", format_date_time(parse_rfc3339(sunset) // SECOND_US)))
    return tuple(told)
