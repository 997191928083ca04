"""The loop that keeps the trees up with the logs: woken by commits, one checkpoint per interval and log.

A failure never ends it: it says what is wrong, keeps away from signing, and tries again.
"""

from __future__ import annotations

import asyncio
import threading
from typing import Final

from atp.engine import telemetry
from atp.engine.database import StorageUnavailable
from atp.integrity.commands.integration import STEP_RECORDS, Integrator
from atp.kernel.clock import monotonic

POLL_SECONDS_MIN: Final = 0.05
POLL_SECONDS_MAX: Final = 1.0
"""How often other processes' commits are looked for: soon after some came, seldom when none do."""
BACKOFF_SECONDS_MIN: Final = 0.1
BACKOFF_SECONDS_MAX: Final = 5.0
"""Between two attempts while something is wrong."""


class Advances:
    """Wakes requests that wait for a checkpoint. State: `_waiting`, guarded by `_lock`; any thread may announce."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting: dict[asyncio.Event, asyncio.AbstractEventLoop] = {}

    def announce(self) -> None:
        """Wake everyone who waits."""
        with self._lock:
            waiting, self._waiting = self._waiting, {}
        for event, loop in waiting.items():
            if not loop.is_closed():
                loop.call_soon_threadsafe(event.set)

    async def wait(self, seconds: float) -> None:
        """Return at the next announcement, or after so many seconds."""
        event = asyncio.Event()
        with self._lock:
            self._waiting[event] = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(seconds):
                await event.wait()
        except TimeoutError:
            pass
        finally:
            with self._lock:
                self._waiting.pop(event, None)


class IntegrationLoop:
    """Runs an integrator on a thread of its own. State: `failure` is written by that thread only."""

    def __init__(
        self, integrator: Integrator, *, interval_ms: int = 100, advances: Advances | None = None
    ) -> None:
        self._integrator = integrator
        self._interval = interval_ms / 1000
        self.advances = advances or Advances()
        self.failure: str | None = None
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="atp-integrate", daemon=True)

    def start(self) -> None:
        """Start integrating."""
        self._thread.start()

    def notify(self) -> None:
        """Say that something was committed; cheap, from any thread."""
        self._wake.set()

    @property
    def problem(self) -> str | None:
        """What keeps checkpoints from being signed, for health and readiness; None while all is well."""
        if self.failure:
            return self.failure
        refused = dict(self._integrator.refused)
        return "; ".join(f"{tenant}: {reason}" for tenant, reason in refused.items()) or None

    def stop(self, timeout_seconds: float = 10.0) -> None:
        """Integrate what is committed, if time allows, and end the thread."""
        self._stopping.set()
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout_seconds)

    def _run(self) -> None:
        idle, backoff = POLL_SECONDS_MIN, BACKOFF_SECONDS_MIN
        while not self._stopping.is_set():
            self._wake.clear()
            started = monotonic()
            count = self._step()
            if count is None:
                self._stopping.wait(backoff)
                backoff = min(backoff * 2, BACKOFF_SECONDS_MAX)
                continue
            backoff = BACKOFF_SECONDS_MIN
            if count:
                idle = POLL_SECONDS_MIN
                if count < STEP_RECORDS:  # A backlog is not made to wait for the interval.
                    self._stopping.wait(max(0.0, self._interval - (monotonic() - started)))
            else:
                self._wake.wait(idle)
                idle = min(idle * 2, POLL_SECONDS_MAX)
        # Everything acknowledged before the stop shall be under a checkpoint.
        while self._step():
            pass

    def _step(self) -> int | None:
        """Take one step; return how many records it integrated, None if it failed."""
        try:
            count = self._integrator.step()
        except StorageUnavailable as error:
            self._fail(f"the store is unavailable: {error}")
            return None
        except Exception as error:  # noqa: BLE001 - the loop outlives every failure and tells of it.
            self._fail(f"{type(error).__name__}: {error}")
            return None
        if self.failure:
            telemetry.logger().info("integration_recovered")
        self.failure = None
        if count:
            self.advances.announce()
        return count

    def _fail(self, reason: str) -> None:
        """Note what is wrong and forget what was remembered; the next step reads it from the store again."""
        if reason != self.failure:
            telemetry.logger().error("integration_failed", reason=reason)
        self.failure = reason
        self._integrator.forget()
