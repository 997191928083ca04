"""Pure decisions of ingestion: times, enrichment, the stream's name, and the content of the record.

An event that satisfies the contract goes in; what is returned is ready to be encoded and hashed. No input is
changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from atp.classification.model import Classification
from atp.ingestion.model import Batch, Locate, Origin
from atp.kernel.clock import format_us, normal_time
from atp.kernel.errors import Detail, Problem
from atp.policy.model import Verdict
from atp.streams.events import platform_content
from atp.streams.model import RESERVED_PREFIX, STREAM_LENGTH_MAX, Appended, Outcome

EVENT_SCHEMA: Final = {"name": "audit-event", "version": "1"}
EVENT_TYPE: Final = "audit_event.received"
BATCH_STREAM: Final = f"{RESERVED_PREFIX}ingestion/batches"
"""Where the platform records of batches go, one stream a tenant."""
_TIMES: Final = ("occurredAt", "observedAt", "effectiveAt")
_COPIED: Final = ("actor", "action", "resource", "context", "payload", "correlation")


def times(event: Mapping[str, Any], latest: str) -> dict[str, str]:
    """Return the event's times in the record's form.

    `latest` is the latest time that may have occurred or been observed, in that form too, so that two times
    compare as text; an effective time may lie beyond it. Raises VALIDATION_FAILED for what is no time and
    TIMESTAMP_IN_FUTURE.
    """
    found: dict[str, str] = {}
    for name in _TIMES:
        text = event.get(name)
        if text is None:
            continue
        try:
            normal = found[name] = normal_time(text)
        except (ValueError, OverflowError):
            raise Problem(
                "VALIDATION_FAILED", details=[Detail(name, "is not an RFC 3339 time", text)]
            ) from None
        if normal > latest and name != "effectiveAt":
            issue = "lies more than five minutes in the future"
            raise Problem("TIMESTAMP_IN_FUTURE", details=[Detail(name, issue, text)])
    return found


def enrich(event: dict[str, Any], origin: Origin, locate: Locate | None) -> tuple[dict[str, Any], int]:
    """Return the event with tenant facts, the request's trace and a location added, and how many keys that added.

    The input is not changed; what the producer said is never overwritten.
    """
    context: dict[str, Any] | None = event.get("context")
    added: dict[str, Any] = {}
    keys = 0
    if locate and context and "location" not in context and (ip := context.get("ip")):
        location = locate(ip)
        if location:
            added["location"] = location
            keys += len(location)
    if origin.region and not (context and "region" in context):
        added["region"] = origin.region
    if added:
        keys += len(added) + (context is None)
        event = {**event, "context": {**(context or {}), **added}}
    if origin.trace_id and not event.get("correlation"):
        keys += 1 + ("correlation" not in event)
        event = {**event, "correlation": {"traceId": origin.trace_id}}
    return event, keys


def stream_name(event: Mapping[str, Any]) -> str:
    """Return the stream of a protected event: as sent, or `{resource.type}/{resource.id}`.

    Raises VALIDATION_FAILED for a name that is reserved or too long.
    """
    stream: str | None = event.get("stream")
    if stream is None:
        resource = event["resource"]
        stream = f"{resource['type']}/{resource['id']}"
    if stream.startswith(RESERVED_PREFIX):
        issue = f"streams beginning with {RESERVED_PREFIX} belong to the platform"
        raise Problem("VALIDATION_FAILED", details=[Detail("stream", issue)])
    if len(stream) > STREAM_LENGTH_MAX:
        raise Problem(
            "VALIDATION_FAILED", details=[Detail("stream", f"is longer than {STREAM_LENGTH_MAX} characters")]
        )
    return stream


def content(
    event: Mapping[str, Any],
    when: Mapping[str, str],
    verdict: Verdict,
    classification: Classification,
    salt: str,
) -> dict[str, Any]:
    """Return the record's content for a protected event; `subject` is added when something is sealed."""
    result: dict[str, Any] = {
        "classification": {"findings": classification.rows(), "level": classification.level},
        "kind": "audit",
        "outcome": event.get("outcome") or verdict.outcome,
        "policy": {"retentionDays": verdict.retention_days, "rule": verdict.rule, "version": verdict.version},
        "salt": salt,
        "schema": event.get("schema") or EVENT_SCHEMA,
        "type": EVENT_TYPE,
        **when,
    }
    for name in _COPIED:
        value = event.get(name)
        if value is not None:
            result[name] = value
    return result


def idempotency_key(event: Mapping[str, Any], header: str | None, *, single: bool) -> str | None:
    """Return the event's idempotency key from body or header; of a single write they must not disagree."""
    sent: str | None = event.get("idempotencyKey")
    if single and sent and header and sent != header:
        issue = "differs from the Idempotency-Key header"
        raise Problem("VALIDATION_FAILED", details=[Detail("idempotencyKey", issue)])
    return sent or header


def batch_completed(batch: Batch, outcomes: Sequence[Outcome], now_us: int) -> bytes:
    """Return the content of the platform event that tells of a batch: how many, how they fared, how long (ING-06)."""
    started_us = batch.received_us or now_us
    duplicates = sum(isinstance(outcome, Appended) and outcome.duplicate for outcome in outcomes)
    accepted = sum(isinstance(outcome, Appended) for outcome in outcomes) - duplicates
    return platform_content(
        type="ingestion.batch_completed",
        actor={"type": "system", "id": "atp"},
        resource={"type": "ingestion", "id": "batches"},
        payload={
            "started_at": format_us(started_us),
            "duration_ms": max(0, now_us - started_us) // 1000,
            "received": len(batch.sent),
            "accepted": accepted,
            "duplicates": duplicates,
            "rejected": len(batch.sent) - accepted - duplicates,
        },
        occurred_us=now_us,
    )
