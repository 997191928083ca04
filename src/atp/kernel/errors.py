"""Expected failures.

A `Problem` is a refusal that the caller can act on; its code stands in contracts/errors.yaml, which gives
the HTTP status, the title and whether a retry helps. Anything else that is raised is a bug.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


class Missing:
    """The type of `MISSING`: no value may be echoed, which is not the same as a null value."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING = Missing()


@dataclass(frozen=True, slots=True)
class Detail:
    """One violation: which field, what is wrong with it, and its value where it is not personal."""

    field: str
    issue: str
    value: object = MISSING


class Problem(Exception):
    """A catalogued refusal.

    `code` is a key of contracts/errors.yaml; `message` replaces the catalogue's title; `retry_after` is in
    seconds; `extra` holds further members for the problem document, such as the id of a first record.
    """

    def __init__(
        self,
        code: str,
        message: str | None = None,
        *,
        details: Sequence[Detail] = (),
        retry_after: float | None = None,
        extra: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message or code)
        self.code = code
        self.message = message
        self.details = tuple(details)
        self.retry_after = retry_after
        self.extra = dict(extra or {})
