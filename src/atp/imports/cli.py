"""`atp import`: the command, its progress bar and its exit codes.

0: every line is in the log. 1: lines were rejected or the source is damaged; the rest is in. 2: it could not
be done, or not to the end; running it again goes on. 130: interrupted; likewise.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import click
import msgspec
import yaml

from atp.imports.commands.run import Plan, Report, preview, run_import
from atp.imports.commands.sinks import HttpSink
from atp.imports.commands.unpacking import Stream
from atp.imports.model import Counts, Reject, SinkUnavailable, SourceUnreadable
from atp.imports.rules.csv_rows import CsvMapping, MappingFault, read_mapping
from atp.imports.rules.detect import FORMATS
from atp.imports.store import Checkpoints, RejectFile
from atp.kernel.clock import monotonic

PREVIEW_EVENTS_MAX = 3
SHOWN_REJECTS_MAX = 5


class CannotImport(click.ClickException):
    """Shown as one line; exit code 2."""

    exit_code = 2


@click.command("import")
@click.argument("source", type=str)
@click.option(
    "--format", "format_name", type=click.Choice(FORMATS), help="Needed where the beginning leaves a doubt."
)
@click.option(
    "--mapping",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="YAML: CSV columns to fields.",
)
@click.option("--server", help="Address of the server; else ATP_SERVER, else http://127.0.0.1:8080.")
@click.option(
    "--key-file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="File with the API key."
)
@click.option("--tenant", help="Tenant, where the key may use several.")
@click.option("--stream", help="Put everything into this stream instead of one a resource.")
@click.option(
    "--dry-run", is_flag=True, help="Map everything, show the first events and the counts, send nothing."
)
@click.option(
    "--restart", is_flag=True, help="Begin at the first line; what is stored already is recognised."
)
@click.option(
    "--rejects", type=click.Path(dir_okay=False, path_type=Path), help="Else <source>.rejects.jsonl."
)
@click.option("--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.pass_context
def import_command(
    context: click.Context,
    source: str,
    format_name: str | None,
    mapping: Path | None,
    server: str | None,
    key_file: Path | None,
    tenant: str | None,
    stream: str | None,
    dry_run: bool,
    restart: bool,
    rejects: Path | None,
    output: str,
) -> None:
    """Import an existing log: SOURCE is a file, plain, .gz or .zip, or - for standard input.

    Interrupt it whenever you like and run it again: nothing is lost and nothing is stored twice.
    """
    name = "stdin" if source == "-" else Path(source).name
    try:
        with _opened(source) as (file, size):
            plan = Plan(name, None, format_name, _mapping(mapping), stream, restart)
            if dry_run:
                context.exit(_show(file, plan, output))
            address, key, data = _destination(server, key_file)
            if source != "-":
                plan = plan._replace(identity=f"{address}\0{tenant or ''}\0{Path(source).resolve()}")
            target = rejects or Path(f"{source if source != '-' else name}.rejects.jsonl")
            with _progress(size, output) as show:
                report = run_import(
                    file,
                    plan,
                    HttpSink(address, key, tenant=tenant or None),
                    checkpoints=Checkpoints(data / "imports"),
                    rejects=lambda kept: RejectFile(target, kept),
                    progress=show,
                )
    except (SourceUnreadable, MappingFault) as error:
        raise CannotImport(str(error)) from None
    except SinkUnavailable as error:
        raise CannotImport(
            f"{error} What was acknowledged stays; the same command goes on from there."
        ) from None
    except KeyboardInterrupt:
        click.echo("Interrupted. What was acknowledged stays; the same command goes on from there.", err=True)
        context.exit(130)
    context.exit(_tell(report, target, output))


def _destination(server: str | None, key_file: Path | None) -> tuple[str, str, Path]:
    """Return the server's address, the API key, and the directory for our own state."""
    from atp.engine.settings import load, load_client  # Read the environment only when it is needed.

    client = load_client(server=server)
    key = key_file.read_text("utf-8").strip() if key_file else client.api_key
    if not key:
        raise CannotImport("There is no API key: name a file with --key-file, or set ATP_API_KEY.")
    return client.server, key, load().data


@contextmanager
def _opened(source: str) -> Iterator[tuple[Stream, int | None]]:
    if source == "-":
        yield Stream(sys.stdin.buffer), None
        return
    path = Path(source)
    try:
        file: BinaryIO = path.open("rb")
    except OSError as error:
        raise CannotImport(f"{source} cannot be opened: {error.strerror}.") from None
    with file:
        yield Stream(file), path.stat().st_size


def _mapping(path: Path | None) -> CsvMapping | None:
    if path is None:
        return None
    try:
        return read_mapping(yaml.safe_load(path.read_text("utf-8")))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise MappingFault(f"{path} is not YAML: {error}") from None


@contextmanager
def _progress(size: int | None, output: str) -> Iterator[Callable[[Counts, int], None]]:
    """Show a bar of bytes with events a second and rejects on a terminal, else a line now and then."""
    begun = monotonic()
    if output == "json" or not sys.stderr.isatty():
        yield lambda _counts, _position: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), DownloadColumn(), TextColumn("{task.fields[said]}"), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("import", total=size, said="")
        first: list[int] = []

        def show(counts: Counts, position: int) -> None:
            done = counts.accepted + counts.duplicates
            first.append(done) if not first else None
            rate = (done - first[0]) / max(monotonic() - begun, 0.001)
            said = f"{done:,} events · {rate:,.0f}/s · {counts.rejected:,} rejected"
            bar.update(task, completed=position, said=said)

        yield show


def _show(file: Stream, plan: Plan, output: str) -> int:
    """Print what a dry run finds; exit code 1 where lines would be rejected."""
    found, outcomes = preview(file, plan)
    events = rejected = 0
    damage: str | None = None
    try:
        for outcome in outcomes:
            if isinstance(outcome, Reject):
                rejected += 1
                if rejected <= SHOWN_REJECTS_MAX:
                    click.echo(f"{outcome.part}:{outcome.line}: {outcome.code}: {outcome.reason}", err=True)
                continue
            events += 1
            if events <= PREVIEW_EVENTS_MAX and output == "text":
                click.echo(msgspec.json.format(outcome, indent=2).decode())
    except SourceUnreadable as error:
        damage = str(error)
        click.echo(damage, err=True)
    if output == "json":
        summary = {"format": found, "events": events, "rejected": rejected, "damage": damage}
        click.echo(msgspec.json.encode(summary).decode())
    else:
        click.echo(f"{found}: {events:,} events, {rejected:,} lines rejected; nothing was sent.")
    return 1 if rejected or damage else 0


def _tell(report: Report, target: Path, output: str) -> int:
    """Print the result and return the exit code."""
    counts, damage = report.counts, report.damage
    if output == "json":
        summary = {
            "format": report.format,
            "accepted": counts.accepted,
            "duplicates": counts.duplicates,
            "rejected": counts.rejected,
            "resumedAtLine": report.resumed_lines,
            "rejects": str(target) if counts.rejected else None,
            "damage": damage,
        }
        click.echo(msgspec.json.encode(summary).decode())
    else:
        if report.resumed_lines:
            click.echo(f"Went on after line {report.resumed_lines:,}, which an earlier run had reached.")
        click.echo(
            f"{report.format}: {counts.accepted:,} events stored, {counts.duplicates:,} were there already, "
            f"{counts.rejected:,} rejected."
        )
        if counts.rejected:
            click.echo(f"The rejected lines and their reasons are in {target}.")
    if damage:
        click.echo(f"The source could not be read to its end: {damage}", err=True)
    return 1 if counts.rejected or damage else 0
