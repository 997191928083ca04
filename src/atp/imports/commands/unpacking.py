"""From a path or standard input to plain chunks: gzip and zip are unpacked as they stream by.

Memory is a few chunks whatever the archive claims or expands to, and a pipe will do: zip is read by its
local headers, front to back, so that even one cut off in the middle gives what it has. When packed bytes
are damaged, everything before the first bad one is handed out, then SourceUnreadable says what happened.
"""

from __future__ import annotations

import codecs
import struct
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from atp.imports.model import SourceUnreadable

CHUNK_BYTES = 1 << 16

_GZIP = b"\x1f\x8b"
_ZIP_MEMBER = b"PK\x03\x04"
_ZIP_DIRECTORY = (b"PK\x01\x02", b"PK\x05\x06")
_ZIP_HEADER = struct.Struct("<4xHHH4xIIIHH")
_ZIP_DESCRIPTOR_BYTES_MAX = 24
_STORED, _DEFLATED = 0, 8
_RAW_DEFLATE, _GZIP_WRAPPED = -15, 31


class Stream:
    """The packed bytes of a source; `position` is how many were read, for the progress bar."""

    def __init__(self, file: BinaryIO, position: int = 0) -> None:
        self._file = file
        self._held = b""
        self.position = position

    def some(self) -> bytes:
        """Return the next bytes, empty at the end."""
        if self._held:
            held, self._held = self._held, b""
            return held
        try:
            chunk = self._file.read(CHUNK_BYTES)
        except OSError as error:
            raise SourceUnreadable(f"Reading failed: {error}.") from error
        self.position += len(chunk)
        return chunk

    def take(self, count: int) -> bytes:
        """Return exactly `count` bytes, fewer only at the end."""
        taken = b""
        while len(taken) < count and (chunk := self.some()):
            taken += chunk
        self.back(taken[count:])
        return taken[:count]

    def back(self, surplus: bytes) -> None:
        """Put bytes that were read too far back in front."""
        self._held = surplus + self._held


def parts(stream: Stream, name: str, encoding: str = "utf-8") -> Iterator[tuple[str, Iterator[bytes]]]:
    """Yield the name and the plain chunks of each part; a part must be used up before the next is asked for."""
    start = stream.take(4)
    stream.back(start)
    if start == _ZIP_MEMBER:
        for member, chunks in _zip_members(stream):
            yield member, _decoded(_perhaps_gzip(chunks, member), encoding)
    elif start in _ZIP_DIRECTORY:
        raise SourceUnreadable("The zip archive is empty.")
    elif start.startswith(_GZIP):
        yield name, _decoded(_gunzip(stream, name), encoding)
    else:
        yield name, _decoded(iter(stream.some, b""), encoding)


def _inflate(stream: Stream, wrapping: int, name: str) -> Iterator[bytes]:
    """Unpack one deflate stream and leave what follows it in `stream`."""
    engine = zlib.decompressobj(wrapping)
    while not engine.eof:
        packed = engine.unconsumed_tail or stream.some()
        before = engine.copy()
        try:
            plain = engine.decompress(packed, CHUNK_BYTES)
        except zlib.error as error:
            yield from _until_damage(before, packed)
            raise SourceUnreadable(f"{name} is damaged: {error}. Get the file again and repeat.") from None
        if plain:
            yield plain
        elif not packed:
            raise SourceUnreadable(f"{name} ends too early: it was cut off. Get the file again and repeat.")
    stream.back(engine.unused_data)


def _until_damage(engine: zlib._Decompress, packed: bytes) -> Iterator[bytes]:
    # A call that fails gives nothing at all, so the last chunk is unpacked again byte by byte.
    for place in range(len(packed)):
        try:
            plain = engine.decompress(packed[place : place + 1])
        except zlib.error:
            return
        if plain:
            yield plain


def _gunzip(stream: Stream, name: str) -> Iterator[bytes]:
    """Unpack all members of a gzip file; rotated logs are often several put together."""
    while start := stream.take(2):
        stream.back(start)
        if start == _GZIP:
            yield from _inflate(stream, _GZIP_WRAPPED, name)
        elif any(rest := stream.some()):
            raise SourceUnreadable(
                f"{name} is damaged: {len(rest)} bytes or more follow the end of the gzip data."
            )


