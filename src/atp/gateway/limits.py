"""Rate limits per tenant and limit name, as token buckets (API-12).

A bucket holds one minute's worth and is refilled evenly, so a caller may spend its minute at once but never
more than twice the limit in any minute. State: one bucket per tenant and limit, owned by the event loop's
thread; each process counts for itself, so a cluster of n processes admits up to n times the limit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from atp.kernel.clock import monotonic
from atp.kernel.errors import Problem

BUCKETS_MAX = 100_000
"""Buckets remembered; when there are more, the one longest unused is dropped, full by then in all likelihood."""
MINUTE_SECONDS = 60.0


@dataclass(slots=True)
class Allowance:
    """What a caller is told about its limit after a request was counted."""

    limit: int
    remaining: int
    reset_seconds: int

    def headers(self) -> list[tuple[str, str]]:
        """Return the X-RateLimit headers."""
        return [
            ("x-ratelimit-limit", str(self.limit)),
            ("x-ratelimit-remaining", str(self.remaining)),
            ("x-ratelimit-reset", str(self.reset_seconds)),
        ]


@dataclass(slots=True)
class _Bucket:
    tokens: float
    at: float


class RateLimits:
    """Counts requests; `key` names whose they are (a tenant, or a client of a public operation)."""

    def __init__(self, *, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._buckets: dict[tuple[str, str], _Bucket] = {}

    def take(self, key: str, name: str, *, per_minute: int) -> tuple[Allowance, float | None]:
        """Count one request; the second value is None, or the seconds to wait when there was none left."""
        now = self._clock()
        bucket = self._buckets.pop((key, name), None)
        if bucket is None:
            bucket = _Bucket(float(per_minute), now)
            if len(self._buckets) >= BUCKETS_MAX:
                del self._buckets[next(iter(self._buckets))]
        # Taken out and put back, the dictionary stays in order of last use.
        self._buckets[key, name] = bucket
        per_second = per_minute / MINUTE_SECONDS
        bucket.tokens = min(float(per_minute), bucket.tokens + (now - bucket.at) * per_second)
        bucket.at = now
        wait = None
        if bucket.tokens >= 1.0:
            bucket.tokens -= 1.0
        else:
            wait = (1.0 - bucket.tokens) / per_second
        reset = math.ceil((per_minute - bucket.tokens) / per_second)
        return Allowance(per_minute, int(bucket.tokens), reset), wait


def refusal(wait_seconds: float) -> Problem:
    """Return the Problem of a request over the limit."""
    return Problem("RATE_LIMITED", retry_after=wait_seconds)
