"""Random bytes and salts from the operating system, drawn in blocks.

A system call per salt would cost more than the hash it goes into. State: one block per thread, thrown away in a
forked child, so that no two processes ever share a salt or a nonce.
"""

from __future__ import annotations

import binascii
import os
import threading

_BLOCK = 8192
_SALTS = 512
_SALT_SIZE = 16
_SALT_CHARACTERS = 22
_URL_SAFE = bytes.maketrans(b"+/", b"-_")


class _Pool(threading.local):
    def __init__(self) -> None:
        self.block = b""
        self.used = 0
        self.salts: list[str] = []


_pool = _Pool()


def random_bytes(count: int) -> bytes:
    """Return `count` (at most 8192) bytes fit for keys, salts and nonces; none is ever handed out twice."""
    used = _pool.used
    end = used + count
    if end > len(_pool.block):
        if count > _BLOCK:
            raise ValueError("too many random bytes at once")
        _pool.block, used, end = os.urandom(_BLOCK), 0, count
    _pool.used = end
    return _pool.block[used:end]


def random_salt() -> str:
    """Return a fresh 128-bit salt as 22 characters of unpadded base64url."""
    salts = _pool.salts
    if not salts:
        salts.extend(_make_salts())
    return salts.pop()


def _make_salts() -> list[str]:
    """Encode many salts in one call.

    Sixteen random bytes and two zero bytes are 24 characters of base64; the first 22 of them are exactly the
    unpadded encoding of the sixteen.
    """
    drawn = os.urandom(_SALT_SIZE * _SALTS)
    padded = bytearray((_SALT_SIZE + 2) * _SALTS)
    for index in range(_SALT_SIZE):
        padded[index :: _SALT_SIZE + 2] = drawn[index::_SALT_SIZE]
    text = binascii.b2a_base64(padded, newline=False).translate(_URL_SAFE).decode("ascii")
    return [text[start : start + _SALT_CHARACTERS] for start in range(0, len(text), _SALT_CHARACTERS + 2)]


def _forget() -> None:
    _pool.block, _pool.used, _pool.salts = b"", 0, []


os.register_at_fork(after_in_child=_forget)
