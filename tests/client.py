"""A client that holds every exchange against the contract: the one way tests talk to the HTTP interface.

It drives an ASGI application in this process, or a server by URL. Whatever comes back must be an answer that
the contract knows for the operation: status, media type, body schema, required headers, catalogued error.
A request that succeeds must have been a valid one. A breach is an AssertionError in the test that caused it.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Protocol
from urllib.parse import parse_qsl, quote, urlencode

import httpx
import msgspec

from atp.kernel.errors import Problem
from atp.specs import Operation, Specification, errors, load
from atp.specs.schemas import Validator

Asgi = Callable[[Any, Any, Any], Awaitable[None]]
SECONDS_MAX = 30.0
"""No exchange in a test takes longer; a hanging one fails instead of stopping the suite."""


@dataclass(frozen=True)
class Answer:
    """What came back. `json` is the decoded body of a JSON answer, `code` the error code of a problem."""

    status: int
    headers: Mapping[str, str]
    content: bytes
    operation_id: str | None = None

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.content)

    @property
    def code(self) -> str:
        return self.json["error"]["code"]

    @property
    def details(self) -> list[dict[str, Any]]:
        return self.json["error"]["details"]


@dataclass
class Sent:
    """What a test asks for, before it becomes HTTP."""

    method: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    content: bytes = b""

    @property
    def bare_path(self) -> str:
        return self.path.partition("?")[0]

    @property
    def query(self) -> str:
        return self.path.partition("?")[2]


class Transport(Protocol):
    def send(self, sent: Sent) -> Answer: ...
    def open(self, sent: Sent) -> Any: ...
    def close(self) -> None: ...


class Client:
    """Sends requests and checks what comes back. `api_key` and `tenant` go into every request's headers."""

    def __init__(
        self,
        target: Asgi | str | Transport,
        *,
        api_key: str | None = None,
        tenant: str | None = None,
        headers: Mapping[str, str] | None = None,
        specification: Specification | None = None,
    ) -> None:
        self.transport: Transport = (
            OverUrl(target) if isinstance(target, str) else InProcess(target) if callable(target) else target
        )
        self.specification = specification or load()
        self._headers = dict(headers or {})
        if api_key is not None:
            self._headers["authorization"] = f"Bearer {api_key}"
        if tenant is not None:
            self._headers["x-tenant-id"] = tenant

    def with_(self, **given: Any) -> Client:
        """Return a client of the same server with other credentials."""
        return Client(self.transport, specification=self.specification, **given)

    def call(
        self,
        operation_id: str,
        *,
        path: Mapping[str, str] | None = None,
        query: Mapping[str, Any] | None = None,
        **rest: Any,
    ) -> Answer:
        """Call an operation of the contract by its id; `path` fills the template."""
        operation = self.specification.operations[operation_id]
        address = operation.path_template
        for name, value in (path or {}).items():
            address = address.replace(f"{{{name}}}", quote(value, safe=""))
        if query:
            address += "?" + urlencode(query, doseq=True)
        return self.request(operation.method, address, **rest)

    def request(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send one request and check the answer against the contract."""
        sent = self._sent(method, path, json, content, headers)
        answer = self.transport.send(sent)
        operation = self._operation(sent)
        check(self.specification, sent, answer, operation)
        return Answer(
            answer.status, answer.headers, answer.content, None if operation is None else operation.id
        )

    def get(self, path: str, **rest: Any) -> Answer:
        return self.request("GET", path, **rest)

    def post(self, path: str, json: Any = None, **rest: Any) -> Answer:
        return self.request("POST", path, json=json, **rest)

    @contextmanager
    def stream(self, path: str, *, headers: Mapping[str, str] | None = None) -> Iterator[Any]:
        """Open an answer without waiting for its end; `.chunks()` yields bytes as they arrive."""
        opened = self.transport.open(self._sent("GET", path, None, None, headers))
        try:
            yield opened
        finally:
            opened.close()

    def close(self) -> None:
        self.transport.close()

    def _sent(
        self, method: str, path: str, json: Any, content: bytes | None, headers: Mapping[str, str] | None
    ) -> Sent:
        merged = {name.lower(): value for name, value in {**self._headers, **(headers or {})}.items()}
        if json is not None:
            content = msgspec.json.encode(json)
            merged.setdefault("content-type", "application/json")
        return Sent(method, path, merged, content or b"")

    def _operation(self, sent: Sent) -> Operation | None:
        method = "GET" if sent.method == "HEAD" else sent.method
        for pattern, operation in _patterns(self.specification):
            if operation.method == method and pattern.fullmatch(sent.bare_path):
                return operation
        return None


@lru_cache(maxsize=4)
def _patterns(specification: Specification) -> list[tuple[re.Pattern[str], Operation]]:
    """Return each template as a pattern, the most literal first; deliberately not the server's own router."""
    found = []
    for operation in specification.operations.values():
        rest = {parameter.name for parameter in operation.parameters if parameter.rest}
        for template in operation.path_templates:
            parts = re.split(r"\{(\w+)\}", template)
            pattern = "".join(
                re.escape(part) if at % 2 == 0 else ("(.+)" if part in rest else "([^/]+)")
                for at, part in enumerate(parts)
            )
            found.append((len(template) - sum(map(len, parts[1::2])), re.compile(pattern), operation))
    found.sort(key=lambda item: -item[0])
    return [(pattern, operation) for _, pattern, operation in found]


def check(specification: Specification, sent: Sent, answer: Answer, operation: Operation | None) -> None:
    """Raise AssertionError where the exchange breaks the contract."""
    where = f"{sent.method} {sent.bare_path} -> {answer.status}"
    assert answer.headers.get("x-correlation-id"), f"{where}: no X-Correlation-Id"
    media_type = answer.headers.get("content-type", "").partition(";")[0].strip()
    if operation is None:
        assert answer.status in (404, 405, 414, 431), f"{where}: an unknown path was answered"
        _check_problem(where, answer, media_type, None)
        return
    assert answer.status in operation.responses, f"{where}: {operation.id} has no such status"
    if answer.status >= 400:
        _check_problem(where, answer, media_type, operation)
    else:
        _check_request(where, sent, operation)
        expected = operation.responses[answer.status]
        assert (media_type in expected) if expected else not answer.content, (
            f"{where}: media type {media_type}"
        )
    for name, required in specification.response_headers(operation.id, answer.status).items():
        assert name in answer.headers or not required, f"{where}: header {name} is missing"
    if operation.rate_limit is not None and answer.status < 400:
        assert "x-ratelimit-limit" in answer.headers, f"{where}: no X-RateLimit headers"
    if sent.method != "HEAD" and media_type.endswith("json") and answer.content:
        validator = _response_validator(specification, operation.id, answer.status, media_type)
        violations = validator.violations(answer.json)
        assert not violations, f"{where}: {violations}"


@lru_cache(maxsize=1000)
def _response_validator(
    specification: Specification, operation_id: str, status: int, media_type: str
) -> Validator:
    schema = specification.response_schema(operation_id, status, media_type)
    assert schema is not None, f"{operation_id} answers {status} without a body"
    return Validator(schema)


def _check_problem(where: str, answer: Answer, media_type: str, operation: Operation | None) -> None:
    if not answer.content:  # HEAD
        return
    assert media_type == "application/problem+json", f"{where}: {media_type} {answer.content[:300]!r}"
    code = answer.code
    entry = errors.catalogue().get(code)
    assert entry is not None, f"{where}: {code} is not catalogued"
    assert entry.status == answer.status, f"{where}: {code} belongs to {entry.status}"
    assert operation is None or code in operation.errors, f"{where}: {operation.id} does not list {code}"
    if code in ("RATE_LIMITED", "SHUTTING_DOWN", "OVERLOADED"):
        assert int(answer.headers["retry-after"]) >= 1, f"{where}: no Retry-After"


def _check_request(where: str, sent: Sent, operation: Operation) -> None:
    pattern_values: dict[str, str] = {}
    for template in operation.path_templates:
        names = re.findall(r"\{(\w+)\}", template)
        rest = {parameter.name for parameter in operation.parameters if parameter.rest}
        pattern = re.escape(template)
        for name in names:
            pattern = pattern.replace(
                re.escape(f"{{{name}}}"), f"(?P<{name}>{'.+' if name in rest else '[^/]+'})"
            )
        match = re.fullmatch(pattern, sent.bare_path)
        if match:
            pattern_values = {
                name: httpx.URL("http://x/" + value).path[1:] for name, value in match.groupdict().items()
            }
            break
    try:
        operation.check_parameters(
            pattern_values, parse_qsl(sent.query, keep_blank_values=True), sent.headers
        )
        media_type = sent.headers.get("content-type", "").partition(";")[0]
        plain = "content-encoding" not in sent.headers
        if (
            operation.request_media_types
            and media_type.endswith(("/json", "+json"))
            and sent.content
            and plain
        ):
            operation.check_body(msgspec.json.decode(sent.content))
    except Problem as problem:
        raise AssertionError(f"{where}: succeeded although {problem.details}") from problem


class OverUrl:
    """Talks to a running server."""

    def __init__(self, url: str) -> None:
        self._http = httpx.Client(base_url=url, timeout=SECONDS_MAX)

    def send(self, sent: Sent) -> Answer:
        answer = self._http.request(sent.method, sent.path, headers=sent.headers, content=sent.content)
        return Answer(answer.status_code, dict(answer.headers), answer.content)

    def open(self, sent: Sent) -> Any:
        return _OpenUrl(self._http, sent)

    def close(self) -> None:
        self._http.close()


class _OpenUrl:
    def __init__(self, http: httpx.Client, sent: Sent) -> None:
        request = http.build_request(sent.method, sent.path, headers=sent.headers)
        self._answer = http.send(request, stream=True)
        self.status = self._answer.status_code
        self.headers = dict(self._answer.headers)

    def chunks(self) -> Iterator[bytes]:
        return self._answer.iter_bytes()

    def close(self) -> None:
        self._answer.close()


class InProcess:
    """Drives an ASGI application on an event loop of its own thread, so that tests stay synchronous."""

    def __init__(self, app: Asgi) -> None:
        self.app = app
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Awaitable[Any]) -> Any:
        """Run a coroutine on the application's loop and return its result."""

        async def bounded() -> Any:
            async with asyncio.timeout(SECONDS_MAX):
                return await work

        return asyncio.run_coroutine_threadsafe(bounded(), self.loop).result(SECONDS_MAX + 5)

    def send(self, sent: Sent) -> Answer:
        return self.run(self._send(sent))

    async def _send(self, sent: Sent) -> Answer:
        exchange = _Exchange(self.app, sent)
        start = await exchange.start()
        content = b"".join([chunk async for chunk in exchange.chunks()])
        await exchange.task
        return Answer(start["status"], exchange.headers, content)

    def open(self, sent: Sent) -> Any:
        return _Opened(self, sent)

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(SECONDS_MAX)
        self.loop.close()


