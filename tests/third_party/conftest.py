"""What a third party is given of a log: a URL, keys, and some records it wants to see proven.

`live_log` is the only fixture that knows where the log comes from; the tests see HTTP, keys and claims. A log is
corrupted on the way, by a proxy that changes one path, so that a real server need not be broken for it.
"""

from __future__ import annotations

import functools
import http.server
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from atp.kernel.hashing import unb64u
from tests.flows.events import event, until
from tests.server import Server
from tests.verifier.builder import ORIGIN, Signer, root, sample

SIZE = 700
OLD_SIZE = 300
WANTED = (0, 17, 255, 256, 511, 512, 699)
"""Positions at the borders of tiles, and some between."""


@dataclass(frozen=True)
class LiveLog:
    """Everything claimed about a log; `proof` and `receipt` are what its server would hand out for a record."""

    url: str
    vkey: str
    pqvkey: str
    old_size: int
    old_root: bytes
    records: dict[int, dict[str, Any]]
    proof: Callable[[int], str]
    receipt: Callable[[int], bytes]
    policy: str
    hashes: dict[int, bytes] = field(default_factory=dict)


@contextmanager
def serving(handler: Callable[..., http.server.BaseHTTPRequestHandler]) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Nothing on the terminal."""


@pytest.fixture(scope="session", params=["builder", "server"])
def live_log(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveLog]:
    """A log of 700 records: one written by the test builder and served as files, one of the real server."""
    made = built if request.param == "builder" else served
    with made(tmp_path_factory.mktemp("log")) as log:
        yield log


@contextmanager
def built(directory: Path) -> Iterator[LiveLog]:
    log = sample(SIZE, Signer(ORIGIN, 1, b"log"), Signer(ORIGIN, 6, b"pq"))
    log.publish(directory)
    with serving(functools.partial(Quiet, directory=str(directory))) as url:
        yield LiveLog(
            url=url,
            vkey=log.signers[0].vkey,
            pqvkey=log.signers[1].vkey,
            old_size=OLD_SIZE,
            old_root=root(log.leaves[:OLD_SIZE]),
            records={n: log.records[n] for n in WANTED},
            proof=log.proof,
            receipt=log.receipt,
            policy=log.policy(),
            hashes={n: log.entries[n] for n in WANTED},
        )


@contextmanager
def served(directory: Path) -> Iterator[LiveLog]:
    """The same of `atp serve`: nothing but what it answers over HTTP goes in."""
    server = Server(directory).start().lift_limits()
    try:
        old = grow(server, OLD_SIZE)
        grow(server, SIZE)
        found = server.admin.call("listAuditEvents", query={"limit": 1000, "waitForPosition": SIZE - 1}).json
        ids = {item["position"]: item["id"] for item in found["items"]}
        records = {n: server.admin.call("getAuditEvent", path={"id": ids[n]}).json for n in WANTED}
        keys = {key["algorithm"]: key["vkey"] for key in server.admin.call("getIntegrityKeys").json["keys"]}

        def receipt(position: int, media_type: str) -> bytes:
            path = f"/api/v1/audit-events/{ids[position]}/proof"
            answer = server.admin.get(path, headers={"accept": media_type})
            assert answer.status == 200, answer.content
            return answer.content

        yield LiveLog(
            url=f"{server.url}/tlog/{server.status()['logId']}",
            vkey=keys["Ed25519"],
            pqvkey=keys["ML-DSA-44"],
            old_size=OLD_SIZE,
            old_root=unb64u(old["rootHash"]),
            records=records,
            proof=lambda n: receipt(n, "application/vnd.c2sp.tlog-proof").decode(),
            receipt=lambda n: receipt(n, "application/cose"),
            policy=server.admin.get(
                "/api/v1/integrity/keys", headers={"accept": "text/plain"}
            ).content.decode(),
            hashes={n: unb64u(record["recordHash"]) for n, record in records.items()},
        )
        assert server.size() == SIZE, "somebody wrote to the log while it was looked at"
        assert server.stop() == 0
    finally:
        server.kill()


def grow(server: Server, size: int) -> dict[str, Any]:
    """Send events until the log has exactly so many records, and return the checkpoint that covers them."""
    count = size - server.size() - 1  # One more is the platform record that tells of the batch.
    events = [event(n, actor={"type": "user", "id": f"u-{n % 10}", "name": "Ada"}) for n in range(count)]
    assert server.admin.call("ingestAuditEventBatch", json={"events": events}).json["accepted"] == count
    checkpoint = until(lambda: (s := server.status())["lagRecords"] == 0 and s["checkpoint"])
    assert checkpoint["size"] == size
    return dict(checkpoint)


@pytest.fixture
def through(live_log: LiveLog) -> Callable[..., Any]:
    """A context manager: the URL of the same log, with one path changed on the way."""

    @contextmanager
    def proxy(path: str, change: Callable[[bytes], bytes]) -> Iterator[str]:
        class Proxy(Quiet):
            def do_GET(self) -> None:
                try:
                    with urllib.request.urlopen(live_log.url + self.path, timeout=10) as answer:
                        body, status = answer.read(), 200
                except urllib.error.HTTPError as error:
                    with error:
                        body, status = error.read(), error.code
                body = change(body) if self.path.strip("/") == path else body
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        with serving(Proxy) as url:
            yield url

    return proxy
