"""Choosing a representation by the Accept header (RFC 9110 section 12.5.1).

The most specific range that matches an offer gives its weight; among equals the earlier offer wins.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from atp.kernel.errors import Problem

_WEIGHT = re.compile(r"\s*q\s*=\s*([01](?:\.\d{0,3})?)\s*", re.IGNORECASE)


def chosen(accept: str | None, offers: Sequence[str]) -> str:
    """Return the offer the caller likes best; raises NOT_ACCEPTABLE naming the offers."""
    if accept is None or not accept.strip():
        return offers[0]
    ranges = [_range(part) for part in accept.split(",") if part.strip()]
    weights = [_weight(offer, ranges) for offer in offers]
    best = max(weights)
    if best <= 0:
        raise Problem("NOT_ACCEPTABLE", f"This is available as {', '.join(offers)}.")
    return offers[weights.index(best)]


def _range(part: str) -> tuple[str, float]:
    media, *parameters = part.split(";")
    weight = 1.0
    for parameter in parameters:
        if match := _WEIGHT.fullmatch(parameter):
            weight = float(match.group(1))
    return media.strip().lower(), weight


def _weight(offer: str, ranges: Sequence[tuple[str, float]]) -> float:
    for wanted in (offer, offer.split("/", maxsplit=1)[0] + "/*", "*/*"):
        for media, weight in ranges:
            if media == wanted:
                return weight
    return 0.0
