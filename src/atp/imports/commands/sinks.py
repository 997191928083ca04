"""Where events go: the batch API over HTTP, or a function in this process.

Both promise what `Sink` says: answers in order, durable when given, and a repeat only where it is harmless.
"""

from __future__ import annotations

import contextlib
import http.client
import math
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import SplitResult, urlsplit

import msgspec

from atp.imports.model import Answer, SinkUnavailable
from atp.kernel.clock import monotonic
from atp.kernel.randomness import random_bytes

BATCH_PATH = "/api/v1/audit-events/batch"

REQUEST_SECONDS_MAX = 60.0
"""A durable batch takes well under a second; after a minute the connection is taken for dead."""

GIVE_UP_SECONDS = 300.0
"""So long without a single success, and the import stops: running it again goes on from there."""

DELAY_SECONDS_FIRST, DELAY_SECONDS_MAX = 0.2, 15.0
RETRY_AFTER_SECONDS_MAX = 120.0
_PASSING = {408, 429, 500, 502, 503, 504}
_ABOUT_AN_EVENT = {400, 409, 413, 422, 500}
"""Statuses of a whole batch that one event in it may have caused; all others concern the import as such."""

_FAULTS_MAX = 3
"""A 500 may be an event that meets a bug: after so many it is looked for, instead of stopping everything."""


class _ItemError(msgspec.Struct):
    code: str = "REJECTED"
    message: str = ""
    details: list[dict[str, Any]] = []


class _Item(msgspec.Struct):
    status: str
    error: _ItemError | None = None


class _Verdicts(msgspec.Struct):
    results: list[_Item]


class _Refusal(msgspec.Struct):
    error: _ItemError


class CallableSink:
    """Hands batches to a function: for the sample at the first start, and for tests."""

    def __init__(self, function: Callable[[Sequence[bytes]], Sequence[Answer]]) -> None:
        self._function = function

    def send(self, batch: Sequence[bytes]) -> Sequence[Answer]:
        """Call the function."""
        return self._function(batch)

    def close(self) -> None:
        """Nothing is held."""


