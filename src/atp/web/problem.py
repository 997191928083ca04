"""The one error format: RFC 9457 problem details and the `error` member in one body (API-10).

Nothing personal leaves here: values of actor, context and payload are not echoed, others are cut.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Protocol

from atp.kernel.clock import format_us
from atp.kernel.errors import MISSING, Detail, Problem

MEDIA_TYPE = "application/problem+json"
VALUE_LENGTH_MAX = 64
"""Characters of an offending value that are echoed: enough to recognise it, too few to leak a document."""
DETAILS_MAX = 100
"""Violations listed in one answer; a batch can have thousands of them."""
_PERSONAL_FIELD = re.compile(r"(?:^|[./\]])(?:actor|context|payload)(?:$|[./\[])")


class CatalogueEntry(Protocol):
    """What the catalogue (contracts/errors.yaml) says of a code."""

    @property
    def status(self) -> int: ...
    @property
    def title(self) -> str: ...
    @property
    def retryable(self) -> bool: ...


def document(problem: Problem, entry: CatalogueEntry, *, trace_id: str, now_us: int) -> dict[str, Any]:
    """Return the body that tells the caller of `problem`, as the contract's `Problem` schema has it."""
    message = problem.message or entry.title
    extra: Mapping[str, Any] = problem.extra
    return {
        "type": f"urn:atp:error:{problem.code}",
        "title": entry.title,
        "status": entry.status,
        "detail": message,
        "instance": f"urn:trace:{trace_id}",
        "retryable": entry.retryable,
        **extra,
        "error": {
            "code": problem.code,
            "message": message,
            "details": [_detail(detail) for detail in problem.details[:DETAILS_MAX]],
            "traceId": trace_id,
            "timestamp": format_us(now_us),
        },
    }


def _detail(detail: Detail) -> dict[str, Any]:
    shown: dict[str, Any] = {"field": detail.field, "issue": detail.issue}
    value = detail.value
    if value is MISSING or _PERSONAL_FIELD.search(detail.field):
        return shown
    if value is None or isinstance(value, bool | int | float):
        shown["value"] = value
    else:
        text = value if isinstance(value, str) else repr(value)
        shown["value"] = text if len(text) <= VALUE_LENGTH_MAX else text[: VALUE_LENGTH_MAX - 1] + "…"
    return shown
