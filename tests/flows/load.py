"""Producers that never stop sending, and the comparison of what they were told with what is there."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.client import Client
from tests.flows.events import event, every_event
from tests.server import Server


@dataclass
class Producers:
    """Each worker sends events with keys of its own, alone and in batches, until the server is gone or `stop`.

    An event without an answer is sent again after the next start, with the same key, as a real producer does.
    """

    server: Server
    workers: int = 4
    name: str = "load"
    acknowledged: dict[str, str] = field(default_factory=dict)
    sent: Counter[int] = field(default_factory=Counter)
    repeated: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _enough: threading.Condition = field(default_factory=threading.Condition)
    _stopping: threading.Event = field(default_factory=threading.Event)
    _running: list[Future[None]] = field(default_factory=list)

    def start(self, *servers: Server) -> None:
        """Begin sending, spread over `servers` or to the one."""
        self._stopping.clear()
        targets = servers or (self.server,)
        key = self.server.admin_key
        self._pool = ThreadPoolExecutor(self.workers)
        self._running = [
            self._pool.submit(self._produce, worker, targets[worker % len(targets)].url, key)
            for worker in range(self.workers)
        ]

    def wait_for(self, count: int) -> None:
        """Return when so many more events were acknowledged."""
        with self._enough:
            target = len(self.acknowledged) + count
            reached = self._enough.wait_for(
                lambda: len(self.acknowledged) >= target or all(w.done() for w in self._running), 60
            )
        for worker in self._running:
            if worker.done():
                worker.result()
        assert reached and len(self.acknowledged) >= target, "the producers came to a halt"

    def stop(self) -> None:
        """End the workers; an error that was no broken connection is raised here."""
        self._stopping.set()
        for worker in self._running:
            worker.result(60)
        self._pool.shutdown()

    def _produce(self, worker: int, url: str, key: str) -> None:
        client = Client(url, api_key=key)
        try:
            while not self._stopping.is_set():
                number = self.sent[worker]
                count = 1 if number % 3 else 25
                if not self._send(client, worker, range(number, number + count)):
                    return
                self.sent[worker] = number + count
        except httpx.TransportError:
            return  # Killed; what is unanswered is sent again after the next start.
        finally:
            client.close()

    def _send(self, client: Client, worker: int, numbers: range) -> bool:
        keys = [f"{self.name}-{worker}-{number}" for number in numbers]
        events = [
            event(number, idempotencyKey=key, stream=f"{self.name}/{worker}")
            for key, number in zip(keys, numbers, strict=True)
        ]
        if len(events) == 1:
            answer = client.call("ingestAuditEvent", json=events[0])
            results: list[dict[str, Any]] = [answer.json] if answer.status < 300 else []
        else:
            answer = client.call("ingestAuditEventBatch", json={"events": events})
            results = answer.json["results"] if answer.status == 200 else []
        if not results:
            assert answer.status in (503, 504), answer.content
            return False
        with self._enough:
            for key, result in zip(keys, results, strict=True):
                assert result["status"] in ("accepted", "duplicate"), result
                self.repeated += result["status"] == "duplicate"
                assert self.acknowledged.setdefault(key, result["id"]) == result["id"]
            self._enough.notify_all()
        return True


def check_nothing_lost(server: Server, producers: Producers) -> None:
    """Everything acknowledged is there exactly once, positions have no gap, streams no hole, and the log verifies.

    Read from the log by `atp verify`, and from the search model by the list.
    """
    size = server.size()
    records = list(every_event(server.admin, waitForPosition=size - 1, waitTimeout=10_000))
    assert [record["position"] for record in records] == list(range(size))
    ids = Counter(record["id"] for record in records)
    assert max(ids.values()) == 1
    assert set(producers.acknowledged.values()) <= set(ids)
    for worker in range(producers.workers):
        own = [r for r in records if r["stream"] == f"{producers.name}/{worker}"]
        assert [r["streamVersion"] for r in own] == list(range(1, len(own) + 1))
        numbers = [r["payload"]["number"] for r in own]
        assert len(numbers) == len(set(numbers)), "an event is there twice"
    told = server.atp("verify")
    assert "verified" in told.lower(), told
