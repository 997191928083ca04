"""Spans of the steps of a write, through the OpenTelemetry API alone: what an installed SDK would be told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from opentelemetry import trace

from atp.engine import telemetry


class _Recorded:
    """A provider and tracer in one, as small as the API allows."""

    def __init__(self) -> None:
        self.spans: list[tuple[str, dict[str, Any]]] = []

    def get_tracer(self, *_args: object, **_given: object) -> _Recorded:
        return self

    @contextmanager
    def start_as_current_span(self, name: str, *, attributes: dict[str, Any], **_: object) -> Iterator[None]:
        self.spans.append((name, attributes))
        yield


def test_a_step_is_a_span_with_counts_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """OBS-01, CLS-05: what is told of a batch is how many events it has."""
    recorded = _Recorded()
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: recorded)
    monkeypatch.setattr(trace, "get_tracer", recorded.get_tracer)
    with telemetry.step("ingest.append", events=3):
        pass
    assert recorded.spans == [("ingest.append", {"events": 3})]


def test_without_an_sdk_a_step_costs_no_span() -> None:
    """OBS-01: the API alone records nothing."""
    with telemetry.step("ingest.append", events=3) as span:
        assert not span.is_recording()
