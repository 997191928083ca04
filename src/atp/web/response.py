"""What a handler answers: status, body, and what it knows about caching.

The gateway adds the rest: correlation, limits, security headers, compression, and 304 where the tag matches.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import msgspec

from atp.kernel.hashing import b64u, sha256

JSON = "application/json"
NO_STORE = "no-store"
"""The default: answers of an audit trail belong in no cache."""
PRIVATE_REVALIDATE = "private, no-cache"
"""May be kept by the caller, who asks with If-None-Match before using it."""
IMMUTABLE = "public, max-age=31536000, immutable"
"""For what never changes and holds nothing personal, such as a full tile."""
_ETAG_BYTES = 16

_encode = msgspec.json.Encoder().encode


class Response:
    """A response; `body` is bytes, or an asynchronous iterator of chunks for streams and downloads.

    `etag` is the opaque tag without quotes. Bytes of a text-like media type are compressed as accepted, unless
    `compress` is False; streams never are. See `live_stream` for those without end.
    """

    __slots__ = ("body", "cache_control", "compress", "etag", "headers", "live", "media_type", "status")

    def __init__(
        self,
        status: int = 200,
        body: bytes | AsyncIterator[bytes] = b"",
        *,
        media_type: str | None = None,
        headers: tuple[tuple[str, str], ...] = (),
        etag: str | None = None,
        cache_control: str = NO_STORE,
        compress: bool = True,
    ) -> None:
        self.status = status
        self.body = body
        self.media_type = media_type
        self.headers = list(headers)
        self.etag = etag
        self.cache_control = cache_control
        self.compress = compress
        self.live = False


def live_stream(body: AsyncIterator[bytes], *, media_type: str) -> Response:
    """Answer a stream without end, such as server-sent events; the gateway closes it when the server stops."""
    response = Response(200, body, media_type=media_type)
    response.live = True
    return response


def json_response(
    value: Any,
    status: int = 200,
    *,
    media_type: str = JSON,
    headers: tuple[tuple[str, str], ...] = (),
    etag: str | None = None,
    cache_control: str = NO_STORE,
) -> Response:
    """Answer a JSON value."""
    return Response(
        status, _encode(value), media_type=media_type, headers=headers, etag=etag, cache_control=cache_control
    )


def revalidated(value: Any) -> Response:
    """Answer a JSON value that the caller may keep, with an ETag made from its bytes."""
    raw = _encode(value)
    return Response(200, raw, media_type=JSON, etag=tag_of(raw), cache_control=PRIVATE_REVALIDATE)


def no_content() -> Response:
    """Answer 204."""
    return Response(204)


def tag_of(raw: bytes) -> str:
    """Return an entity tag for exactly these bytes."""
    return b64u(sha256(raw)[:_ETAG_BYTES])
