"""`atp events`: send, list, get, search, watch and prove events over the HTTP API.

Options become parameters of the API's operations; answers are printed as tables or, with `--output json`,
as they came. The server and the key come from options, the environment or ./var.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

import click
import msgspec

from atp.cli.calls import Api, connected, server_options, show_json

EVENTS = "/api/v1/audit-events"
_FILTERS = (
    ("actor", "Id of the actor."),
    ("action", "Name of the action."),
    ("resource-type", "Type of the resource."),
    ("resource-id", "Id of the resource."),
    ("outcome", "Outcome."),
    ("classification", "Level of the classification."),
    ("stream", "Stream."),
    ("kind", "audit or platform."),
    ("since", "Recorded at or after this time (RFC 3339)."),
    ("until", "Recorded before this time."),
    ("q", "Search text, as in docs/search.md."),
)


def filter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add an option per filter of the list."""
    for name, text in reversed(_FILTERS):
        command = click.option(f"--{name}", help=text)(command)
    return command


@click.group("events")
def events_group() -> None:
    """Send, list, get, search and watch events; fetch proofs."""


@events_group.command("send")
@click.argument("file", type=click.File("rb"), default="-")
@server_options
def send(file: BinaryIO, server: str | None, tenant: str | None, output: str) -> None:
    """Send one event: FILE holds its JSON, - is standard input."""
    with connected(server, tenant) as api:
        receipt = api.json("POST", EVENTS, body=file.read())
    if output == "json":
        show_json(receipt)
    else:
        click.echo(f"{receipt['status']} {receipt['id']} at position {receipt['position']} of the log")


@events_group.command("list")
@filter_options
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@click.option(
    "--order", default="-recordedAt", show_default=True, help="recordedAt or occurredAt; - is newest first."
)
@click.option("--cursor", help="Where an earlier page ended.")
@click.option("--all", "everything", is_flag=True, help="Follow the cursor to the end.")
@server_options
def list_events(
    server: str | None,
    tenant: str | None,
    output: str,
    limit: int,
    order: str,
    cursor: str | None,
    everything: bool,
    **filters: str | None,
) -> None:
    """List events, newest first."""
    query = _query(filters) | {"limit": limit, "orderBy": order, "cursor": cursor}
    with connected(server, tenant) as api:
        while True:
            page = api.json("GET", EVENTS, query=query)
            _show_page(page, output)
            query["cursor"] = page["page"]["nextCursor"]
            if not everything or not query["cursor"]:
                break
    if query["cursor"] and output == "text":
        click.echo(f"More: --cursor {query['cursor']}", err=True)


@events_group.command("get")
@click.argument("event_id")
@click.option(
    "--disclose", is_flag=True, help="Show sealed values that your clearance covers; the access is recorded."
)
@server_options
def get(event_id: str, disclose: bool, server: str | None, tenant: str | None, output: str) -> None:
    """Get one record, with the bytes that were hashed; verify.py takes what --output json prints."""
    with connected(server, tenant) as api:
        query = {"disclose": True} if disclose else {}
        show_json(api.json("GET", f"{EVENTS}/{event_id}", query=query))


@events_group.command("proof")
@click.argument("event_id")
@click.option(
    "--format",
    "form",
    type=click.Choice(["tlog-proof", "cose", "json"]),
    default="tlog-proof",
    show_default=True,
)
@server_options
def proof(event_id: str, form: str, server: str | None, tenant: str | None, output: str) -> None:
    """Write the receipt of one record to standard output."""
    accept = "application/json" if form == "json" or output == "json" else f"application/{_MEDIA[form]}"
    with connected(server, tenant) as api:
        sys.stdout.buffer.write(api.raw("GET", f"{EVENTS}/{event_id}/proof", accept=accept))


_MEDIA = {"tlog-proof": "vnd.c2sp.tlog-proof", "cose": "cose"}


@events_group.command("tail")
@click.option("--after", type=int, help="Begin behind this position; else with what is new.")
@filter_options
@server_options
def tail(
    after: int | None, server: str | None, tenant: str | None, output: str, **filters: str | None
) -> None:
    """Watch new events as they are recorded, until interrupted."""
    with connected(server, tenant) as api:
        try:
            _follow(api, _query(filters) | {"after": after}, output)
        except KeyboardInterrupt:
            return


def _follow(api: Api, query: Mapping[str, Any], output: str) -> None:
    for line in api.lines(f"{EVENTS}/tail", query=query):
        name, _, value = line.partition(": ")
        if name != "data":
            continue
        event = msgspec.json.decode(value)
        if not isinstance(event, dict) or "position" not in event or "id" not in event:
            continue
        click.echo(value if output == "json" else _row(event))


def _query(filters: Mapping[str, str | None]) -> dict[str, Any]:
    names = {"resource_type": "resourceType", "resource_id": "resourceId"}
    return {names.get(name, name): value for name, value in filters.items() if value is not None}


def _show_page(page: Mapping[str, Any], output: str) -> None:
    if output == "json":
        show_json(page)
        return
    for event in page["items"]:
        click.echo(_row(event))


def _row(event: Mapping[str, Any]) -> str:
    actor, resource = event.get("actor", {}), event.get("resource", {})
    return (
        f"{event['position']:>8}  {event.get('recordedAt', '')[:19]}Z  {event.get('outcome', ''):8}"
        f"  {event.get('action', {}).get('name', '')}  {actor.get('type', '')}:{_shown(actor.get('id'))}"
        f"  {resource.get('type', '')}/{_shown(resource.get('id'))}  {event['id']}"
    )


def _shown(value: object) -> str:
    return "(sealed)" if isinstance(value, dict) else str(value)
