"""The RFC 6962 Merkle tree: hashes, inclusion and consistency proofs, and their verification.

Nothing is stored here. A prover reads complete subtrees through a `HashReader`; whoever keeps them (tiles,
in ATP) decides how. Sizes and indexes count leaves; every hash is 32 bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256

EMPTY_ROOT = sha256(b"").digest()

HashReader = Callable[[int, int], bytes]
"""Returns the hash of the complete subtree at (level, index), covering leaves [index << level, +1 << level)."""


def leaf_hash(entry: bytes) -> bytes:
    """Return SHA-256(0x00 ‖ entry), RFC 6962 section 2.1."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return SHA-256(0x01 ‖ left ‖ right), RFC 6962 section 2.1."""
    return sha256(b"\x01" + left + right).digest()


def subtree_sizes(start: int, end: int) -> Iterator[tuple[int, int]]:
    """Split leaves [start, end) into complete subtrees, left to right, as (level, index) pairs.

    `start` must be a multiple of every power of two that the split needs; a start of 0 always is.
    """
    while start < end:
        level = (end - start).bit_length() - 1
        if start:
            level = min(level, (start & -start).bit_length() - 1)
        yield level, start >> level
        start += 1 << level


def range_hash(start: int, end: int, read: HashReader) -> bytes:
    """Return the Merkle tree hash of leaves [start, end), at least one; the tree root when start is 0."""
    peaks = [read(level, index) for level, index in subtree_sizes(start, end)]
    result = peaks.pop()
    while peaks:
        result = node_hash(peaks.pop(), result)
    return result


def root(size: int, read: HashReader) -> bytes:
    """Return the root of the tree of `size` leaves."""
    return range_hash(0, size, read) if size else EMPTY_ROOT


def inclusion_proof(index: int, size: int, read: HashReader) -> list[bytes]:
    """Return the audit path of leaf `index` in the tree of `size` leaves, sibling of the leaf first."""
    if not 0 <= index < size:
        raise ValueError("the leaf is not in the tree")
    path: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(range_hash(middle, end, read))
            end = middle
        else:
            path.append(range_hash(start, middle, read))
            start = middle
    path.reverse()
    return path


def consistency_proof(old: int, new: int, read: HashReader) -> list[bytes]:
    """Return the proof that the tree of `old` leaves is a prefix of the tree of `new` leaves."""
    if not 0 <= old <= new:
        raise ValueError("the older tree is larger than the newer one")
    if old in (0, new):
        return []
    path: list[bytes] = []
    start, end, whole = 0, new, True
    while old != end:
        middle = start + _split(end - start)
        if old <= middle:
            path.append(range_hash(middle, end, read))
            end = middle
        else:
            path.append(range_hash(start, middle, read))
            start, whole = middle, False
    if not whole:
        path.append(range_hash(start, end, read))
    path.reverse()
    return path


def root_from_inclusion(index: int, size: int, leaf: bytes, path: Sequence[bytes]) -> bytes:
    """Return the root that `path` leads to from `leaf` (RFC 9162 section 2.1.3.2); ValueError on a bad length."""
    if not 0 <= index < size:
        raise ValueError("the leaf is not in the tree")
    first, last, result = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            raise ValueError("the path is too long")
        if first & 1 or first == last:
            result = node_hash(sibling, result)
            while not first & 1 and first:
                first, last = first >> 1, last >> 1
        else:
            result = node_hash(result, sibling)
        first, last = first >> 1, last >> 1
    if last:
        raise ValueError("the path is too short")
    return result


def consistent(old: int, new: int, old_root: bytes, new_root: bytes, path: Sequence[bytes]) -> bool:
    """Tell whether `path` proves that (old, old_root) is a prefix of (new, new_root); RFC 9162 section 2.1.4.2."""
    if not 0 <= old <= new:
        return False
    if old in (0, new):
        return not path and (old == 0 or old_root == new_root)
    hashes = list(path)
    if old & (old - 1) == 0:
        hashes.insert(0, old_root)
    if not hashes:
        return False
    first, last = old - 1, new - 1
    while first & 1:
        first, last = first >> 1, last >> 1
    from_old = from_new = hashes[0]
    for sibling in hashes[1:]:
        if last == 0:
            return False
        if first & 1 or first == last:
            from_old, from_new = node_hash(sibling, from_old), node_hash(sibling, from_new)
            while not first & 1 and first:
                first, last = first >> 1, last >> 1
        else:
            from_new = node_hash(from_new, sibling)
        first, last = first >> 1, last >> 1
    return last == 0 and from_old == old_root and from_new == new_root


def _split(size: int) -> int:
    """Return the largest power of two smaller than `size` (at least 2)."""
    return 1 << (size - 1).bit_length() - 1


class Frontier:
    """The right edge of a growing tree: one complete subtree per set bit of its size, constant memory.

    Owned by whoever integrates or verifies; feed it leaf hashes in order and ask for the root at any time.
    """

    __slots__ = ("peaks", "size")

    def __init__(self, size: int = 0, peaks: Sequence[bytes] = ()) -> None:
        if len(peaks) != size.bit_count():
            raise ValueError("a frontier has one peak per set bit of its size")
        self.size = size
        self.peaks = list(peaks)

    def append(self, leaf: bytes) -> None:
        """Add the hash of the next leaf."""
        size, peaks = self.size, self.peaks
        while size & 1:
            leaf = sha256(b"\x01" + peaks.pop() + leaf).digest()
            size >>= 1
        peaks.append(leaf)
        self.size += 1

    def root(self) -> bytes:
        """Return the root of the tree so far."""
        if not self.peaks:
            return EMPTY_ROOT
        result = self.peaks[-1]
        for peak in reversed(self.peaks[:-1]):
            result = node_hash(peak, result)
        return result
