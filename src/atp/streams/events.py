"""The form of a platform event: a fact about ATP itself, told as a record of the tenant's own log.

Contexts state their facts as a type, a resource and a payload; the canonical content to be hashed comes out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from atp.kernel import canonical
from atp.kernel.clock import format_us
from atp.kernel.randomness import random_salt

PLATFORM_SCHEMA: Final = {"name": "platform-event", "version": "1"}


def platform_content(
    *,
    type: str,
    actor: Mapping[str, Any],
    resource: Mapping[str, Any],
    payload: Mapping[str, Any],
    occurred_us: int,
    correlation: Mapping[str, str] | None = None,
    outcome: str = "success",
) -> bytes:
    """Return the content of a platform event: a fact about ATP itself, in the same form as an audit event."""
    content: dict[str, Any] = {
        "action": {"name": type},
        "actor": dict(actor),
        "classification": {"findings": [], "level": "internal"},
        "kind": "platform",
        "occurredAt": format_us(occurred_us),
        "outcome": outcome,
        "payload": dict(payload),
        "policy": {"retentionDays": None, "rule": "platform", "version": "builtin-1"},
        "resource": dict(resource),
        "salt": random_salt(),
        "schema": PLATFORM_SCHEMA,
        "type": type,
    }
    if correlation:
        content["correlation"] = dict(correlation)
    return canonical.encode(content)