class _Chunks:
    """An iterator of chunks in the shape of a file, for a gzip inside a zip."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks

    def read(self, _count: int) -> bytes:
        return next(self._chunks, b"")


def _perhaps_gzip(chunks: Iterator[bytes], name: str) -> Iterator[bytes]:
    inner = Stream(_Chunks(chunks))  # type: ignore[arg-type]  # Stream only ever calls read().
    start = inner.take(2)
    inner.back(start)
    return _gunzip(inner, name) if start == _GZIP else iter(inner.some, b"")


def _zip_members(stream: Stream) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Yield each file of a zip archive (PKWARE APPNOTE 6.3, sections 4.3.7 to 4.3.9)."""
    while (signature := stream.take(4)) == _ZIP_MEMBER:
        header = signature + stream.take(26)
        if len(header) < 30:
            raise SourceUnreadable("The zip archive was cut off.")
        _, flags, method, crc, packed_size, _, name_size, extra_size = _ZIP_HEADER.unpack(header)
        name = stream.take(name_size).decode("utf-8", "replace")
        stream.take(extra_size)
        described_later = bool(flags & 8)
        if flags & 1:
            raise SourceUnreadable(f"{name} is encrypted. Unpack the archive and import the file.")
        if method not in {_STORED, _DEFLATED} or (
            method == _STORED and (described_later or packed_size == 0xFFFFFFFF)
        ):
            raise SourceUnreadable(
                f"{name} is packed in a way that is not read here. Unpack it and import the file."
            )
        chunks = (
            _inflate(stream, _RAW_DEFLATE, name)
            if method == _DEFLATED
            else _stored(stream, packed_size, name)
        )
        checked = _checked(stream, chunks, None if described_later else crc, name)
        if name.endswith("/") or name.startswith("__MACOSX/"):
            for _ in checked:
                pass
        else:
            yield name, checked
    if signature not in _ZIP_DIRECTORY:
        raise SourceUnreadable("The zip archive was cut off or is damaged.")


def _stored(stream: Stream, size: int, name: str) -> Iterator[bytes]:
    while size > 0:
        chunk = stream.take(min(size, CHUNK_BYTES))
        if not chunk:
            raise SourceUnreadable(f"{name} ends too early: the archive was cut off.")
        size -= len(chunk)
        yield chunk


def _checked(stream: Stream, chunks: Iterator[bytes], crc: int | None, name: str) -> Iterator[bytes]:
    found = 0
    for chunk in chunks:
        found = zlib.crc32(chunk, found)
        yield chunk
    if crc is None:
        # The descriptor behind the member may or may not have a signature; then comes the checksum.
        descriptor = stream.take(_ZIP_DESCRIPTOR_BYTES_MAX)
        body = descriptor[4:] if descriptor.startswith(b"PK\x07\x08") else descriptor
        crc = int.from_bytes(body[:4], "little")
        following = [at for mark in (_ZIP_MEMBER, *_ZIP_DIRECTORY) if (at := body.find(mark, 12)) >= 0]
        stream.back(body[min(following) :] if following else b"")
    if crc != found:
        raise SourceUnreadable(
            f"{name} is damaged: its checksum does not fit. Get the archive again and repeat."
        )


def _decoded(chunks: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    """Yield UTF-8 without a byte order mark, whatever the part is written in."""
    first = next(chunks, b"")
    while len(first) < 4 and (more := next(chunks, b"")):
        first += more
    if first.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding = "utf-16"
    first = first.removeprefix(codecs.BOM_UTF8)
    if codecs.lookup(encoding).name in {"utf-8", "ascii"}:
        yield first
        yield from chunks
        return
    # What does not decode becomes bytes that are not UTF-8: its line is then rejected, and only its line.
    errors = "surrogatepass" if encoding.startswith("utf-16") else "surrogateescape"
    decoder = codecs.getincrementaldecoder(encoding)(errors)
    try:
        yield decoder.decode(first).encode("utf-8", errors)
        for chunk in chunks:
            yield decoder.decode(chunk).encode("utf-8", errors)
        yield decoder.decode(b"", final=True).encode("utf-8", errors)
    except UnicodeError as error:
        raise SourceUnreadable(f"The text is not {encoding}: {error}.") from None
