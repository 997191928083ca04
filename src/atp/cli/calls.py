"""How commands call the server: one connection, JSON in and out, refusals shown as the catalogue words them.

Exit codes: 1 the server refused, 2 wrong usage, 3 the server could not be reached.
"""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import urlencode, urlsplit

import click
import msgspec

from atp import __version__
from atp.engine.settings import ClientSettings, load_client

TIMEOUT_SECONDS: Final = 60.0


class Refused(click.ClickException):
    """The server answered with a problem."""

    exit_code = 1


class Unreachable(click.ClickException):
    """No answer came."""

    exit_code = 3


class Api:
    """A connection to the server with the caller's key; not shared between threads."""

    def __init__(self, settings: ClientSettings) -> None:
        self._settings = settings
        address = urlsplit(settings.server)
        if address.scheme not in ("http", "https") or not address.hostname:
            raise click.UsageError(f"{settings.server} is not the address of a server.")
        secure = address.scheme == "https"
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        self._connection = kind(address.hostname, address.port, timeout=TIMEOUT_SECONDS)

    def json(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        accept: str = "application/json",
    ) -> Any:
        """Call an operation and return its JSON answer, with integers of any size exact."""
        return msgspec.json.decode(self.raw(method, path, query=query, body=body, accept=accept))

    def raw(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        accept: str = "application/json",
    ) -> bytes:
        """Call an operation and return its answer's bytes; raises Refused and Unreachable."""
        response = self._send(method, path, query, body, accept)
        answer = response.read()
        if response.status >= 400:
            raise Refused(_explained(response.status, answer))
        return answer

    def lines(self, path: str, *, query: Mapping[str, Any]) -> Iterator[str]:
        """Yield the lines of a live stream until the server ends it."""
        response = self._send("GET", path, query, None, "text/event-stream")
        if response.status >= 400:
            raise Refused(_explained(response.status, response.read()))
        try:
            while line := response.readline():
                yield line.decode().rstrip("\n")
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(f"The stream from {self._settings.server} broke off.") from error

    def _send(
        self, method: str, path: str, query: Mapping[str, Any] | None, body: Any, accept: str
    ) -> http.client.HTTPResponse:
        headers = {"Accept": accept, "User-Agent": f"atp-cli/{__version__}"}
        if self._settings.api_key:
            headers["Authorization"] = f"Bearer {self._settings.api_key}"
        if self._settings.tenant:
            headers["X-Tenant-Id"] = self._settings.tenant
        payload = None
        if body is not None:
            payload = body if isinstance(body, bytes) else msgspec.json.encode(body)
            headers["Content-Type"] = "application/json"
        given = {name: _text(value) for name, value in (query or {}).items() if value is not None}
        target = f"{path}?{urlencode(given)}" if given else path
        try:
            self._connection.request(method, target, payload, headers)
            return self._connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(
                f"No answer from {self._settings.server}: is `atp serve` running there? ATP_SERVER names another."
            ) from error


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _explained(status: int, answer: bytes) -> str:
    try:
        error = msgspec.json.decode(answer)["error"]
        lines = [f"{error['code']}: {error['message']}"]
        lines += [f"  {detail['field'] or 'body'}: {detail['issue']}" for detail in error["details"]]
        return "\n".join([*lines, f"  trace {error['traceId']}"])
    except (msgspec.MsgspecError, UnicodeDecodeError, KeyError, TypeError):
        return f"The server answered {status}."


def server_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add --server, --tenant and --output to a command."""
    command = click.option("--server", help="Address of the server; else ATP_SERVER, else this machine's.")(
        command
    )
    command = click.option("--tenant", help="Tenant, where the key may use several.")(command)
    return click.option(
        "--output",
        type=click.Choice(["text", "json"]),
        default="text",
        show_default=True,
        help="Form of the answer.",
    )(command)


@contextmanager
def connected(server: str | None, tenant: str | None) -> Iterator[Api]:
    """Open a connection with the client's settings."""
    yield Api(load_client(server=server, tenant=tenant))


def show_json(value: Any) -> None:
    """Print a JSON value, indented."""
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())
