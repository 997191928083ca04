"""The catalogue of error codes, from contracts/errors.yaml: each with its status, its title, and what the caller
can do. The one place that other code asks; nobody writes a status down twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

from atp.specs.loading import documents


@dataclass(frozen=True, slots=True)
class ErrorEntry:
    """What a code means. `description` says what the caller can do; `retryable`, whether to simply repeat."""

    code: str
    status: int
    title: str
    description: str
    retryable: bool


@lru_cache(maxsize=1)
def catalogue() -> Mapping[str, ErrorEntry]:
    """Return every code with its entry, in the order of the file."""
    return MappingProxyType(
        {code: ErrorEntry(code=code, **entry) for code, entry in documents().errors.items()}
    )