class _Exchange:
    """One request on the loop: what the application receives and what it has sent so far."""

    def __init__(self, app: Asgi, sent: Sent, pieces: list[bytes] | None = None) -> None:
        headers = [(name.encode(), value.encode("latin-1")) for name, value in sent.headers.items()]
        if sent.content and "content-length" not in sent.headers and "transfer-encoding" not in sent.headers:
            headers.append((b"content-length", str(len(sent.content)).encode()))
        if "host" not in sent.headers:
            headers.append((b"host", b"testserver"))
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": sent.method,
            "scheme": "http",
            "path": httpx.URL("http://x" + sent.bare_path).path,
            "raw_path": sent.bare_path.encode("latin-1"),
            "query_string": sent.query.encode("latin-1"),
            "headers": headers,
            "client": ("127.0.0.1", 50000),
            "server": ("testserver", 80),
        }
        self._out: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._in: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self._in.put_nowait({"type": "http.request", "body": sent.content, "more_body": False})
        self.headers: dict[str, str] = {}
        self.task = asyncio.ensure_future(self._run(app, scope))

    async def _run(self, app: Asgi, scope: dict[str, Any]) -> None:
        try:
            await app(scope, self._in.get, self._out.put)
        finally:
            await self._out.put({"type": "end"})

    async def start(self) -> dict[str, Any]:
        message = await self._out.get()
        if message["type"] == "end":
            await self.task
            raise AssertionError("the application answered nothing")
        self.headers = {name.decode(): value.decode("latin-1") for name, value in message["headers"]}
        return message

    async def chunk(self) -> bytes | None:
        """Return the next piece of the body, or None at its end."""
        message = await self._out.get()
        if message["type"] == "end":
            return None
        return message.get("body", b"")

    async def chunks(self) -> Any:
        while (piece := await self.chunk()) is not None:
            yield piece

    async def hang_up(self) -> None:
        await self._in.put({"type": "http.disconnect"})
        await asyncio.wait([self.task], timeout=SECONDS_MAX)


class _Opened:
    """An answer that is still being sent."""

    def __init__(self, transport: InProcess, sent: Sent) -> None:
        self._transport = transport
        self._exchange = transport.run(self._begin(sent))
        start = transport.run(self._exchange.start())
        self.status = start["status"]
        self.headers = self._exchange.headers

    async def _begin(self, sent: Sent) -> _Exchange:
        return _Exchange(self._transport.app, sent)

    def chunks(self) -> Iterator[bytes]:
        while (piece := self._transport.run(self._exchange.chunk())) is not None:
            yield piece

    def close(self) -> None:
        self._transport.run(self._exchange.hang_up())
