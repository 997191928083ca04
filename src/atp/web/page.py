"""Pages of a list: authenticated cursors, links, and the selection of fields (API-11).

A cursor says after which place the next page begins. It is bound to the tenant, the filters and the order
it was made for, and nobody but this installation can make one, so a store may trust the place inside.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

import msgspec

from atp.kernel.canonical import encode
from atp.kernel.errors import Detail, Problem
from atp.kernel.hashing import b64u, hmac_sha256, sha256, unb64u

LIMIT_DEFAULT = 50
"""Items of a page when the caller does not say."""
LIMIT_MAX = 1000
"""Items of a page at most; bounds the memory of one answer."""
FIELDS_MAX = 64
"""Fields that one `fields` parameter may name."""
_MAC_BYTES = 16
_BINDING_BYTES = 8
_VERSION = b"\x01"
_PAGING = frozenset({"cursor", "limit", "offset", "fields"})

Place = Sequence[str | int | None]
"""The sort key of the last item shown, e.g. `[occurred_us, position]`."""


def fingerprint(parameters: Mapping[str, Any]) -> bytes:
    """Return a digest of the query without its paging members: what a cursor must be used with again."""
    filters = {name: value for name, value in parameters.items() if name not in _PAGING and value is not None}
    return sha256(encode(filters))


class Cursors:
    """Makes and reads cursors; `secret` is shared by all processes of an installation."""

    def __init__(self, secret: bytes) -> None:
        self._secret = hmac_sha256(secret, b"atp.page.cursor.v1")

    def write(self, place: Place, *, tenant: str, query: bytes, order: str) -> str:
        """Return the cursor that continues behind `place`."""
        content = _VERSION + _binding(tenant, query, order) + msgspec.msgpack.encode(list(place))
        return b64u(content + self._mac(content))

    def read(self, cursor: str, *, tenant: str, query: bytes, order: str) -> list[Any]:
        """Return the place inside; CURSOR_INVALID for what we did not make, CURSOR_MISMATCH for another query."""
        try:
            raw = unb64u(cursor)
        except ValueError:
            raise Problem("CURSOR_INVALID") from None
        content, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
        if not content.startswith(_VERSION) or not hmac.compare_digest(mac, self._mac(content)):
            raise Problem("CURSOR_INVALID")
        if content[1 : 1 + _BINDING_BYTES] != _binding(tenant, query, order):
            raise Problem("CURSOR_MISMATCH")
        place: list[Any] = msgspec.msgpack.decode(content[1 + _BINDING_BYTES :], type=list)
        return place

    def _mac(self, content: bytes) -> bytes:
        return hmac_sha256(self._secret, content)[:_MAC_BYTES]


def links(
    path: str, parameters: Mapping[str, Any], *, following: str | None, previous: str | None = None
) -> dict[str, Any]:
    """Return the `links` member: this page, and the next and previous ones by cursor, null where there is none."""
    kept = {name: value for name, value in parameters.items() if value is not None}
    without = {name: value for name, value in kept.items() if name not in ("cursor", "offset")}
    return {
        "self": _address(path, kept),
        "next": None if following is None else _address(path, without | {"cursor": following}),
        "prev": None if previous is None else _address(path, without | {"cursor": previous}),
    }


def offset_links(
    path: str, parameters: Mapping[str, Any], *, offset: int, limit: int, more: bool
) -> dict[str, Any]:
    """Return the `links` member of a page by offset."""
    kept = {name: value for name, value in parameters.items() if value is not None}
    return {
        "self": _address(path, kept),
        "next": _address(path, kept | {"offset": offset + limit}) if more else None,
        "prev": _address(path, kept | {"offset": max(offset - limit, 0)}) if offset else None,
    }


def chosen_fields(text: str | Sequence[str] | None) -> tuple[tuple[str, ...], ...] | None:
    """Return the paths of a `fields` parameter (`id,actor.id`), or None for everything."""
    if text is None:
        return None
    names = text.split(",") if isinstance(text, str) else list(text)
    paths = tuple(tuple(name.strip().split(".")) for name in names)
    if len(paths) > FIELDS_MAX or not all(part for path in paths for part in path):
        raise Problem(
            "VALIDATION_FAILED",
            details=[Detail("fields", f"must be 1 to {FIELDS_MAX} dotted names separated by commas")],
        )
    return paths


def select(item: Mapping[str, Any], paths: tuple[tuple[str, ...], ...] | None) -> Mapping[str, Any]:
    """Return only the chosen members of `item`; what it does not have is left out, not an error."""
    if paths is None:
        return item
    chosen: dict[str, Any] = {}
    for path in paths:
        _copy(item, chosen, path)
    return chosen


def _copy(source: Mapping[str, Any], target: dict[str, Any], path: tuple[str, ...]) -> None:
    name, rest = path[0], path[1:]
    if name not in source:
        return
    value = source[name]
    if not rest:
        target[name] = value
    elif isinstance(value, Mapping):
        # A whole member that was chosen already stays whole.
        inside = target.setdefault(name, {})
        if inside is not value:
            _copy(value, inside, rest)


def _address(path: str, parameters: Mapping[str, Any]) -> str:
    return f"{path}?{urlencode(sorted(parameters.items()), doseq=True)}" if parameters else path


def _binding(tenant: str, query: bytes, order: str) -> bytes:
    return sha256(b"\0".join([tenant.encode(), query, order.encode()]))[:_BINDING_BYTES]
