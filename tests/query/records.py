"""Records as ingestion leaves them, made from small descriptions."""

from typing import Any

from atp.engine.codec import pack
from atp.kernel import canonical
from atp.kernel.clock import format_us
from atp.kernel.hashing import sha256
from atp.streams.model import NewRecord

T0 = 1_795_000_000_000_000
SEALED = {"~sealed": "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"}


def content(
    *,
    actor: str = "u-1",
    action: str = "document.read",
    resource: str = "doc-1",
    occurred: int = 0,
    level: str = "public",
    findings: list[list[str]] | None = None,
    **members: Any,
) -> dict[str, Any]:
    """Return a content; `occurred` is in seconds after T0, further keywords replace or add members."""
    return {
        "action": {"name": action},
        "actor": {"type": "user", "id": actor},
        "classification": {"findings": findings or [], "level": level},
        "kind": "audit",
        "occurredAt": format_us(T0 + occurred * 1_000_000),
        "outcome": "success",
        "policy": {"retentionDays": 365, "rule": "default", "version": "builtin-1"},
        "resource": {"type": "document", "id": resource},
        "salt": "A" * 22,
        "schema": {"name": "audit-event", "version": "1"},
        "type": "audit_event.received",
        **members,
    }


def record(value: dict[str, Any], stream: str | None = None) -> NewRecord:
    """Return the record of a content."""
    raw = canonical.encode(value)
    name = stream or f"{value['resource']['type']}/{value['resource']['id']}"
    return NewRecord(name, raw, sha256(raw), pack(raw))
