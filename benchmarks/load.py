"""The load generator: a process of its own that costs next to nothing, so that the figures are the server's.

Requests are prebuilt bytes, connections are plain non-blocking sockets kept open, answers are only counted. It is
started by `LoadProcess`, is told what to send as one JSON line, says `ready`, begins at `go`, and answers with
one JSON line. While it runs, `hold` and `on` stop and resume the sending (requests in flight are answered).
"""

from __future__ import annotations

import json
import os
import re
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from itertools import cycle
from pathlib import Path
from typing import Final

from benchmarks.events import SECOND, EventMaker

POOL_BODIES: Final = 100
"""Batches that are built beforehand and sent in turn: 100,000 different events, then again with new times."""
POOL_SINGLES: Final = 20_000
RECEIVE_BYTES: Final = 1 << 18
ANSWER_SECONDS: Final = 60.0
"""Without any answer for so long, the run is broken off."""

_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)
_ACCEPTED = re.compile(rb'"accepted":(\d+)')


@dataclass(frozen=True, kw_only=True)
class Load:
    """What to send. It ends after `events` or after `seconds`, whichever is given."""

    ports: list[int]
    key: str
    connections: int
    batch: int
    """Events of one request; 0 for single events."""
    events: int = 0
    seconds: float = 0.0
    rate: float = 0.0
    """Events a second; 0 for as fast as they are taken."""
    keys: str = ""
    """Begins every event's idempotency key; empty for none."""
    seed: int = 1


@dataclass
class Outcome:
    """What came of it. `progress` holds (seconds since the first byte, events accepted so far) per answer."""

    sent: int = 0
    accepted: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    refused: list[str] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    progress: list[tuple[float, int]] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Events acknowledged a second."""
        return self.accepted / self.seconds


class LoadProcess:
    """The generator as the one who starts it sees it."""

    def __init__(self, load: Load) -> None:
        """Start it and wait until everything is built and connected."""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.load"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            cwd=Path(__file__).parents[1],
        )
        self._say(json.dumps(asdict(load)))
        if self._hear() != "ready":
            raise RuntimeError("the load generator did not start")
        self._holding = False

    def go(self) -> None:
        self._say("go")

    def hold(self, *, holding: bool) -> None:
        """Stop or resume the sending."""
        if holding != self._holding:
            self._holding = holding
            with suppress(BrokenPipeError):  # It may have come to its end this very moment.
                self._say("hold" if holding else "on")

    def finished(self) -> bool:
        assert self._process.stdout
        return bool(select.select([self._process.stdout], [], [], 0)[0])

    def result(self) -> Outcome:
        """Wait for the end; raises RuntimeError when anything sent was not accepted."""
        outcome = Outcome(**json.loads(self._hear()))
        self._process.wait(30)
        if outcome.refused or outcome.accepted != outcome.sent:
            raise RuntimeError(f"sent {outcome.sent}, accepted {outcome.accepted}: {outcome.refused[:3]}")
        return outcome

    def _say(self, line: str) -> None:
        assert self._process.stdin
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def _hear(self) -> str:
        assert self._process.stdout
        line = self._process.stdout.readline().strip()
        if not line:
            raise RuntimeError("the load generator ended without a word")
        return line


def run(load: Load) -> Outcome:
    """Send a load and wait for its end."""
    process = LoadProcess(load)
    process.go()
    return process.result()


# -- inside the process ------------------------------------------------------------------------------------


class _Channel:
    """One connection: the request on its way out, the answer on its way in."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        self.socket.setblocking(False)
        self.outgoing = memoryview(b"")
        self.incoming = bytearray()
        self.expected = -1
        self.started = 0.0
        self.busy = False

    def send(self, request: bytes) -> bool:
        """Begin a request; tell whether all of it is out."""
        self.outgoing, self.busy, self.started = memoryview(request), True, time.perf_counter()
        return self.flush()

    def flush(self) -> bool:
        with suppress(BlockingIOError):
            self.outgoing = self.outgoing[self.socket.send(self.outgoing) :]
        return not self.outgoing

    def receive(self) -> bytes | None:
        """Return the answer when it is complete."""
        piece = self.socket.recv(RECEIVE_BYTES)
        if not piece:
            raise ConnectionError("the server closed the connection")
        self.incoming += piece
        if self.expected < 0:
            end = self.incoming.find(b"\r\n\r\n")
            if end < 0:
                return None
            found = _LENGTH.search(self.incoming, 0, end + 2)
            self.expected = end + 4 + (int(found[1]) if found else 0)
        if len(self.incoming) < self.expected:
            return None
        answer, self.incoming, self.expected, self.busy = bytes(self.incoming), bytearray(), -1, False
        return answer


