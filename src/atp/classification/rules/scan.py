"""One pass of a multi-pattern automaton over all strings of an event.

The automaton only points at suspects: each trigger fires rarely and once per place, and a reader then looks at
the string it fired in. Strings are joined by NUL, which none may contain, so no match spans two and counting
NULs gives the string's number.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import hyperscan


class Automaton:
    """A compiled set of triggers. The database is shared; each thread owns one scratch, made on first use.

    `Database.scan` releases the interpreter lock for the scan and takes it again for every match (read in the
    binding's source, measured in `benchmarks/detection.py`). So few matches are worth more than cheap
    patterns, and one event is scanned at a time: over a joined batch every match would be a chance to lose
    the lock to a busy thread for a whole switch interval, with a thousand events waiting.
    """

    def __init__(self, triggers: Sequence[tuple[str, bool]], extra_flags: int = 0, once: int = 0) -> None:
        """Compiles patterns, each with whether its case is free; the first `once` report one match at most."""
        flags = [extra_flags | (hyperscan.HS_FLAG_CASELESS if caseless else 0) for _, caseless in triggers]
        flags[:once] = [flag | hyperscan.HS_FLAG_SINGLEMATCH for flag in flags[:once]]
        self._database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
        self._database.compile(
            expressions=[pattern.encode() for pattern, _ in triggers],
            ids=list(range(len(triggers))),
            flags=flags,
        )
        self._local = threading.local()

    def hits(self, blob: bytes) -> list[tuple[int, int]]:
        """(end offset, trigger number) of every match, in order of offset."""
        try:
            scratch = self._local.scratch
        except AttributeError:
            scratch = self._local.scratch = hyperscan.Scratch(self._database)
        found: list[tuple[int, int]] = []
        self._database.scan(blob, _on_match, 0, found, scratch)
        if len(found) > 1:
            found.sort()
        return found


def _on_match(trigger: int, _start: int, end: int, _flags: int, found: Any) -> None:
    found.append((end, trigger))
