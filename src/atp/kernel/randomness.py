"""Random bytes from the operating system, drawn in blocks: a system call per salt would cost more than the hash.

State: one block per thread, thrown away in a forked child so that no two processes share a salt or nonce.
"""

from __future__ import annotations

import os
import threading

_BLOCK = 8192


class _Pool(threading.local):
    block = b""
    used = 0


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


def _forget() -> None:
    _pool.block, _pool.used = b"", 0


os.register_at_fork(after_in_child=_forget)