class _Commands:
    """Lines from the one who started us, read without waiting."""

    def __init__(self) -> None:
        self.holding = False

    def take(self) -> None:
        for line in os.read(sys.stdin.fileno(), 4096).split():
            self.holding = line == b"hold"


def _requests(load: Load) -> Iterator[bytes]:
    """Yield requests without end, each with the present second in its events."""
    path = b"/api/v1/audit-events/batch" if load.batch else b"/api/v1/audit-events"
    head = (
        b"POST %b HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer %b\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    )
    maker = EventMaker(load.seed)
    if load.batch:
        # With idempotency keys no body may be sent twice.
        wanted = -(-load.events // load.batch) if load.events else POOL_BODIES
        count = wanted if load.keys else min(wanted, POOL_BODIES * 1_000 // load.batch)
        bodies = list(maker.bodies(count, load.batch, keys=load.keys or None))
    else:
        bodies = [maker.event() for _ in range(POOL_SINGLES)]
    pool = [head % (path, load.key.encode(), len(body)) + body for body in bodies]
    yield b""  # Everything is built now.
    now, text = 0, b""
    for request in cycle(pool):
        if (second := int(time.time())) != now:
            now, text = second, time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second)).encode()
        yield request.replace(SECOND, text)


def _drive(load: Load, channels: list[_Channel], requests: Iterator[bytes]) -> Outcome:
    outcome, per_request = Outcome(), load.batch or 1
    poll, commands = select.epoll(), _Commands()
    by_number = {channel.socket.fileno(): channel for channel in channels}
    poll.register(sys.stdin.fileno(), select.EPOLLIN)
    for number in by_number:
        poll.register(number, select.EPOLLIN)
    idle = list(channels)
    begun, cpu = time.perf_counter(), time.process_time()
    last_answer = begun

    def over(now: float) -> bool:
        return outcome.sent >= load.events if load.events else now - begun >= load.seconds

    def due(now: float) -> float:
        """Return how long until the next request may be sent; negative when it is late."""
        return outcome.sent / load.rate - (now - begun) if load.rate else 0.0

    while True:
        now = time.perf_counter()
        while idle and not commands.holding and not over(now) and due(now) <= 0:
            channel = idle.pop()
            outcome.sent += per_request
            if not channel.send(next(requests)):
                poll.modify(channel.socket.fileno(), select.EPOLLIN | select.EPOLLOUT)
            now = time.perf_counter()
        if over(now) and len(idle) == len(channels):
            break
        if now - last_answer > ANSWER_SECONDS and not commands.holding:
            outcome.refused.append("no answer for a minute")
            break
        for number, events in poll.poll(max(due(now), 0.0005) if idle and load.rate else 0.1):
            if number == sys.stdin.fileno():
                commands.take()
                continue
            channel = by_number[number]
            if events & select.EPOLLOUT and channel.flush():
                poll.modify(number, select.EPOLLIN)
            if events & select.EPOLLIN and (answer := channel.receive()) is not None:
                last_answer = time.perf_counter()
                _count(outcome, answer, batch=bool(load.batch))
                outcome.latencies.append(last_answer - channel.started)
                outcome.progress.append((last_answer - begun, outcome.accepted))
                idle.append(channel)
    outcome.seconds, outcome.cpu_seconds = last_answer - begun, time.process_time() - cpu
    return outcome


def _count(outcome: Outcome, answer: bytes, *, batch: bool) -> None:
    status = answer[9:12]
    if status == (b"200" if batch else b"201"):
        found = _ACCEPTED.search(answer) if batch else None
        outcome.accepted += int(found[1]) if found else 0 if batch else 1
    elif len(outcome.refused) < 5:
        outcome.refused.append(
            answer[:12].decode() + " " + answer[answer.find(b"\r\n\r\n") + 4 :][:300].decode()
        )


def main() -> None:
    """Serve one load, as `LoadProcess` tells it."""
    load = Load(**json.loads(sys.stdin.readline()))
    requests = _requests(load)
    next(requests)
    channels = [_Channel(load.ports[number % len(load.ports)]) for number in range(load.connections)]
    print("ready", flush=True)
    sys.stdin.readline()
    print(json.dumps(asdict(_drive(load, channels, requests))), flush=True)


if __name__ == "__main__":
    main()
