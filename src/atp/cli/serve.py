"""`atp serve`: open the platform, bind the socket, run until told to stop, then drain.

The first interrupt or SIGTERM lets requests in flight finish and the last records get their checkpoint; exit
code 0. Anything that prevents the start is one line and exit code 2.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import shlex
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import click
import msgspec
import uvicorn
import uvloop

from atp.app import Platform, open_platform
from atp.classification.queries import automaton
from atp.engine import telemetry
from atp.engine.database import UnsafeDatabase
from atp.engine.keys import KeyUnavailable
from atp.engine.settings import Settings, load, redacted
from atp.engine.sqlite import DatabaseInUse
from atp.kernel.errors import Problem

GC_THRESHOLD: Final = 50_000
"""Container objects made, less those freed, between two looks of the garbage collector: about 500 events in flight."""
DEFAULT_ADDRESS: Final = "http://127.0.0.1:8080"
"""Where commands look for the server unless they are told."""


class CannotServe(click.ClickException):
    """The server could not start; the message says why and what can be done."""

    exit_code = 2


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers, which would cut off requests that drain."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


@click.command("serve")
@click.option("--host", help="Address to bind to.")
@click.option("--port", type=click.IntRange(0, 65535), help="Port to bind to; 0 takes a free one.")
@click.option(
    "--data", type=click.Path(file_okay=False, path_type=Path), help="Directory of the server's state."
)
@click.option("--database", help="postgresql://… instead of the embedded database.")
@click.option("--only", help="Services to run, comma-separated; else all.")
@click.option("--output", type=click.Choice(["text", "json"]), default="text", help="Form of the greeting.")
def serve_command(
    host: str | None, port: int | None, data: Path | None, database: str | None, only: str | None, output: str
) -> None:
    """Run the server. Every option is also a setting, see docs/settings.md."""
    settings = load(host=host, port=port, data=data, database=database, only=only)
    telemetry.configure(level=settings.log_level, form=settings.log_format)
    run(settings, output)


def run(settings: Settings, output: str) -> None:
    """Open everything, serve, close everything."""
    listener = _bind(settings)
    try:
        platform = open_platform(settings)
    except DatabaseInUse as error:
        raise CannotServe(
            f"Another ATP server has {settings.data} open ({error}). Stop it, or give this one another ATP_DATA."
        ) from None
    except (UnsafeDatabase, KeyUnavailable, Problem, ValueError) as error:
        raise CannotServe(str(error)) from None
    _settle_memory()
    with listener:
        uvloop.run(_serve(platform, listener, settings, output))


def _settle_memory() -> None:
    """Take what start-up made out of the garbage collector's sight, and let it look less often.

    Events are trees without cycles, freed by reference counts; with the default thresholds the collector walks
    them all again and again, a third of the pipeline's time. It still runs, so that a cycle is not kept for ever.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD, 50, 100)


def _bind(settings: Settings) -> socket.socket:
    """Bind before anything is opened, so that a taken port is said at once and nothing is left behind."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        raise CannotServe(
            f"{settings.host}:{settings.port} cannot be used ({error.strerror}). ATP_PORT names another port."
        ) from None
    return listener


async def _serve(platform: Platform, listener: socket.socket, settings: Settings, output: str) -> None:
    log = telemetry.logger()
    log.info("starting", **{f"setting_{name}": value for name, value in redacted(settings).items()})
    await platform.start()
    warming = asyncio.create_task(asyncio.to_thread(automaton))  # 0.2 s that no event should wait for.
    config = uvicorn.Config(
        platform.gateway,
        http="httptools",
        loop="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=75,
        h11_max_incomplete_event_size=64 * 1024,
    )
    server = _Server(config)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started and not serving.done():  # noqa: ASYNC110 - uvicorn offers nothing to wait for
        await asyncio.sleep(0.005)
    _greet(platform, listener, output)
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({serving, stopped}, return_when=asyncio.FIRST_COMPLETED)
    await warming
    log.info("stopping")
    drained = await platform.drain()
    server.should_exit = True
    await serving
    stopped.cancel()
    await platform.stop()
    log.info("stopped", drained=drained)


def _greet(platform: Platform, listener: socket.socket, output: str) -> None:
    """Say where everything is, on standard output; log lines go to standard error."""
    host, port = listener.getsockname()[:2]
    address = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    if output == "json":
        ready = {
            "address": address,
            "reference": f"{address}/docs",
            "adminKey": str(platform.admin_key_file or ""),
        }
        sys.stdout.write(msgspec.json.encode(ready).decode() + "\n")
    else:
        sys.stdout.write(greeting(address, platform.admin_key_file))
    sys.stdout.flush()


_AUTHORIZATION = '    -H "Authorization: Bearer $(cat %s)"'
_EVENT = (
    '{"occurredAt":"2026-01-15T10:00:00Z","actor":{"type":"user","id":"u-17"},'
    '"action":{"name":"document.deleted"},"resource":{"type":"document","id":"doc-1"}}'
)


def greeting(address: str, key_file: Path | None) -> str:
    """Return what a started server prints: the reference, the key, five commands to try."""
    key = shlex.quote(str(key_file or "var/admin.key"))
    lines = [
        "",
        f"ATP is ready on {address}",
        f"  API reference   {address}/docs",
        f"  Verifier        {address}/verify",
    ]
    if key_file:
        lines.append(f"  Admin key       {key_file}")
    lines += ["", "Try, in another terminal:"]
    if address != DEFAULT_ADDRESS:
        lines.append(f"  export ATP_SERVER={address}")
    if key_file and key_file.parent != Path("var"):
        lines.append(f"  export ATP_DATA={shlex.quote(str(key_file.parent))}")
    lines += [
        f"  curl -sS {address}/api/v1/audit-events -H 'Content-Type: application/json' \\\n{_AUTHORIZATION % key} -d '{_EVENT}'",
        "  .venv/bin/atp events list --limit 10",
        "  .venv/bin/atp events tail",
        "  .venv/bin/atp import examples/data/windows-eventlog-add-user.zip --format windows-eventlog",
        "  .venv/bin/atp verify",
        "",
    ]
    return "\n".join(lines) + "\n"
