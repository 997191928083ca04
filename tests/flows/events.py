"""Audit events for the flows, and how a test finds out that it has waited long enough."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")
WAIT_SECONDS_MAX = 30.0
POLL_SECONDS = 0.02


def event(number: int = 1, **changes: Any) -> dict[str, Any]:
    """Return a valid event; `changes` replace members, None takes one away."""
    given: dict[str, Any] = {
        "occurredAt": "2026-01-15T10:00:00Z",
        "actor": {"type": "user", "id": f"u-{number % 10}"},
        "action": {"name": "document.read"},
        "resource": {"type": "document", "id": f"doc-{number % 7}"},
        "payload": {"number": number},
    } | changes
    return {name: value for name, value in given.items() if value is not None}


def until(ask: Callable[[], T], *, seconds: float = WAIT_SECONDS_MAX) -> T:
    """Ask until the answer is truthy, and return it; AssertionError when that takes too long."""
    end = time.monotonic() + seconds
    while not (answer := ask()):
        assert time.monotonic() < end, f"not within {seconds} s: {ask}"
        time.sleep(POLL_SECONDS)
    return answer


def every_event(client: Any, **query: Any) -> Iterator[dict[str, Any]]:
    """Yield all records that match, oldest first, through the list and its cursors."""
    asked = {"limit": 1000, "orderBy": "recordedAt", **query}
    while True:
        answer = client.call("listAuditEvents", query=asked)
        assert answer.status == 200, answer.content
        page = answer.json
        yield from page["items"]
        cursor = page["page"]["nextCursor"]
        if not cursor:
            return
        asked["cursor"] = cursor
