"""Time: integer microseconds since the Unix epoch, UTC, and their RFC 3339 form on the wire.

The only module that reads the machine's clocks; everything else takes a `Clock`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache

Clock = Callable[[], int]
"""Returns microseconds since the epoch. It may jump; whoever needs order must keep it (see `steady`)."""

SECOND_US = 1_000_000
_SECOND = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(?:[Zz]|([+-])(\d\d):(\d\d))", re.ASCII
)


def now_us() -> int:
    """Return the wall clock in microseconds since the epoch."""
    return time.time_ns() // 1000


def monotonic() -> float:
    """Return a clock in seconds that never goes back, for durations only."""
    return time.monotonic()


@lru_cache(maxsize=4096)
def _second(seconds: int) -> str:
    return (_EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S").zfill(19)


def format_us(us: int) -> str:
    """Return RFC 3339 in UTC with exactly six fractional digits and Z."""
    seconds, micros = divmod(us, SECOND_US)
    return f"{_second(seconds)}.{micros:06d}Z"


@lru_cache(maxsize=4096)
def _parse_second(day: str, clock: str) -> int:
    if not _SECOND.fullmatch(f"{day}T{clock}"):
        raise ValueError("not a date and a time of day")
    leap = clock.endswith(":60")
    moment = datetime.strptime(
        f"{day}T{clock[:6]}59+0000" if leap else f"{day}T{clock}+0000", "%Y-%m-%dT%H:%M:%S%z"
    )
    return (moment - _EPOCH) // timedelta(seconds=1) + leap


def parse_rfc3339(text: str) -> int:
    """Return the microseconds of an RFC 3339 time with an offset; digits past the sixth are cut off.

    Raises ValueError for anything else, for a time without an offset, and for years before 1.
    """
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError("not an RFC 3339 time with an offset")
    day, clock, fraction, sign, hours, minutes = match.groups()
    us = _parse_second(day, clock) * SECOND_US
    if fraction:
        us += int(fraction[:6].ljust(6, "0"))
    if sign:
        if int(hours) > 23 or int(minutes) > 59:
            raise ValueError("not an offset")
        offset = (int(hours) * 60 + int(minutes)) * 60 * SECOND_US
        us += -offset if sign == "+" else offset
    return us


def normal_time(text: str) -> str:
    """Return an RFC 3339 time as `format_us` writes it; ValueError for anything else.

    Times in that form compare as text. A text that has it already is only checked.
    """
    if len(text) == 27 and text[26] == "Z" and text[19] == "." and text[10] == "T" and text[17:19] != "60":
        fraction = text[20:26]
        if fraction.isdecimal() and fraction.isascii():
            _parse_second(text[:10], text[11:19])
            return text
    return format_us(parse_rfc3339(text))
