"""`atp streams`: show and seal streams over the HTTP API.

Names of streams hold slashes, so they are quoted before they become part of a path.
"""

from __future__ import annotations

from urllib.parse import quote

import click

from atp.cli.calls import connected, server_options, show_json
from atp.cli.events import _row

STREAMS = "/api/v1/event-streams"


@click.group("streams")
def streams_group() -> None:
    """Show and seal streams."""


@streams_group.command("get")
@click.argument("stream")
@click.option("--after", type=int, help="Begin behind this version.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@server_options
def get(
    stream: str, after: int | None, limit: int, server: str | None, tenant: str | None, output: str
) -> None:
    """Show a stream's state and its records in order."""
    with connected(server, tenant) as api:
        found = api.json("GET", _path(stream), query={"afterVersion": after, "limit": limit})
    if output == "json":
        show_json(found)
        return
    click.echo(f"{found['id']}  {found['state']}  version {found['version']}  head {found['headHash']}")
    for event in found["events"]:
        click.echo(_row(event))


@streams_group.command("seal")
@click.argument("stream")
@click.option("--reason", required=True, help="Why; it is recorded.")
@click.option("--expected-version", type=int, help="Refuse unless the stream is at this version.")
@server_options
def seal(
    stream: str,
    reason: str,
    expected_version: int | None,
    server: str | None,
    tenant: str | None,
    output: str,
) -> None:
    """Seal a stream: it takes no more events, and its final Merkle root is recorded."""
    body = {"reason": reason} | ({} if expected_version is None else {"expectedVersion": expected_version})
    with connected(server, tenant) as api:
        sealed = api.json("POST", f"{_path(stream)}/seal", body=body)
    if output == "json":
        show_json(sealed)
    else:
        click.echo(f"{stream} sealed at version {sealed['finalVersion']}, root {sealed['merkleRoot']}")


def _path(stream: str) -> str:
    return f"{STREAMS}/{quote(stream, safe='/')}"
