"""What has been signed, remembered outside the main store.

A database restored from an older copy would happily sign a second root for a size it has already signed. The
guard is a small append-only file beside it: it is written and synced before any signature leaves, and a log
that no longer agrees with it is not signed again.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from atp.engine.keys import sync_directory
from atp.kernel.hashing import b64u, unb64u

COMPACT_LINES: Final = 50_000
"""Lines after which the file is rewritten with the last of each log (about 100 bytes a line)."""


def last_signed(path: Path) -> dict[str, tuple[int, bytes]]:
    """Read the largest (size, root) signed of each log, beside a server that may be writing; empty without a file."""
    last: dict[str, tuple[int, bytes]] = {}
    if not path.exists():
        return last
    for line in path.read_bytes().splitlines(keepends=True):
        try:
            log_id, size, root = line.decode("ascii").split()
            if line.endswith(b"\n") and int(size) >= last.get(log_id, (0, b""))[0]:
                last[log_id] = (int(size), unb64u(root))
        except ValueError:
            continue
    return last


class Guard:
    """The last signed (size, root) of each log. State: `_last` and the file, guarded by `_lock`."""

    def __init__(self, path: Path) -> None:
        """Open or create the file; a torn last line, from a crash while writing it, is dropped."""
        self._path = path
        self._lock = threading.Lock()
        self._lines = 0
        path.parent.mkdir(parents=True, exist_ok=True)
        self._last = last_signed(path)
        self._rewrite()

    def _rewrite(self) -> None:
        """Replace the file by one line per log, atomically."""
        draft = self._path.with_name(self._path.name + ".new")
        with draft.open("wb") as file:
            file.write(b"".join(_line(log_id, *last) for log_id, last in self._last.items()))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self._path)
        sync_directory(self._path.parent)
        self._file = self._path.open("ab", buffering=0)
        self._lines = len(self._last)

    def last(self, log_id: str) -> tuple[int, bytes]:
        """Return the largest (size, root) ever signed for a log, (0, empty) if none was."""
        with self._lock:
            return self._last.get(log_id, (0, b""))

    def remember(self, signed: Mapping[str, tuple[int, bytes]]) -> None:
        """Note what is about to be signed, durably, before it is.

        Crash argument: a crash after this and before the checkpoint is stored leaves a note of a root that
        the same records will give again; a crash within leaves a torn line, dropped on the next start,
        and nothing was signed.
        """
        with self._lock:
            self._file.write(b"".join(_line(log_id, *last) for log_id, last in signed.items()))
            os.fsync(self._file.fileno())
            self._last.update(signed)
            self._lines += len(signed)
            if self._lines > COMPACT_LINES + len(self._last):
                self._file.close()
                self._rewrite()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._file.close()


def _line(log_id: str, size: int, root: bytes) -> bytes:
    return f"{log_id} {size} {b64u(root)}\n".encode("ascii")
