"""Structured log lines, metrics and spans. Nothing personal goes in: ids, counts, codes and durations only.

Logs go to standard error through structlog, one wide line per unit of work; metrics to one Prometheus
registry; spans through the OpenTelemetry API, which does nothing until an SDK is installed.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Final

from opentelemetry import trace
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


@contextmanager
def _hidden(name: str) -> Iterator[None]:
    """Let an optional import fail: structlog would load rich, a quarter of the start and 10 MB, for tracebacks
    that show local variables, which may never be in a log.
    """
    known = sys.modules.get(name)
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[name]
        if known is not None:
            sys.modules[name] = known


with _hidden("rich"):
    import structlog

REGISTRY: Final = CollectorRegistry()
"""The process's metrics; /metrics serves it."""

LATENCY_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)

EVENTS: Final = Counter("atp_events", "Audit events by outcome.", ["outcome"], registry=REGISTRY)
APPEND_SECONDS: Final = Histogram(
    "atp_append_seconds",
    "From queueing records to their durable commit.",
    buckets=LATENCY_BUCKETS,
    registry=REGISTRY,
)
QUEUE_RECORDS: Final = Gauge(
    "atp_append_queue_records", "Records waiting for their transaction.", registry=REGISTRY
)
CHECKPOINTS: Final = Counter("atp_checkpoints", "Checkpoints signed.", registry=REGISTRY)
INTEGRATION_LAG: Final = Gauge(
    "atp_integration_lag_records", "Committed records not yet under a checkpoint.", registry=REGISTRY
)
VERIFICATIONS: Final = Counter(
    "atp_verifications", "Verifications finished, by result.", ["result"], registry=REGISTRY
)


def configure(*, level: str, form: str) -> None:
    """Set up log lines for the process; `form` is json, console or auto."""
    console = form == "console" or (form == "auto" and sys.stderr.isatty())
    renderer: Any = (
        structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
        if console
        else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    logging.getLogger().handlers[:] = [_Libraries(logging.WARNING)]


class _Libraries(logging.Handler):
    """Brings what libraries say into our form: the sentence they wrote, without what they would put into it."""

    def emit(self, record: logging.LogRecord) -> None:
        kind = record.exc_info[0] if record.exc_info else None
        logger().log(
            record.levelno,
            "library",
            library=record.name,
            said=str(record.msg),
            exception=kind.__qualname__ if kind else None,
        )


def logger() -> Any:
    """Return the process's structured logger."""
    return structlog.get_logger()


def tracer() -> trace.Tracer:
    """Return the OpenTelemetry tracer of ATP."""
    return trace.get_tracer("atp")


def step(name: str, **attributes: int | str) -> AbstractContextManager[trace.Span]:
    """Start a span for one step of a unit of work, below the current span; nothing without an OpenTelemetry SDK."""
    if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        return nullcontext(trace.INVALID_SPAN)
    return tracer().start_as_current_span(name, attributes=attributes, record_exception=False)
