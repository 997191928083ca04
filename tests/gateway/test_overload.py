"""What the edge does when more comes than it can hold (ING-07): it says so, and stays up."""

from __future__ import annotations

import asyncio

import pytest

from atp.gateway import application
from atp.ingestion.api import PREPARING_MAX, Room
from atp.kernel.errors import Problem
from atp.specs import load


def test_events_beyond_what_the_pipeline_may_hold_are_refused_until_some_are_done() -> None:
    """ING-07: 503 with Retry-After, and the room is given back."""
    room = Room()
    with room.for_events(PREPARING_MAX):
        with pytest.raises(Problem) as refused, room.for_events(1):
            pass
        assert (refused.value.code, refused.value.retry_after) == ("OVERLOADED", 1.0)
    with room.for_events(1):
        pass


def test_a_lone_batch_is_never_too_large_for_an_empty_room() -> None:
    """ING-07: what the contract allows is taken when nothing else waits."""
    with Room().for_events(PREPARING_MAX + 1):
        pass


def test_large_bodies_beyond_the_places_are_refused_and_places_come_back() -> None:
    """ING-07: bodies that arrive slowly cannot fill the memory."""
    gateway = asyncio.run(_gateway())
    operation = load().operations["ingestAuditEventBatch"]
    held = [gateway._room(operation) for _ in range(application.LARGE_BODIES_MAX)]
    for room in held:
        room.__enter__()
    with pytest.raises(Problem) as refused, gateway._room(operation):
        pass
    assert refused.value.code == "OVERLOADED"
    with gateway._room(load().operations["ingestAuditEvent"]):
        pass
    for room in held:
        room.__exit__(None, None, None)
    with gateway._room(operation):
        pass


async def _gateway() -> application.Gateway:
    """A gateway without routes: only its bounds are looked at."""
    return application.Gateway(
        application.Routes(),
        authentication=None,  # type: ignore[arg-type]
        tenancy=None,  # type: ignore[arg-type]
        limits=application.RateLimits(),
    )
