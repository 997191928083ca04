"""`atp keys`: API keys over the HTTP API, and the rotation of encryption keys on the server's own machine.

The first group asks a running server. `rotate-encryption` opens the data directory itself, because master keys
never travel.
"""

from __future__ import annotations

from typing import Any

import click

from atp.cli.calls import connected, server_options, show_json

KEYS = "/api/v1/api-keys"


@click.group("keys")
def keys_group() -> None:
    """Create, list, revoke and rotate API keys; rotate encryption keys."""


@keys_group.command("create")
@click.option("--name", required=True, help="What the key is for.")
@click.option(
    "--role", "roles", multiple=True, required=True, help="writer, reader, auditor, admin or operator."
)
@click.option("--clearance", type=click.Choice(["none", "personal", "sensitive", "secret"]), default="none")
@click.option("--expires", help="When it ends (RFC 3339).")
@server_options
def create(
    name: str,
    roles: tuple[str, ...],
    clearance: str,
    expires: str | None,
    server: str | None,
    tenant: str | None,
    output: str,
) -> None:
    """Create a key; its secret is shown once and stored nowhere."""
    body = {"name": name, "roles": list(roles), "clearance": clearance} | (
        {"expiresAt": expires} if expires else {}
    )
    with connected(server, tenant) as api:
        issued = api.json("POST", KEYS, body=body)
    _show_issued(issued, output)


@keys_group.command("list")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@click.option("--cursor", help="Where an earlier page ended.")
@server_options
def list_keys(limit: int, cursor: str | None, server: str | None, tenant: str | None, output: str) -> None:
    """List the tenant's keys, newest first."""
    with connected(server, tenant) as api:
        page = api.json("GET", KEYS, query={"limit": limit, "cursor": cursor})
    if output == "json":
        show_json(page)
        return
    for key in page["items"]:
        click.echo(f"{key['id']}  {key['status']:<8}  {','.join(key['roles']):<24}  {key['name']}")
    if page["page"]["nextCursor"]:
        click.echo(f"More: --cursor {page['page']['nextCursor']}", err=True)


@keys_group.command("revoke")
@click.argument("key_id")
@click.option("--reason", help="Why; it is recorded.")
@server_options
def revoke(key_id: str, reason: str | None, server: str | None, tenant: str | None, output: str) -> None:
    """End a key now."""
    with connected(server, tenant) as api:
        revoked = api.json("POST", f"{KEYS}/{key_id}/revoke", body={"reason": reason} if reason else {})
    if output == "json":
        show_json(revoked)
    else:
        click.echo(f"{key_id} revoked")


@keys_group.command("rotate")
@click.argument("key_id")
@click.option("--overlap", type=int, default=3600, show_default=True, help="Seconds both keys work.")
@server_options
def rotate(key_id: str, overlap: int, server: str | None, tenant: str | None, output: str) -> None:
    """Issue a successor; the old key works on for the overlap."""
    with connected(server, tenant) as api:
        issued = api.json("POST", f"{KEYS}/{key_id}/rotate", body={"overlapSeconds": overlap})
    _show_issued(issued, output)


@keys_group.command("rotate-encryption")
@click.argument("tenant_id", required=False)
@click.option("--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def rotate_encryption(tenant_id: str | None, output: str) -> None:
    """Rewrap keys at rest; the server must be stopped when it is the embedded one.

    Without TENANT_ID: every tenant's keys under the current (first) master key. With it: a new wrapping key for
    that tenant, and its subjects' keys rewrapped. Interrupted, it is simply run again.
    """
    from atp.app import rotate_keys_at_rest
    from atp.engine.settings import load

    count = rotate_keys_at_rest(load(), tenant_id)
    if output == "json":
        show_json({"rewrapped": count})
    else:
        click.echo(f"{count} keys rewrapped")


def _show_issued(issued: dict[str, Any], output: str) -> None:
    if output == "json":
        show_json(issued)
        return
    key = issued["key"]
    click.echo(f"{key['id']}  {key['name']}")
    click.echo(f"Secret, shown this once: {issued['secret']}")
