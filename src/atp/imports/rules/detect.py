"""Which format a source has, where its beginning leaves no doubt.

A wrong guess would fill the reject file or, worse, the log: what fits no format or two is not guessed.
"""

from __future__ import annotations

import re

from atp.imports.rules import cloudtrail, csv_rows, jsonl, windows

FORMATS = (jsonl.FORMAT, cloudtrail.FORMAT, windows.FORMAT, csv_rows.FORMAT)

_ARRAY = re.compile(rb'\s*(?:\[\s*\{|\{\s*"Records"\s*:\s*\[)')

_MARKS = {
    # Keys that the format's first record always has, and no other format's record does.
    jsonl.FORMAT: (b'"occurredAt"', b'"actor"', b'"resource"'),
    cloudtrail.FORMAT: (b'"eventSource"', b'"eventName"', b'"userIdentity"'),
    windows.FORMAT: (b'"EventID"', b'"Channel"', b'"SourceName"'),
}


def detect(head: bytes) -> str | None:
    """Return the one JSON format whose marks all stand in the beginning of the source, else None."""
    if not head.lstrip().startswith((b"{", b"[")):
        return None
    found = [name for name, marks in _MARKS.items() if all(mark in head for mark in marks)]
    return found[0] if len(found) == 1 else None


def is_array(head: bytes) -> bool:
    """Tell whether the records are elements of an array (CloudTrail's `Records`, or bare), not lines."""
    return _ARRAY.match(head) is not None
