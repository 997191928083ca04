"""Stopping and starting: requests in flight are answered, nobody else gets the data, nothing is left behind."""

from __future__ import annotations

import json
import signal
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.client import Client
from tests.flows.events import event, every_event, until
from tests.server import Server

CLIENTS = 8


def test_a_stopping_server_answers_what_it_accepted(server: Server) -> None:
    """OPS-02, ING-07: under load every request ends with an answer or a refused connection; what was acknowledged is there.

    A request that began before SIGTERM is never cut off: the client sees no broken answer.
    """
    server.lift_limits()
    acknowledged: list[str] = []
    refused: list[httpx.TransportError] = []
    begun = threading.Semaphore(0)

    def produce(worker: int) -> None:
        client = Client(server.url, api_key=key)
        try:
            for number in range(100_000):
                try:
                    answer = client.call("ingestAuditEvent", json=event(number, stream=f"worker/{worker}"))
                except (
                    httpx.TransportError
                ) as error:  # The server is gone, or was about to close the connection.
                    refused.append(error)
                    return
                if answer.status == 503:
                    assert answer.code == "SHUTTING_DOWN"
                    return
                assert answer.status == 201, answer.content
                acknowledged.append(answer.json["id"])
                begun.release()
        finally:
            client.close()

    key = server.admin_key
    with ThreadPoolExecutor(CLIENTS) as pool:
        workers = [pool.submit(produce, worker) for worker in range(CLIENTS)]
        for _ in range(200):
            assert begun.acquire(timeout=30)
        assert server.stop() == 0
    for worker in workers:
        worker.result()
    server.start()
    stored = {
        item["id"]
        for item in every_event(server.admin, waitForPosition=server.size() - 1, waitTimeout=10_000)
    }
    assert set(acknowledged) <= stored
    assert server.status()["lagRecords"] == 0


def test_a_request_whose_body_is_still_arriving_is_finished(server: Server) -> None:
    """OPS-02: SIGTERM between the two halves of a body; the answer is 201 and the exit code 0."""
    body = json.dumps(event()).encode()
    head = (
        f"POST /api/v1/audit-events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {server.admin_key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    ).encode()
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(head + body[:20])
        until(lambda: b"in_flight 2" in server.admin.get("/metrics").content.replace(b".0", b""))
        assert server.process is not None
        server.process.send_signal(signal.SIGTERM)
        until(lambda: _refuses(server))
        connection.sendall(body[20:])
        answer = b""
        while b"recordHash" not in answer:
            piece = connection.recv(65536)
            assert piece, answer
            answer += piece
    assert answer.startswith(b"HTTP/1.1 201 ")
    assert server.process.wait(30) == 0


def _refuses(server: Server) -> bool:
    """Tell whether a new request is refused already; health goes on answering."""
    try:
        return server.admin.call("getIntegrityStatus").status == 503
    except httpx.TransportError:
        return True


def test_a_tail_ends_when_the_server_stops(server: Server) -> None:
    """API-15, OPS-02: an open stream does not hold up the stop."""
    with server.admin.stream("/api/v1/audit-events/tail?after=-1") as tail:
        chunks = tail.chunks()
        assert next(chunk for chunk in chunks if b"event: audit-event" in chunk)
        process = server.process
        assert process is not None
        process.send_signal(signal.SIGTERM)
        for _ in chunks:
            pass
    assert process.wait(10) == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_idle_server_stops_at_once_and_cleanly(embedded: Server, number: signal.Signals) -> None:
    """OPS-02: exit code 0, and no write-ahead log is left to replay."""
    process = embedded.process
    assert process is not None
    process.send_signal(number)
    assert process.wait(10) == 0
    assert not (embedded.data / "atp.db-wal").exists()


def test_a_second_server_on_the_same_data_is_refused(
    new_server: Callable[..., Server], embedded: Server
) -> None:
    """Design 5: one line, exit code 2, and the first is not disturbed."""
    second = new_server()
    second.settings["ATP_DATA"] = str(embedded.data)
    told = second.atp("serve", code=2)
    assert "Another ATP server" in told and "Traceback" not in told
    assert embedded.admin.call("ingestAuditEvent", json=event()).status == 201


def test_a_second_server_on_the_same_port_is_refused(
    new_server: Callable[..., Server], embedded: Server
) -> None:
    """The port is taken before any data is touched."""
    second = new_server()
    second.settings["ATP_PORT"] = str(embedded.port)
    told = second.atp("serve", code=2)
    assert "ATP_PORT" in told and "Traceback" not in told
    assert not second.data.exists()