class HttpSink:
    """Posts batches over one kept connection; waits out 429, 503 and lost connections.

    State: the connection belongs to whoever holds `_using`; `close` from outside only wakes the holder.
    """

    def __init__(self, server: str, key: str, *, tenant: str | None = None) -> None:
        self._server = _split(server)
        self._headers = {"Authorization": f"Bearer {key}", "Content-Type": "application/x-ndjson"}
        if tenant:
            self._headers["X-Tenant-Id"] = tenant
        self._connection: http.client.HTTPConnection | None = None
        self._closed = threading.Event()
        self._using = threading.Lock()

    def send(self, batch: Sequence[bytes]) -> Sequence[Answer]:
        """Deliver the batch; one that is refused as a whole is halved until the event at fault stands alone."""
        with self._using:
            try:
                return self._deliver(batch) if batch else []
            finally:
                if self._closed.is_set():
                    self._drop()

    def _deliver(self, batch: Sequence[bytes]) -> Sequence[Answer]:
        status, body = self._post(b"\n".join(batch))
        if status == 200:
            verdicts = _decoded(body, _Verdicts)
            if verdicts is None or len(verdicts.results) != len(batch):
                raise SinkUnavailable(
                    f"{self._server.netloc} did not answer as the batch API does. Is it ATP?"
                )
            return [_answer(item) for item in verdicts.results]
        refusal = _decoded(body, _Refusal)
        error = refusal.error if refusal else _ItemError(f"HTTP_{status}", "")
        if status not in _ABOUT_AN_EVENT or refusal is None:
            raise SinkUnavailable(f"The server refuses the import: {error.code} {error.message}".rstrip())
        if len(batch) == 1:
            return [Answer("rejected", error.code, _explained(error))]
        half = len(batch) // 2
        return [*self._deliver(batch[:half]), *self._deliver(batch[half:])]

    def close(self) -> None:
        """End waiting and the connection; a request under way fails with SinkUnavailable."""
        self._closed.set()
        if self._using.acquire(blocking=False):
            self._drop()
            self._using.release()
        elif (connection := self._connection) is not None and connection.sock is not None:
            with contextlib.suppress(OSError):
                # Closing would leave the other thread waiting in recv; shutting down wakes it.
                connection.sock.shutdown(socket.SHUT_RDWR)

    def _post(self, body: bytes) -> tuple[int, bytes]:
        """Return the first answer that is not a passing failure."""
        begun, attempt = monotonic(), 0
        while True:
            try:
                status, answer, wait = self._once(body)
                why = f"it answers {status}"
            except (OSError, http.client.HTTPException) as error:
                # Whether the batch was stored is unknown; its keys make sending it again safe.
                self._drop()
                status, answer, wait, why = 503, b"", None, str(error) or type(error).__name__
            if status not in _PASSING or (status == 500 and attempt >= _FAULTS_MAX):
                return status, answer
            delay = wait if wait is not None else _backoff(attempt)
            attempt += 1
            if monotonic() - begun + delay > GIVE_UP_SECONDS:
                raise SinkUnavailable(
                    f"{self._server.netloc} does not take events: {why}. Run the import again later."
                )
            if self._closed.wait(delay):
                raise SinkUnavailable("The import was interrupted.")

    def _once(self, body: bytes) -> tuple[int, bytes, float | None]:
        connection = self._connection or self._connect()
        connection.request("POST", self._server.path.rstrip("/") + BATCH_PATH, body, self._headers)
        response = connection.getresponse()
        answer = response.read()
        if response.will_close:
            self._drop()
        return response.status, answer, _retry_after(response.getheader("Retry-After"))

    def _connect(self) -> http.client.HTTPConnection:
        if self._closed.is_set():
            raise SinkUnavailable("The import was interrupted.")
        host, port = self._server.hostname or "", self._server.port
        if self._server.scheme == "https":
            context = ssl.create_default_context()
            self._connection = http.client.HTTPSConnection(
                host, port, timeout=REQUEST_SECONDS_MAX, context=context
            )
        else:
            self._connection = http.client.HTTPConnection(host, port, timeout=REQUEST_SECONDS_MAX)
        return self._connection

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _split(server: str) -> SplitResult:
    parts = urlsplit(server)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise SinkUnavailable(f"{server} is not the address of a server; write it as http://127.0.0.1:8080.")
    return parts


def _decoded(body: bytes, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(body, type=kind)
    except msgspec.MsgspecError:
        return None


def _answer(item: _Item) -> Answer:
    if item.status in {"accepted", "duplicate"}:
        return Answer(item.status)  # type: ignore[arg-type]  # The set is the literal's.
    error = item.error or _ItemError()
    return Answer("rejected", error.code, _explained(error))


def _explained(error: _ItemError) -> str:
    details = "; ".join(f"{detail.get('field')}: {detail.get('issue')}" for detail in error.details)
    return f"{error.message} {details}".strip()


def _retry_after(header: str | None) -> float | None:
    # The date form of RFC 9110 would need both clocks to agree; our server sends seconds.
    try:
        seconds = float(header or "")
    except ValueError:
        return None
    return (
        min(max(seconds, 0.0), RETRY_AFTER_SECONDS_MAX) * (1 + _fraction() / 10)
        if math.isfinite(seconds)
        else None
    )


def _backoff(attempt: int) -> float:
    """Return a delay drawn from the upper half of a doubling range, so that clients do not come back together."""
    ceiling = min(DELAY_SECONDS_MAX, DELAY_SECONDS_FIRST * 2.0 ** min(attempt, 16))
    return float(ceiling * (0.5 + _fraction() / 2))


def _fraction() -> float:
    return int.from_bytes(random_bytes(4), "big") / 2.0**32
