"""Receiving a request body: bounded in size, in time, and in what it may expand to (SEC, API-13).

No more than the bound is ever held, neither of what arrives nor of what comes out of the decompressor.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Final, Protocol

import brotli  # type: ignore[import-untyped]

from atp.kernel.errors import Problem

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

BODY_SECONDS_MAX: Final = 30.0
"""For a whole body to arrive; whoever sends slower holds a connection and nothing else for so long."""
PIECE_BYTES: Final = 64 * 1024
"""Output of a decompressor at a time: the bound is checked after each piece."""
_GZIP_WINDOW: Final = 31


class ClientGone(Exception):
    """The client closed the connection before its request was complete; there is nobody to answer."""


class _Decompressor(Protocol):
    def expand(self, chunk: bytes, room: int) -> list[bytes]: ...
    def ended(self) -> bool: ...


async def receive_body(
    receive: Receive,
    headers: Mapping[str, str],
    *,
    bytes_max: int,
    too_large: str,
    seconds_max: float = BODY_SECONDS_MAX,
) -> tuple[bytes, int]:
    """Return the body, decompressed, and how many bytes arrived.

    `too_large` is the code for more than `bytes_max` (before or after expansion); UNSUPPORTED_MEDIA_TYPE for
    an unknown content coding, MALFORMED_JSON for a broken one, TIMEOUT for a slow one.
    """
    _refuse_announced(headers, bytes_max, too_large)
    decompressor = _decompressor(headers.get("content-encoding", ""))
    try:
        async with asyncio.timeout(seconds_max):
            return await _collect(receive, decompressor, bytes_max, too_large)
    except TimeoutError:
        raise Problem("TIMEOUT", "The body did not arrive in time; nothing was changed.") from None


async def _collect(
    receive: Receive, decompressor: _Decompressor | None, bytes_max: int, too_large: str
) -> tuple[bytes, int]:
    pieces: list[bytes] = []
    arrived = kept = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        chunk = message.get("body", b"")
        arrived += len(chunk)
        if arrived > bytes_max:
            raise Problem(too_large)
        expanded = [chunk] if decompressor is None else decompressor.expand(chunk, bytes_max - kept)
        for piece in expanded:
            kept += len(piece)
            if kept > bytes_max:
                raise Problem(too_large, "The body expands to more than is allowed.")
            pieces.append(piece)
        if not message.get("more_body"):
            break
    if decompressor is not None and not decompressor.ended():
        raise Problem("MALFORMED_JSON", "The compressed body is cut off.")
    return (pieces[0] if len(pieces) == 1 else b"".join(pieces)), arrived


def _refuse_announced(headers: Mapping[str, str], bytes_max: int, too_large: str) -> None:
    announced = headers.get("content-length", "")
    if announced.isascii() and announced.isdigit() and int(announced[:20]) > bytes_max:
        raise Problem(too_large)


def _decompressor(coding: str) -> _Decompressor | None:
    name = coding.strip().lower()
    if name in ("", "identity"):
        return None
    if name in ("gzip", "x-gzip"):
        return _Gzip()
    if name == "br":
        return _Brotli()
    raise Problem("UNSUPPORTED_MEDIA_TYPE", "Content-Encoding must be gzip, br or absent.")


class _Gzip:
    def __init__(self) -> None:
        self._inflate = zlib.decompressobj(_GZIP_WINDOW)
        self._begun = False

    def expand(self, chunk: bytes, room: int) -> list[bytes]:
        pieces: list[bytes] = []
        total = 0
        while total <= room:
            if self._inflate.eof:
                if not chunk:
                    break
                # RFC 1952 section 2.2: members may follow each other.
                self._inflate = zlib.decompressobj(_GZIP_WINDOW)
            try:
                piece = self._inflate.decompress(chunk, PIECE_BYTES)
            except zlib.error:
                raise Problem("MALFORMED_JSON", "The body is not valid gzip.") from None
            self._begun = self._begun or bool(chunk)
            pieces.append(piece)
            total += len(piece)
            chunk = self._inflate.unused_data if self._inflate.eof else self._inflate.unconsumed_tail
            # A full piece may leave output behind although all input is consumed.
            if not chunk and len(piece) < PIECE_BYTES:
                break
        return pieces

    def ended(self) -> bool:
        return self._inflate.eof or not self._begun


class _Brotli:
    def __init__(self) -> None:
        self._inflate = brotli.Decompressor()

    def expand(self, chunk: bytes, room: int) -> list[bytes]:
        pieces: list[bytes] = []
        total = 0
        try:
            while total <= room:
                piece = self._inflate.process(chunk, output_buffer_limit=PIECE_BYTES)
                chunk = b""
                pieces.append(piece)
                total += len(piece)
                # It may say that it can accept more while output is still waiting: empty it first.
                if not piece or self._inflate.is_finished():
                    break
        except brotli.error:
            raise Problem("MALFORMED_JSON", "The body is not valid Brotli.") from None
        return pieces

    def ended(self) -> bool:
        return bool(self._inflate.is_finished())
