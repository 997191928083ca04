"""Identifiers: ULIDs (the ulid/spec layout: 48 bits of milliseconds, 80 bits of randomness), monotonic here.

Sixteen bytes inside, 26 characters of Crockford's base 32 outside.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NewType

from atp.kernel.clock import Clock, now_us
from atp.kernel.randomness import random_bytes

TenantId = NewType("TenantId", str)
RecordId = NewType("RecordId", bytes)

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = [a + b for a in _ALPHABET for b in _ALPHABET]
_VALUES = {character: index for index, character in enumerate(_ALPHABET)}
_ULID = re.compile(r"[0-7][0-9A-HJKMNP-TV-Z]{25}", re.ASCII)
_TENANT = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_RANDOM_BITS = 80


def encode_ulid(raw: bytes) -> str:
    """Return the 26 characters of a 16-byte ULID."""
    number = int.from_bytes(raw, "big")
    pairs = _PAIRS
    return "".join([pairs[(number >> shift) & 1023] for shift in range(120, -10, -10)])


def decode_ulid(text: str) -> bytes:
    """Return the 16 bytes of a ULID in its canonical upper-case form; ValueError otherwise."""
    if not _ULID.fullmatch(text):
        raise ValueError("not a ULID")
    number = 0
    for character in text:
        number = number << 5 | _VALUES[character]
    return number.to_bytes(16, "big")


def tenant_id(text: str) -> TenantId:
    """Return `text` as a tenant id (a DNS label in lower case); ValueError otherwise."""
    if not _TENANT.fullmatch(text):
        raise ValueError("not a tenant id")
    return TenantId(text)


class UlidFactory:
    """Makes strictly increasing ULIDs even when the clock stands still or jumps back.

    Owned by one thread: the writer that holds the shard's lock.
    """

    def __init__(self, clock: Clock = now_us, random: Callable[[int], bytes] = random_bytes) -> None:
        self._clock = clock
        self._random = random
        self._last = 0

    def next_many(self, count: int) -> list[bytes]:
        """Return `count` 16-byte ULIDs, each greater than every one before it."""
        first = (self._clock() // 1000) << _RANDOM_BITS | int.from_bytes(self._random(9), "big")
        if first <= self._last:
            first = self._last + 1
        self._last = first + count - 1
        return [(first + step).to_bytes(16, "big") for step in range(count)]

    def after(self, raw: bytes) -> None:
        """Continue behind `raw`, the greatest identifier already stored."""
        self._last = max(self._last, int.from_bytes(raw, "big"))


def encode_ulids(raws: list[bytes]) -> list[str]:
    """Return the texts of ULIDs made together: their first 110 bits rarely differ, so their text is reused."""
    texts: list[str] = []
    high, prefix = -1, ""
    for raw in raws:
        number = int.from_bytes(raw, "big")
        if number >> 20 != high:
            high = number >> 20
            prefix = encode_ulid(raw)[:22]
        texts.append(prefix + _PAIRS[number >> 10 & 1023] + _PAIRS[number & 1023])
    return texts
