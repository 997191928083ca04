"""`atp docs`: the pages that are made from the program, written to standard output.

The settings page comes from the settings themselves, so what is printed is what the server reads.
"""

from __future__ import annotations

import click


@click.group("docs")
def docs_group() -> None:
    """Write the reference pages that are made from the program."""


@docs_group.command("settings")
def settings() -> None:
    """Write docs/settings.md."""
    from atp.engine.settings import reference

    click.echo(reference(), nl=False)
