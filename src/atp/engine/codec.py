"""How record bytes lie on disk: zstd with a shipped dictionary, one frame per value.

Compression is lossless and invisible: what is decoded is byte for byte what was hashed. A stored value starts
with one byte naming its codec. The dictionary is part of the format: it is never changed, only added to, and
every database keeps a copy (table `dictionaries`), so a store can be read without this package.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any, Final

import zstandard

RAW: Final = 0
ZSTD_1: Final = 1
"""zstd with dictionary 1 (`record-1.zdict`)."""
LEVEL: Final = 1
"""Level 3 gains under one percent on record-sized values and costs a third more time."""
DECODED_SIZE_MAX: Final = 1 << 20
"""No stored value is larger; a frame that claims more is corrupt, not a reason to allocate."""

TOGETHER_MIN: Final = 8
"""Values from which one call for all of them is cheaper than one for each."""


class CorruptValue(Exception):
    """Stored bytes that no codec can have written."""


@cache
def dictionary() -> bytes:
    """Return the bytes of dictionary 1."""
    return files("atp.engine").joinpath("record-1.zdict").read_bytes()


class _Codec(threading.local):
    """Contexts of one thread; zstandard's are not shared between threads."""

    def __init__(self) -> None:
        shared = zstandard.ZstdCompressionDict(dictionary())
        self.compressor = zstandard.ZstdCompressor(
            level=LEVEL, dict_data=shared, write_dict_id=False, write_checksum=False
        )
        self.decompressor = zstandard.ZstdDecompressor(dict_data=shared)


_codec = _Codec()


def pack(raw: bytes) -> bytes:
    """Return the stored form of `raw`."""
    frame = _codec.compressor.compress(raw)
    return b"\x01" + frame if len(frame) < len(raw) else b"\x00" + raw


def pack_many(values: Sequence[bytes]) -> list[bytes]:
    """Return the stored forms of `values`: one call, which gives up the interpreter's lock once and not per value."""
    if len(values) < TOGETHER_MIN:
        return [pack(value) for value in values]
    frames = _codec.compressor.multi_compress_to_buffer([*values], threads=1)
    packed = []
    for index, raw in enumerate(values):
        frame = frames[index].tobytes()
        packed.append(b"\x01" + frame if len(frame) < len(raw) else b"\x00" + raw)
    return packed


def unpack(stored: bytes) -> bytes:
    """Return what `pack` was given; raises CorruptValue for bytes that it cannot have written."""
    codec = stored[:1]
    if codec == b"\x01":
        frame = stored[1:]
        try:
            if zstandard.frame_content_size(frame) > DECODED_SIZE_MAX:
                raise CorruptValue("a frame claims to be larger than any record")
            return _codec.decompressor.decompress(frame)
        except zstandard.ZstdError as error:
            raise CorruptValue("a compressed value does not decode") from error
    if codec == b"\x00":
        return stored[1:]
    raise CorruptValue("a stored value names no known codec")


def unpack_many(values: Sequence[bytes]) -> list[bytes]:
    """Return what `pack` was given for each of `values`; raises CorruptValue if one of them does not decode."""
    if len(values) < TOGETHER_MIN or any(value[:1] != b"\x01" for value in values):
        return [unpack(value) for value in values]
    frames: list[Any] = [value[1:] for value in values]
    try:
        if any(not 0 <= zstandard.frame_content_size(frame) <= DECODED_SIZE_MAX for frame in frames):
            return [unpack(value) for value in values]
        decoded = _codec.decompressor.multi_decompress_to_buffer(frames, threads=1)
    except (zstandard.ZstdError, ValueError) as error:
        raise CorruptValue("a compressed value does not decode") from error
    return [decoded[index].tobytes() for index in range(len(frames))]
