"""The contract's bounds (contracts/schemas/types.v1.json), and how a foreign value is brought inside them.

Whatever is shortened or cleaned here stands untouched in `payload.original`.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from hashlib import sha256

from atp.kernel.clock import format_us, parse_rfc3339

IDENTIFIER_CHARS_MAX = 1024
LABEL_CHARS_MAX = 128
ACTION_CHARS_MAX = 256
NAME_CHARS_MAX = 512
PATH_CHARS_MAX = 4096
KEY_CHARS_MAX = 255

_NOTHING = frozenset(("", "-"))
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_NOT_PRINTABLE = re.compile(r"[^ -~]")


def said(value: object) -> str | None:
    """Return a text that says something: not empty and not the `-` by which Windows says nothing."""
    if type(value) is str:
        return None if value in _NOTHING else value
    return str(value) if type(value) is int else None


def bounded(value: str, limit: int) -> str:
    """Return `value` without control characters and at most `limit` long.

    What is cut gets the digest of the whole, so that two long identifiers never become one.
    """
    if not value.isprintable() and _CONTROL.search(value):
        value = _CONTROL.sub("\N{REPLACEMENT CHARACTER}", value)
    if len(value) <= limit:
        return value
    return value[: limit - 34] + "…~" + sha256(value.encode()).hexdigest()[:32]


def identifier(value: str) -> str:
    """Return `value` as an identifier of the contract."""
    return bounded(value, IDENTIFIER_CHARS_MAX)


def label(value: str) -> str:
    """Return `value` as a label of the contract: short and without slashes."""
    return bounded(value.replace("/", "-"), LABEL_CHARS_MAX)


def idempotency_key(value: str) -> str:
    """Return `value`, or its digest behind its beginning where it is not a printable ASCII text of 255."""
    if len(value) <= KEY_CHARS_MAX and value.isascii() and value.isprintable() and value == value.strip():
        return value
    plain = _NOT_PRINTABLE.sub("?", value).strip()[: KEY_CHARS_MAX - 33]
    return f"{plain}~{sha256(value.encode()).hexdigest()[:32]}"


@lru_cache(maxsize=4096)
def address(value: str) -> str | None:
    """Return `value` if it is an IP address."""
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return None
    return value


def utc_time(value: str) -> str | None:
    """Return an RFC 3339 time with an offset in our own form, or None where it is not one between the years 1000 and 2999."""
    try:
        text = format_us(parse_rfc3339(value))
    except (ValueError, OverflowError):
        return None
    return text if text[0] in "12" else None
