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

from tests.verifier.builder import ORIGIN, Signer, root, sample


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


@pytest.fixture(scope="session")
def live_log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveLog]:
    """A log of 700 records, written by the test builder and served as files."""
    log = sample(700, Signer(ORIGIN, 1, b"log"), Signer(ORIGIN, 6, b"pq"))
    directory: Path = log.publish(tmp_path_factory.mktemp("log"))
    with serving(functools.partial(Quiet, directory=str(directory))) as url:
        wanted = (0, 17, 255, 256, 511, 512, 699)
        yield LiveLog(
            url=url,
            vkey=log.signers[0].vkey,
            pqvkey=log.signers[1].vkey,
            old_size=300,
            old_root=root(log.leaves[:300]),
            records={n: log.records[n] for n in wanted},
            proof=log.proof,
            receipt=log.receipt,
            policy=log.policy(),
            hashes={n: log.entries[n] for n in wanted},
        )


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
