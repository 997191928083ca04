"""What the edge tells its operators: one wide log line and a few metrics per request (OBS-01 to 03).

No query string, no address, no user agent and no name goes into either; a principal is named by an id that
identifies no person.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import structlog
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, SpanKind, TraceFlags
from prometheus_client import Counter, Gauge, Histogram

from atp.web.request import Correlation

_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

REQUESTS = Counter("atp_http_requests_total", "HTTP requests answered.", ("operation", "status"))
SECONDS = Histogram(
    "atp_http_request_seconds", "Time to answer an HTTP request.", ("operation",), buckets=_BUCKETS
)
IN_FLIGHT = Gauge("atp_http_requests_in_flight", "HTTP requests being answered.")
RECEIVED = Counter("atp_http_received_bytes_total", "Bytes of request bodies received.", ("operation",))
SENT = Counter("atp_http_sent_bytes_total", "Bytes of response bodies sent.", ("operation",))

_tracer = trace.get_tracer("atp.gateway")


def logger() -> Any:
    """Return the structured logger of the edge."""
    return structlog.get_logger("atp.gateway")


def span(name: str, correlation: Correlation) -> AbstractContextManager[Span]:
    """Start the server's span under the caller's, current for everything that the request does.

    Without an OpenTelemetry SDK this costs nothing but the call, and the span records nothing.
    """
    parent = None
    if correlation.parent_id is not None:
        remote = SpanContext(
            int(correlation.trace_id, 16),
            int(correlation.parent_id, 16),
            is_remote=True,
            trace_flags=TraceFlags(1),
        )
        parent = trace.set_span_in_context(NonRecordingSpan(remote))
    return _tracer.start_as_current_span(name, context=parent, kind=SpanKind.SERVER, record_exception=False)


class Meters:
    """The metrics of one operation, looked up once at start instead of at every request."""

    __slots__ = ("_operation", "_received", "_requests", "_seconds", "_sent")

    def __init__(self, operation: str) -> None:
        self._operation = operation
        self._seconds = SECONDS.labels(operation)
        self._received = RECEIVED.labels(operation)
        self._sent = SENT.labels(operation)
        self._requests: dict[int, Counter] = {}

    def count(self, status: int, *, seconds: float, received: int, sent: int) -> None:
        """Count one answered request."""
        requests = self._requests.get(status)
        if requests is None:
            requests = self._requests[status] = REQUESTS.labels(self._operation, str(status))
        requests.inc()
        self._seconds.observe(seconds)
        if received:
            self._received.inc(received)
        if sent:
            self._sent.inc(sent)
