"""A disk for SQLite that fails when told, and that knows what a power cut would leave.

A failed sync behaves as Linux does: the pages are marked clean, so what was not synced is never written again
unless somebody writes it again, and the next sync says all is well. `durable` is what a power cut leaves.
"""

# ruff: noqa: N802 - the methods have the names of SQLite's own interface.

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

import apsw

_NUMBERS = count()

Fault = Callable[[str, str], bool]
"""Told the step (`write`, `sync`, `truncate`) and the kind of file (`wal` or `db`); returns whether it fails."""


class Disk:
    """State of one faulty disk; `fault` decides what fails, `error` how."""

    def __init__(self) -> None:
        self.name = f"faulty-{next(_NUMBERS)}"
        self.fault: Fault = lambda step, kind: False
        self.error: type[apsw.Error] = apsw.IOError
        self.steps: Counter[str] = Counter()
        self.before_step: Callable[[str, str], None] = lambda step, kind: None
        self.durable: dict[str, bytearray] = {}
        self.unsynced: dict[str, list[tuple[int, bytes | None]]] = {}

    def step(self, step: str, path: str) -> None:
        kind = "wal" if path.endswith("-wal") else "db"
        self.steps[f"{step} {kind}"] += 1
        self.before_step(step, kind)
        if self.fault(step, kind):
            if step == "sync":
                self.unsynced[path] = []
            raise self.error(f"{step} {kind}")

    def synced(self, path: str) -> None:
        image = self.durable.setdefault(path, bytearray())
        for offset, data in self.unsynced.pop(path, []):
            if data is None:
                del image[offset:]
            else:
                if len(image) < offset:
                    image.extend(bytes(offset - len(image)))
                image[offset : offset + len(data)] = data

    def power_cut(self, folder: Path) -> Path:
        """Write what a power cut would leave into `folder`; return the database's path there."""
        folder.mkdir(parents=True)
        for path, image in self.durable.items():
            (folder / Path(path).name).write_bytes(image)
        return folder / "atp.db"


class _File(apsw.VFSFile):
    def __init__(self, disk: Disk, base: str, filename, flags) -> None:
        self._disk = disk
        self._path = filename.filename() if isinstance(filename, apsw.URIFilename) else str(filename)
        super().__init__(base, filename, flags)

    def xWrite(self, data, offset) -> None:
        self._disk.step("write", self._path)
        super().xWrite(data, offset)
        self._disk.unsynced.setdefault(self._path, []).append((offset, bytes(data)))

    def xTruncate(self, size) -> None:
        self._disk.step("truncate", self._path)
        super().xTruncate(size)
        self._disk.unsynced.setdefault(self._path, []).append((size, None))

    def xSync(self, flags) -> None:
        self._disk.step("sync", self._path)
        super().xSync(flags)
        self._disk.synced(self._path)


class _Vfs(apsw.VFS):
    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        super().__init__(disk.name, "")

    def xOpen(self, name, flags) -> _File:
        return _File(self._disk, "", name, flags)

    def xDelete(self, filename, sync_directory) -> None:
        super().xDelete(filename, sync_directory)
        self._disk.durable.pop(filename, None)
        self._disk.unsynced.pop(filename, None)


@contextmanager
def faulty_disk() -> Iterator[Disk]:
    disk = Disk()
    vfs = _Vfs(disk)
    try:
        yield disk
    finally:
        vfs.unregister()


def fails_at(step: str, kind: str, number: int, *, times: int = 1) -> Fault:
    """Fail the `number`-th such step from now on (the first is 1), and those after it up to `times`."""
    seen = count(1)

    def fault(happened: str, on: str) -> bool:
        return (happened, on) == (step, kind) and number <= next(seen) < number + times

    return fault
