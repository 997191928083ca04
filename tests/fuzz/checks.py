"""What schemathesis loads beside the contract: our media type, and what may refuse a request that its schema allows.

It is loaded into the process of the command, through SCHEMATHESIS_HOOKS, and knows nothing of the server's code.
"""

from __future__ import annotations

import json
from typing import Any

import schemathesis
from schemathesis import Case, CheckContext, GenerationMode, Response, SerializationContext

BEYOND_THE_SCHEMA = {
    "CURSOR_INVALID": "A cursor is signed; none that is generated was made by this server.",
    "CURSOR_MISMATCH": "A cursor belongs to one query.",
    "QUERY_INVALID": "The search language has a grammar that no JSON Schema can say.",
    "TIMESTAMP_IN_FUTURE": "What is too far ahead depends on the clock.",
    "RESERVED_KEY": "Keys that begin with ~ are refused at any depth of open objects.",
    "INVALID_CHARACTER": "NUL is refused at any depth of open objects.",
    "JSON_TOO_DEEP": "Depth is no keyword of JSON Schema.",
    "EVENT_TOO_LARGE": "Bytes are no keyword of JSON Schema.",
    "BATCH_REJECTED": "An atomic batch is refused for its events' sake, for example a used idempotency key.",
    "TENANT_REQUIRED": "It depends on the credential.",
}
"""Code → why a request that satisfies every schema may still be refused with it."""
BEYOND_THE_SCHEMA_FIELDS = {
    ("expiresAt", "must lie in the future"): "It depends on the clock.",
    ("keyId", "must be a working key"): "It depends on what happened to the key.",
    ("overlapSeconds", "3 older keys sign still"): "It depends on earlier rotations.",
    ("offset", ""): "It excludes a cursor.",
    ("cursor", ""): "It excludes an offset.",
    ("idempotencyKey", ""): "Header and member must agree.",
    ("rateLimits", ""): "Only operations of the contract have limits.",
}
"""(field, beginning of the issue) → why, for VALIDATION_FAILED."""


@schemathesis.serializer("application/x-ndjson")
def _lines(_context: SerializationContext, value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogatepass")


@schemathesis.check
def valid_requests_are_served(_context: CheckContext, response: Response, case: Case) -> None:
    """A request that satisfies the contract is refused only for a reason that no schema can hold."""
    meta = case.meta
    if meta is None or meta.generation.mode != GenerationMode.POSITIVE:
        return
    if response.status_code < 400 or response.status_code in (401, 403, 404, 409, 429):
        return
    error = json.loads(response.content)["error"]
    if error["code"] in BEYOND_THE_SCHEMA:
        return
    path = set(case.path_parameters or {})
    for detail in error["details"]:
        field, issue = detail["field"].partition(".")[0].partition("[")[0], detail["issue"]
        if field in path and meta.phase.name.value == "stateful":
            return  # It guesses ids from addresses, such as `search` from /audit-events/search.
        if any(field == name and issue.startswith(text) for name, text in BEYOND_THE_SCHEMA_FIELDS):
            return
    raise AssertionError(f"a valid request was refused: {error['code']} {error['details']}")
