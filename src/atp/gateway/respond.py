"""Sending a response: conditional requests, compression, security headers, streams that end with the server.

Sources: RFC 9110 sections 8.8.3 and 13.1.2 (entity tags, compared weakly), 12.5.3 (Accept-Encoding).
"""

from __future__ import annotations

import asyncio
import re
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import Any, Final, NamedTuple

import brotli  # type: ignore[import-untyped]

from atp.web.response import Response

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

COMPRESS_BYTES_MIN: Final = 1024
"""Below this a compressed body is hardly smaller and costs time on both sides."""
INLINE_BYTES_MAX: Final = 64 * 1024
"""Compressed on the event loop up to this (under 1 ms); larger bodies go to a thread, so nobody waits."""
GZIP_LEVEL: Final = 1
BROTLI_QUALITY: Final = 3
"""The fast ends of both scales: JSON shrinks to a seventh here already, and more costs ten times as much."""

_COMPRESSIBLE = (
    "text/",
    "application/json",
    "application/problem+json",
    "application/yaml",
    "application/xml",
)
_GZIP_WINDOW = 31
_REFUSED = re.compile(r"q\s*=\s*0(\.0*)?")
SECURITY_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
)
API_POLICY: Final = (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'")
"""For answers that are no pages. A page states its own Content-Security-Policy."""
HSTS: Final = (b"strict-transport-security", b"max-age=31536000")


class Outcome:
    """What was sent: for the log line and the metrics."""

    __slots__ = ("sent_bytes", "started", "status")

    def __init__(self) -> None:
        self.status = 0
        self.sent_bytes = 0
        self.started = False


class Asked(NamedTuple):
    """What of the request shapes its answer; `extra` are headers that every answer to it carries."""

    method: str
    headers: Mapping[str, str]
    extra: Iterable[tuple[str, str]]
    secure: bool


async def respond(
    response: Response,
    asked: Asked,
    *,
    channel: tuple[Receive, Send],
    stopping: asyncio.Event,
    outcome: Outcome,
) -> None:
    """Send `response`, filling `outcome` as it goes, so that a failure half-way is still told truly."""
    receive, send = channel
    headers = [*response.headers, *asked.extra]
    if asked.method in ("GET", "HEAD") and _unchanged(response, asked.headers):
        response = Response(304, etag=response.etag, cache_control=response.cache_control)
    body = response.body
    if not isinstance(body, bytes):
        await _start(
            send, response.status, _raw_headers(response, headers, None, secure=asked.secure), outcome
        )
        if asked.method != "HEAD":
            await _stream(body, receive, send, stopping if response.live else None, outcome)
        await send({"type": "http.response.body", "body": b""})
        return
    coding = _coding(response, len(body), asked.headers)
    body = await _compressed(body, coding)
    raw = _raw_headers(response, headers, coding, secure=asked.secure)
    bodiless = response.status in (204, 304)
    if not bodiless:
        raw.append((b"content-length", b"%d" % len(body)))
    await _start(send, response.status, raw, outcome)
    shown = b"" if bodiless or asked.method == "HEAD" else body
    await send({"type": "http.response.body", "body": shown})
    outcome.sent_bytes += len(shown)


async def _start(send: Send, status: int, raw: list[tuple[bytes, bytes]], outcome: Outcome) -> None:
    outcome.status = status
    outcome.started = True
    await send({"type": "http.response.start", "status": status, "headers": raw})


async def _stream(
    body: AsyncIterator[bytes], receive: Receive, send: Send, stopping: asyncio.Event | None, outcome: Outcome
) -> None:
    # Three things end a stream: its own end, the client that leaves, and (if it is live) the server's stop.
    async def pump() -> None:
        async for chunk in body:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
            outcome.sent_bytes += len(chunk)

    async def gone() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass

    tasks: list[asyncio.Future[Any]] = [asyncio.ensure_future(pump()), asyncio.ensure_future(gone())]
    if stopping is not None:
        tasks.append(asyncio.ensure_future(stopping.wait()))
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks[1:]:
            task.cancel()
        if not tasks[0].done():
            tasks[0].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        closing = getattr(body, "aclose", None)
        if closing is not None:
            await closing()
    if not tasks[0].cancelled():
        tasks[0].result()


def _raw_headers(
    response: Response, headers: list[tuple[str, str]], coding: str | None, *, secure: bool
) -> list[tuple[bytes, bytes]]:
    raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    raw += SECURITY_HEADERS
    if secure:
        raw.append(HSTS)
    if not any(name == API_POLICY[0] for name, _ in raw):
        raw.append(API_POLICY)
    raw.append((b"cache-control", response.cache_control.encode("latin-1")))
    if response.media_type is not None and response.status != 304:
        raw.append((b"content-type", response.media_type.encode("latin-1")))
    if response.etag is not None:
        # A strong tag names exactly these bytes; the compressed ones are others, so the tag becomes weak.
        mark = "W/" if coding else ""
        raw.append((b"etag", f'{mark}"{response.etag}"'.encode("latin-1")))
    if response.compress:
        raw.append((b"vary", b"accept-encoding"))
    if coding:
        raw.append((b"content-encoding", coding.encode("latin-1")))
    return raw


def _unchanged(response: Response, request_headers: Mapping[str, str]) -> bool:
    asked = request_headers.get("if-none-match")
    if asked is None or response.status != 200 or response.etag is None:
        return False
    tags = [tag.strip().removeprefix("W/") for tag in asked.split(",")]
    return "*" in tags or f'"{response.etag}"' in tags


def _coding(response: Response, size: int, request_headers: Mapping[str, str]) -> str | None:
    if size < COMPRESS_BYTES_MIN or not response.compress or response.media_type is None:
        return None
    if not response.media_type.startswith(_COMPRESSIBLE):
        return None
    accepted = _accepted(request_headers.get("accept-encoding", ""))
    return next((coding for coding in ("br", "gzip") if coding in accepted), None)


def _accepted(header: str) -> set[str]:
    accepted: set[str] = set()
    for item in header.split(","):
        name, _, weight = item.partition(";")
        if not _REFUSED.fullmatch(weight.strip()):
            accepted.add(name.strip().lower())
    return accepted


async def _compressed(body: bytes, coding: str | None) -> bytes:
    if coding is None:
        return body
    squeeze = _brotli if coding == "br" else _gzip
    if len(body) <= INLINE_BYTES_MAX:
        return squeeze(body)
    return await asyncio.to_thread(squeeze, body)


def _gzip(body: bytes) -> bytes:
    return zlib.compress(body, GZIP_LEVEL, _GZIP_WINDOW)


def _brotli(body: bytes) -> bytes:
    squeezed: bytes = brotli.compress(body, quality=BROTLI_QUALITY)
    return squeezed
