"""`atp tenants`: create, list and change tenants over the HTTP API.

Options become the fields of the API's bodies, answers become tables; what is allowed is the server's decision.
"""

from __future__ import annotations

import click

from atp.cli.calls import connected, server_options, show_json

TENANTS = "/api/v1/tenants"


@click.group("tenants")
def tenants_group() -> None:
    """Create, list and change tenants."""


@tenants_group.command("create")
@click.argument("tenant_id")
@click.option("--name", help="Name for people to read; else the id.")
@click.option("--region", help="Where the tenant's data lives.")
@server_options
def create(
    tenant_id: str, name: str | None, region: str | None, server: str | None, tenant: str | None, output: str
) -> None:
    """Create a tenant with a log and keys of its own."""
    body = {"id": tenant_id, "displayName": name or tenant_id} | ({"region": region} if region else {})
    with connected(server, tenant) as api:
        created = api.json("POST", TENANTS, body=body)
    if output == "json":
        show_json(created)
    else:
        click.echo(f"{created['id']} created, log {created['logId']}")


@tenants_group.command("list")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, show_default=True)
@click.option("--cursor", help="Where an earlier page ended.")
@server_options
def list_tenants(limit: int, cursor: str | None, server: str | None, tenant: str | None, output: str) -> None:
    """List tenants in order of their ids."""
    with connected(server, tenant) as api:
        page = api.json("GET", TENANTS, query={"limit": limit, "cursor": cursor})
    if output == "json":
        show_json(page)
        return
    for item in page["items"]:
        click.echo(f"{item['id']:<24} {item['status']:<10} {item['region']:<10} {item['displayName']}")
    if page["page"]["nextCursor"]:
        click.echo(f"More: --cursor {page['page']['nextCursor']}", err=True)


@tenants_group.command("set")
@click.argument("tenant_id")
@click.option("--name", help="New name.")
@click.option("--status", type=click.Choice(["active", "suspended"]), help="Suspend or reactivate.")
@server_options
def change(
    tenant_id: str, name: str | None, status: str | None, server: str | None, tenant: str | None, output: str
) -> None:
    """Rename, suspend or reactivate a tenant."""
    body = {key: value for key, value in (("displayName", name), ("status", status)) if value is not None}
    with connected(server, tenant) as api:
        changed = api.json("PATCH", f"{TENANTS}/{tenant_id}", body=body)
    if output == "json":
        show_json(changed)
    else:
        click.echo(f"{changed['id']} is {changed['status']}")
