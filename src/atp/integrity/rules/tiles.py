"""C2SP tlog-tiles: addresses of tiles and bundles, and how a tree lies in them.

A tile holds up to 256 hashes of one level; level L of tiles holds the tree's level 8·L. ATP keeps bundles of
entries (32 bytes each) instead of level 0, whose hashes follow from them.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from hashlib import sha256

from atp.kernel.merkle import Frontier

TILE_HEIGHT = 8
TILE_WIDTH = 256
HASH_SIZE = 32
ENTRIES_LEVEL = -1
"""The level under which bundles of entries are kept."""

_PATH = re.compile(r"((?:x\d{3}/)*)(\d{3})(?:\.p/([1-9]\d{0,2}))?", re.ASCII)


def parse_path(path: str) -> tuple[int, int]:
    """Return (tile index, width) of an address such as `x001/x234/067.p/8`; ValueError if it is not one."""
    match = _PATH.fullmatch(path)
    if match is None:
        raise ValueError("not a tile address")
    groups = match.group(1).replace("x", "").split("/")[:-1]
    if groups and groups[0] == "000":
        raise ValueError("not the shortest address")
    width = int(match.group(3)) if match.group(3) else TILE_WIDTH
    if width > TILE_WIDTH or (match.group(3) and width == TILE_WIDTH):
        raise ValueError("not a partial tile's width")
    return int("".join(groups) + match.group(2)), width


def format_path(index: int, width: int = TILE_WIDTH) -> str:
    """Return the address of a tile: groups of three digits, all but the last prefixed with x."""
    groups = [f"{index % 1000:03d}"]
    while index := index // 1000:
        groups.append(f"x{index % 1000:03d}")
    return "/".join(reversed(groups)) + ("" if width == TILE_WIDTH else f".p/{width}")


def leaf_hashes(entries: bytes) -> bytes:
    """Return the concatenated leaf hashes of concatenated 32-byte entries: level 0 of the tiles."""
    return b"".join(
        [sha256(b"\x00" + entries[at : at + HASH_SIZE]).digest() for at in range(0, len(entries), HASH_SIZE)]
    )


def bundle(entries: bytes) -> bytes:
    """Return the wire form of an entry bundle: each entry behind its big-endian 16-bit length."""
    prefix = struct.pack(">H", HASH_SIZE)
    return b"".join([prefix + entries[at : at + HASH_SIZE] for at in range(0, len(entries), HASH_SIZE)])


def full_root(hashes: bytes) -> bytes:
    """Return the root over a full tile's 256 hashes."""
    level = [hashes[at : at + HASH_SIZE] for at in range(0, len(hashes), HASH_SIZE)]
    while len(level) > 1:
        level = [sha256(b"\x01" + level[at] + level[at + 1]).digest() for at in range(0, len(level), 2)]
    return level[0]


def subtree(hashes: bytes, start: int, width: int) -> bytes:
    """Return the root over `width` (a power of two) hashes of a tile from number `start` on."""
    level = [
        hashes[at : at + HASH_SIZE] for at in range(start * HASH_SIZE, (start + width) * HASH_SIZE, HASH_SIZE)
    ]
    while len(level) > 1:
        level = [sha256(b"\x01" + level[at] + level[at + 1]).digest() for at in range(0, len(level), 2)]
    return level[0]


class GrowingTree:
    """The right edge of one log's tree while it grows: the open bundle, the open tiles, the frontier.

    Owned by the integrator, or by a verifier that recomputes it. `changed` collects (level, index) → bytes
    of the tiles touched since it was last emptied.
    """

    def __init__(self, size: int = 0, edges: Sequence[bytes] = (b"",)) -> None:
        """Start from `size` and the last bundle and tiles, `edges[0]` the bundle, `edges[n]` tile level n."""
        self.size = size
        self._edges = [bytearray(edge) for edge in edges] or [bytearray()]
        self.changed: dict[tuple[int, int], bytes] = {}
        self._block = Frontier()
        entries = self._edges[0]
        for at in range(0, len(entries), HASH_SIZE):
            self._block.append(sha256(b"\x00" + entries[at : at + HASH_SIZE]).digest())
        self._upper = Frontier()
        self._restore_upper()

    def _restore_upper(self) -> None:
        """Rebuild the peaks above the blocks from the edges, highest level first."""
        peaks: list[bytes] = []
        for level in range(len(self._edges) - 1, 0, -1):
            hashes, width = bytes(self._edges[level]), len(self._edges[level]) // HASH_SIZE
            start = 0
            for bit in range(TILE_HEIGHT - 1, -1, -1):
                if width >> bit & 1:
                    peaks.append(subtree(hashes, start, 1 << bit))
                    start += 1 << bit
        self._upper = Frontier(self.size // TILE_WIDTH, peaks)

    def append(self, entries: Sequence[bytes]) -> None:
        """Add entries (record hashes) in order."""
        edge, block = self._edges[0], self._block
        for entry in entries:
            edge += entry
            block.append(sha256(b"\x00" + entry).digest())
            self.size += 1
            if block.size == TILE_WIDTH:
                self._close_bundle(block.peaks[0])
                edge, block = self._edges[0], self._block
        if edge:
            self.changed[ENTRIES_LEVEL, self.size // TILE_WIDTH] = bytes(edge)

    def _close_bundle(self, root: bytes) -> None:
        self.changed[ENTRIES_LEVEL, self.size // TILE_WIDTH - 1] = bytes(self._edges[0])
        self._edges[0] = bytearray()
        self._block = Frontier()
        self._upper.append(root)
        level, index = 1, self.size // TILE_WIDTH - 1
        while True:
            if level == len(self._edges):
                self._edges.append(bytearray())
            edge = self._edges[level]
            edge += root
            self.changed[level, index // TILE_WIDTH] = bytes(edge)
            if len(edge) < TILE_WIDTH * HASH_SIZE:
                return
            root = full_root(bytes(edge))
            self._edges[level] = bytearray()
            level, index = level + 1, index // TILE_WIDTH

    def root(self) -> bytes:
        """Return the root of the tree so far."""
        return Frontier(self.size, [*self._upper.peaks, *self._block.peaks]).root()
