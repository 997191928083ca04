"""Where an IP address is, from a local MaxMind-format file; no network, nothing remembered.

An address goes in, the few fields of a location that a record keeps come out; what the file does not know is None.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import maxminddb


class GeoDatabaseUnusable(ValueError):
    """ATP_GEO_DATABASE names a file that is not a readable .mmdb database."""


def locator(path: Path) -> Callable[[str], Mapping[str, Any] | None]:
    """Return a look-up from address to location; raises GeoDatabaseUnusable.

    A location has `country` (ISO 3166-1) and, where the file knows them, `region` and `city`. Coordinates are
    left out: they are personal data that nobody asked for.
    """
    try:
        reader = maxminddb.open_database(path)
    except (OSError, maxminddb.InvalidDatabaseError) as error:
        raise GeoDatabaseUnusable(f"ATP_GEO_DATABASE: {path.name} is not a readable .mmdb file") from error

    def locate(address: str) -> Mapping[str, Any] | None:
        try:
            found = reader.get(ipaddress.ip_address(address))
        except (ValueError, maxminddb.InvalidDatabaseError):
            return None
        return _location(found) if isinstance(found, dict) else None

    return locate


def _location(found: Mapping[str, Any]) -> Mapping[str, Any] | None:
    location: dict[str, str] = {}
    country = found.get("country", {}).get("iso_code")
    if country:
        location["country"] = country
    subdivisions = found.get("subdivisions") or [{}]
    if region := subdivisions[0].get("iso_code"):
        location["region"] = region
    if city := found.get("city", {}).get("names", {}).get("en"):
        location["city"] = city
    return location or None
