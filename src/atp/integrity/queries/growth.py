"""Recomputing a tree from its bundles' roots in order, and comparing every tile above them as it fills.

Constant memory: the open tile of each level, a frontier, and the sizes whose roots were asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from atp.integrity.queries.findings import Findings
from atp.integrity.rules.tiles import ENTRIES_LEVEL, HASH_SIZE, TILE_WIDTH, full_root, leaf_hashes
from atp.kernel.merkle import EMPTY_ROOT, Frontier

StoredTile = Callable[[int, int], bytes | None]


class RecomputedTree:
    """A tree grown from bundle roots. `roots` has the root of each size in `sizes` once it is reached."""

    def __init__(
        self, stored: StoredTile, findings: Findings, *, tree_size: int, sizes: Iterable[int]
    ) -> None:
        """`stored` reads a tile of a level from 1 on; `tree_size` is how far the stored tiles reach."""
        self._stored = stored
        self._findings = findings
        self._tree_size = tree_size
        self._sizes = sorted({size for size in sizes if size > 0})
        self._frontier = Frontier()
        self._edges: list[bytearray] = [bytearray()]
        self.roots: dict[int, bytes] = {0: EMPTY_ROOT}

    def bundles_wanted(self) -> frozenset[int]:
        """Return the bundles whose entries are needed for sizes inside them."""
        return frozenset(size // TILE_WIDTH for size in self._sizes if size % TILE_WIDTH)

    def reach(self, entries: Callable[[int], bytes]) -> None:
        """Note the roots of the sizes that end in the bundle that comes next; `entries` gives its entries."""
        bundles = self._frontier.size
        while self._sizes and self._sizes[0] // TILE_WIDTH == bundles:
            size = self._sizes.pop(0)
            self.roots[size] = self._root(size, entries(bundles) if size % TILE_WIDTH else b"")
            if size == self._tree_size:
                self._compare_edges()

    def _root(self, size: int, entries: bytes) -> bytes:
        inside = size % TILE_WIDTH
        block = Frontier()
        leaves = leaf_hashes(entries[: inside * HASH_SIZE])
        for at in range(0, len(leaves), HASH_SIZE):
            block.append(leaves[at : at + HASH_SIZE])
        return Frontier(size, [*self._frontier.peaks, *block.peaks]).root()

    def add(self, root: bytes) -> None:
        """Add the root of the next full bundle."""
        self._frontier.append(root)
        level, index = 1, self._frontier.size - 1
        while True:
            if level == len(self._edges):
                self._edges.append(bytearray())
            edge = self._edges[level]
            edge += root
            if len(edge) < TILE_WIDTH * HASH_SIZE:
                return
            index //= TILE_WIDTH
            if (index + 1) << 8 * (level + 1) <= self._tree_size:
                self._compare(level, index, bytes(edge))
            root = full_root(bytes(edge))
            self._edges[level] = bytearray()
            level += 1

    def _compare_edges(self) -> None:
        """Compare the partial tiles at the right edge of the stored tree."""
        for level in range(1, len(self._edges)):
            count = self._tree_size >> 8 * level
            width = count % TILE_WIDTH
            if width:
                self._compare(level, count // TILE_WIDTH, bytes(self._edges[level]))

    def _compare(self, level: int, index: int, hashes: bytes) -> None:
        stored = self._stored(level, index)
        if stored == hashes:
            return
        span = TILE_WIDTH**level
        first = index * TILE_WIDTH * span
        if stored is None:
            self._findings.add("tile_missing", f"Tile {level}/{index} is missing.", position=first)
            return
        for offset in range(0, len(hashes), HASH_SIZE):
            if stored[offset : offset + HASH_SIZE] != hashes[offset : offset + HASH_SIZE]:
                first += offset // HASH_SIZE * span
                message = (
                    f"Tile {level}/{index} does not hold the hash of records {first} to {first + span - 1}."
                )
                self._findings.add("tile", message, position=first)
                return
        self._findings.add("tile_size", f"Tile {level}/{index} is longer than the tree.", position=first)


def expected_extent(size: int) -> dict[int, int]:
    """Return {level: number of tiles} of a tree of `size`, bundles of entries under their own level."""
    extent = {}
    if size:
        extent[ENTRIES_LEVEL] = -(-size // TILE_WIDTH)
    level, count = 1, size // TILE_WIDTH
    while count:
        extent[level] = -(-count // TILE_WIDTH)
        level, count = level + 1, count // TILE_WIDTH
    return extent
