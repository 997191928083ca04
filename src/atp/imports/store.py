"""What an import leaves on disk: a checkpoint for each source, and the reject file beside the source.

Owner: the importing process. Order at each acknowledged batch: rejects to disk, then the checkpoint. A crash
in between leaves rejects that the checkpoint does not know of; they are cut off and written again. A crash
before both leaves events that are stored but not noted; they are sent again and recognised by their keys.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from atp.imports.model import Checkpoint, Reject

_encode = msgspec.json.Encoder().encode


class Checkpoints:
    """One small JSON file a source, replaced atomically."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def load(self, source_id: str) -> Checkpoint | None:
        """Return where the source's import stands; None if it was never begun or the file is not readable.

        A checkpoint is a saving of time, not the guard against duplicates: without it all is sent again.
        """
        try:
            return msgspec.json.decode((self._directory / f"{source_id}.json").read_bytes(), type=Checkpoint)
        except (OSError, msgspec.MsgspecError):
            return None

    def save(self, source_id: str, checkpoint: Checkpoint) -> None:
        """Replace the checkpoint durably."""
        self._directory.mkdir(parents=True, exist_ok=True)
        fresh = self._directory / f"{source_id}.json.new"
        with fresh.open("wb") as file:
            file.write(_encode(checkpoint))
            file.flush()
            os.fsync(file.fileno())
        # A crash here leaves the old checkpoint and a stray file, which the next save overwrites.
        fresh.replace(self._directory / f"{source_id}.json")
        folder = os.open(self._directory, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


class RejectFile:
    """JSON lines, one a rejected line of the source; made when the first one comes."""

    def __init__(self, path: Path, kept_bytes: int) -> None:
        self.path = path
        self.size_bytes = kept_bytes
        if kept_bytes and path.exists() and path.stat().st_size >= kept_bytes:
            os.truncate(path, kept_bytes)
        else:
            self.size_bytes = 0
            path.unlink(missing_ok=True)

    def add(self, rejects: list[Reject]) -> None:
        """Append durably."""
        if not rejects:
            return
        with self.path.open("ab") as file:
            for reject in rejects:
                self.size_bytes += file.write(_encode(reject) + b"\n")
            file.flush()
            os.fsync(file.fileno())
