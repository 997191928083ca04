"""The table of commands: `atp` and what it can do, one line each.

A subcommand's module is imported only when it is called, and `atp --help` imports none of them.
"""

from __future__ import annotations

from importlib import import_module
from typing import Final

import click

from atp import __version__

COMMANDS: Final = {
    "serve": ("atp.cli.serve", "serve_command", "Run the server."),
    "events": ("atp.cli.events", "events_group", "Send, list, get, search and watch events; fetch proofs."),
    "import": ("atp.imports.cli", "import_command", "Import an existing log."),
    "verify": (
        "atp.integrity.cli",
        "verify_command",
        "Recompute the log from stored bytes and check everything.",
    ),
    "streams": ("atp.cli.streams", "streams_group", "Show and seal streams."),
    "tenants": ("atp.cli.tenants", "tenants_group", "Create, list and change tenants."),
    "keys": (
        "atp.cli.keys",
        "keys_group",
        "Create, list, revoke and rotate API keys; rotate encryption keys.",
    ),
    "docs": ("atp.cli.docs", "docs_group", "Write the reference pages that are made from the program."),
}
"""Name → (module, attribute, one-line help). The help stands here so that `atp --help` imports nothing."""


class LazyGroup(click.Group):
    """A group whose subcommands are imported when they are needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        found = COMMANDS.get(cmd_name)
        if found is None:
            return None
        command: click.Command = getattr(import_module(found[0]), found[1])
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, _, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="atp", message="%(prog)s %(version)s")
def cli() -> None:
    """The audit trail that proves itself."""
