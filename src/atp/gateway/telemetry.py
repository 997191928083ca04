"""What the edge tells its operators: one wide log line and a few metrics per request (OBS-01 to 03).

No query string, no address, no user agent and no name goes into either; a principal is named by an id that
identifies no person.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, Span, SpanContext, SpanKind, TraceFlags
from prometheus_client import Counter, Gauge, Histogram

from atp.engine.telemetry import LATENCY_BUCKETS, REGISTRY, logger, tracer
from atp.web.request import Correlation

__all__ = ["IN_FLIGHT", "Meters", "logger", "span"]

_BY_STATUS = ["operation", "status"]
_BY_OPERATION = ["operation"]
REQUESTS = Counter("atp_http_requests", "HTTP requests answered.", _BY_STATUS, registry=REGISTRY)
SECONDS = Histogram(
    "atp_http_request_seconds",
    "Time to answer an HTTP request.",
    _BY_OPERATION,
    buckets=LATENCY_BUCKETS,
    registry=REGISTRY,
)
IN_FLIGHT = Gauge("atp_http_requests_in_flight", "HTTP requests being answered.", registry=REGISTRY)
RECEIVED = Counter(
    "atp_http_received_bytes", "Bytes of request bodies received.", _BY_OPERATION, registry=REGISTRY
)
SENT = Counter("atp_http_sent_bytes", "Bytes of response bodies sent.", _BY_OPERATION, registry=REGISTRY)


def span(name: str, correlation: Correlation) -> AbstractContextManager[Span]:
    """Start the server's span under the caller's, current for everything that the request does.

    Without an OpenTelemetry SDK there is nothing to record, and the machinery of spans is left out.
    """
    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        return nullcontext(trace.INVALID_SPAN)
    parent = None
    if correlation.parent_id is not None:
        remote = SpanContext(
            int(correlation.trace_id, 16),
            int(correlation.parent_id, 16),
            is_remote=True,
            trace_flags=TraceFlags(1),
        )
        parent = trace.set_span_in_context(NonRecordingSpan(remote))
    return tracer().start_as_current_span(name, context=parent, kind=SpanKind.SERVER, record_exception=False)


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
