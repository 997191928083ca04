"""What ties requests together: correlation id, request id, and W3C trace context (API-09, OBS-01).

Sources: https://www.w3.org/TR/trace-context/ section 3.2. A malformed `traceparent` is ignored, as it asks.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from atp.kernel.randomness import random_bytes
from atp.web.request import Correlation

_TEXT = re.compile(r"[^\x00-\x1f\x7f-\x9f]{1,128}")
_TRACEPARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_NO_TRACE = "0" * 32
_NO_SPAN = "0" * 16


def correlate(headers: Mapping[str, str]) -> Correlation:
    """Return the caller's identifiers where they are well formed, and new ones where they are not."""
    trace_id, parent_id = parse_traceparent(headers.get("traceparent"))
    if trace_id is None:
        trace_id = random_bytes(16).hex()
    return Correlation(
        correlation_id=_text(headers.get("x-correlation-id")) or trace_id,
        request_id=_text(headers.get("x-request-id")),
        trace_id=trace_id,
        parent_id=parent_id,
    )


def parse_traceparent(header: str | None) -> tuple[str | None, str | None]:
    """Return trace id and parent span id in hexadecimal, or two None for what is not a valid traceparent."""
    match = _TRACEPARENT.fullmatch(header.strip()) if header else None
    if match is None:
        return None, None
    version, trace_id, parent_id, _, rest = match.groups()
    # Version 00 has exactly four parts; later ones may add more; ff is not a version.
    if version == "ff" or (version == "00" and rest) or trace_id == _NO_TRACE or parent_id == _NO_SPAN:
        return None, None
    return trace_id, parent_id


def _text(header: str | None) -> str | None:
    return header if header is not None and _TEXT.fullmatch(header) else None
