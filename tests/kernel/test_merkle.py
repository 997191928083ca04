"""The Merkle tree against the definition of RFC 9162 written down naively, for every size up to 130."""

import contextlib
import hashlib
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atp.kernel import merkle

SIZES = range(131)
ENTRIES = [bytes([number]) * 32 for number in range(131)]
LEAVES = [merkle.leaf_hash(entry) for entry in ENTRIES]


@cache
def _mth(start: int, end: int) -> bytes:
    """MTH of RFC 9162, section 2.1.1, word for word."""
    if start == end:
        return hashlib.sha256(b"").digest()
    if end - start == 1:
        return hashlib.sha256(b"\x00" + ENTRIES[start]).digest()
    split = 1
    while split * 2 < end - start:
        split *= 2
    return hashlib.sha256(b"\x01" + _mth(start, start + split) + _mth(start + split, end)).digest()


def _path(index: int, start: int, end: int) -> list[bytes]:
    """PATH of RFC 9162, section 2.1.3.1."""
    if end - start == 1:
        return []
    split = 1
    while split * 2 < end - start:
        split *= 2
    middle = start + split
    if index < middle:
        return [*_path(index, start, middle), _mth(middle, end)]
    return [*_path(index, middle, end), _mth(start, middle)]


def _subproof(old: int, start: int, end: int, *, whole: bool) -> list[bytes]:
    """SUBPROOF of RFC 9162, section 2.1.4.1; `old` counts leaves from `start`."""
    if old == end - start:
        return [] if whole else [_mth(start, end)]
    split = 1
    while split * 2 < end - start:
        split *= 2
    if old <= split:
        return [*_subproof(old, start, start + split, whole=whole), _mth(start + split, end)]
    return [*_subproof(old - split, start + split, end, whole=False), _mth(start, start + split)]


def _read(level: int, index: int) -> bytes:
    return _mth(index << level, (index + 1) << level)


def test_roots() -> None:
    """INT-02: the root of every size, from subtrees and from the growing edge."""
    frontier = merkle.Frontier()
    for size in SIZES:
        assert merkle.root(size, _read) == frontier.root() == _mth(0, size)
        again = merkle.Frontier(size, frontier.peaks)
        assert again.root() == frontier.root()
        if size < 130:
            frontier.append(LEAVES[size])
    assert _mth(0, 0) == merkle.EMPTY_ROOT


def test_a_frontier_of_the_wrong_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="peak"):
        merkle.Frontier(3, [LEAVES[0]])


def test_inclusion_proofs() -> None:
    """INT-02: every leaf of every size has the path of the RFC, and the path leads to the root."""
    for size in SIZES:
        for index in range(size):
            path = merkle.inclusion_proof(index, size, _read)
            assert path == _path(index, 0, size)
            assert merkle.root_from_inclusion(index, size, LEAVES[index], path) == _mth(0, size)


def test_consistency_proofs() -> None:
    """INT-02: every pair of sizes has the proof of the RFC, and it is accepted."""
    for new in SIZES:
        for old in range(new + 1):
            path = merkle.consistency_proof(old, new, _read)
            assert path == ([] if old in (0, new) else _subproof(old, 0, new, whole=True))
            assert merkle.consistent(old, new, _mth(0, old), _mth(0, new), path)


def test_ranges() -> None:
    """Complete subtrees cover a range exactly, left to right."""
    for end in SIZES:
        covered = [
            i
            for level, index in merkle.subtree_sizes(0, end)
            for i in range(index << level, (index + 1) << level)
        ]
        assert covered == list(range(end))


@given(st.data())
def test_a_changed_inclusion_proof_is_refused(data: st.DataObject) -> None:
    """INT-06: another index, size, leaf, a changed, missing or additional hash leads elsewhere or is refused."""
    size = data.draw(st.integers(2, 130))
    index = data.draw(st.integers(0, size - 1))
    path = merkle.inclusion_proof(index, size, _read)
    change = data.draw(st.sampled_from(["flip", "drop", "add", "index", "leaf", "swap"]))
    leaf, at = LEAVES[index], data.draw(st.integers(0, len(path) - 1))
    if change == "flip":
        path[at] = bytes([path[at][0] ^ 1]) + path[at][1:]
    elif change == "drop":
        del path[at]
    elif change == "add":
        path.insert(at, path[at])
    elif change == "index":
        index = data.draw(st.integers(0, size - 1).filter(lambda other: other != index))
    elif change == "leaf":
        leaf = merkle.leaf_hash(b"forged")
    else:
        path[at], path[at - 1] = path[at - 1], path[at]
        if len(path) == 1:
            return
    with contextlib.suppress(ValueError):
        assert merkle.root_from_inclusion(index, size, leaf, path) != _mth(0, size)


@given(st.data())
def test_a_changed_consistency_proof_is_refused(data: st.DataObject) -> None:
    """INT-02: a log that was rewritten, shortened or shown with another root is not consistent."""
    new = data.draw(st.integers(2, 130))
    old = data.draw(st.integers(1, new - 1))
    path = merkle.consistency_proof(old, new, _read)
    old_root, new_root = _mth(0, old), _mth(0, new)
    change = data.draw(st.sampled_from(["flip", "drop", "add", "old root", "new root", "reverse sizes"]))
    at = data.draw(st.integers(0, len(path) - 1))
    if change == "flip":
        path[at] = bytes([path[at][0] ^ 1]) + path[at][1:]
    elif change == "drop":
        del path[at]
    elif change == "add":
        path.append(path[at])
    elif change == "old root":
        old_root = _mth(0, old - 1)
    elif change == "new root":
        new_root = _mth(0, new - 1)
    else:
        old, new = new, old
    assert not merkle.consistent(old, new, old_root, new_root, path)


@pytest.mark.parametrize(("index", "size"), [(-1, 5), (5, 5), (0, 0)])
def test_a_leaf_outside_the_tree_is_refused(index: int, size: int) -> None:
    with pytest.raises(ValueError, match="not in the tree"):
        merkle.inclusion_proof(index, size, _read)
    with pytest.raises(ValueError, match="not in the tree"):
        merkle.root_from_inclusion(index, size, LEAVES[0], [])


def test_a_tree_does_not_shrink() -> None:
    with pytest.raises(ValueError, match="larger"):
        merkle.consistency_proof(6, 5, _read)
