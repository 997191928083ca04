"""A server that speaks the batch API's form over a real socket, and can be made to misbehave."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.imports.doors import Kept


class Server(ThreadingHTTPServer):
    """Speaks the batch API's form over `Kept`; `moods` are what goes wrong, one a request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.kept = Kept()
        self.moods: list[Callable[[_Handler, bytes], bool]] = []
        self.requests: list[tuple[dict, bytes]] = []
        self.connections = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def setup(self) -> None:
        super().setup()
        self.server.connections += 1

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append((dict(self.headers), body))
        if self.server.moods and self.server.moods.pop(0)(self, body):
            return
        results = []
        for index, event in enumerate(body.split(b"\n")):
            answer = self.server.kept._one(event)
            item = {"index": index, "status": answer.status}
            if answer.status == "rejected":
                item["error"] = {
                    "code": answer.code,
                    "message": answer.message,
                    "details": [{"field": "f", "issue": "i"}],
                }
            results.append(item)
        self.reply(200, {"accepted": 0, "duplicates": 0, "rejected": 0, "results": results})

    def reply(self, status: int, document: object, **headers: str) -> bool:
        body = json.dumps(document).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        return True

    def log_message(self, *_args) -> None:
        pass


@pytest.fixture
def server():
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()
