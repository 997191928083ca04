"""`atp verify`: the command, its progress and its exit codes.

0: everything is right. 1: there are findings. 2: it could not be verified. By default it reads the database
itself, beside a running server or without one, and trusts nothing that a server would say; `--server` asks one.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import click
import msgspec

from atp.engine import settings as settings_
from atp.engine.database import StorageUnavailable
from atp.engine.keys import KeyUnavailable
from atp.engine.sqlite import SqliteReader
from atp.integrity.model import Finding, Target, VerificationResult
from atp.kernel.ids import decode_ulid, tenant_id

GUARD_FILE: Final = "checkpoints.guard"
"""In the data directory: what was signed (commands.guard)."""
SHOWN_FINDINGS_MAX: Final = 100
"""Findings printed as text; `--output json` prints all that were kept."""
STRUCTURE_MAX: Final = 20
"""Complaints of SQLite about its own file that are shown."""

Progress = Callable[[int, int], None]


class CannotVerify(click.ClickException):
    """Shown as one line; exit code 2."""

    exit_code = 2


@click.command("verify")
@click.option("--data", type=click.Path(path_type=Path), help="Data directory; else ATP_DATA, else ./var.")
@click.option("--database", help="PostgreSQL URL; else ATP_DATABASE, else the file in the data directory.")
@click.option("--server", is_flag=True, help="Ask the running server (ATP_SERVER) to verify, and follow it.")
@click.option(
    "--policy",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="C2SP tlog-policy with the keys you trust.",
)
@click.option("--tenant", help="One tenant; else all.")
@click.option("--stream", help="One stream of the tenant.")
@click.option("--record", help="One record of the tenant, by id.")
@click.option("--no-values", is_flag=True, help="Do not read sealed values.")
@click.option("--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.pass_context
def verify_command(
    context: click.Context,
    data: Path | None,
    database: str | None,
    server: bool,
    policy: Path | None,
    tenant: str | None,
    stream: str | None,
    record: str | None,
    no_values: bool,
    output: str,
) -> None:
    """Recompute every hash, tree and signature from stored bytes and compare with what was signed."""
    target = _target(stream, record, values=not no_values)
    if target.scope != "log" and tenant is None and not server:
        raise click.UsageError("--stream and --record need --tenant.")
    try:
        if server:
            if policy:
                raise click.UsageError(
                    "--policy is for local verification: what a server says proves nothing."
                )
            results = _ask_server(target, tenant, output)
        else:
            settings = settings_.load(data=data, database=database)
            results = _verify_here(settings, target, tenant, policy=policy, output=output)
        clean = _tell(results, output)
    except (StorageUnavailable, LookupError, ValueError, KeyUnavailable) as error:
        raise CannotVerify(str(error)) from None
    except KeyboardInterrupt:
        click.echo("Interrupted; nothing is concluded.", err=True)
        context.exit(130)
    context.exit(0 if clean else 1)


def _target(stream: str | None, record: str | None, *, values: bool) -> Target:
    if stream and record:
        raise click.UsageError("--stream and --record exclude each other.")
    if record:
        try:
            decode_ulid(record)
        except ValueError:
            raise click.UsageError(f"{record} is not the id of a record.") from None
        return Target(scope="record", record_id=record, values=values)
    if stream:
        return Target(scope="stream", stream=stream, values=values)
    return Target(values=values)


def _verify_here(
    settings: settings_.Settings, target: Target, tenant: str | None, *, policy: Path | None, output: str
) -> Iterator[tuple[str, VerificationResult]]:
    """Yield (tenant, result) of each log, read from the database itself."""
    # The engine of verification loads the cryptography; `--help` need not.
    from atp.integrity.commands.guard import last_signed
    from atp.integrity.queries.access import Access
    from atp.integrity.queries.signing import BadPolicy, parse_policy
    from atp.integrity.queries.verification import Verifier, find_logs

    access = Access.of(settings)
    access.ring()  # A master key that is none is said at once.
    if target.values and not access.keys:
        click.echo(
            "There is no master key here: sealed values are withheld from this verification.", err=True
        )
    try:
        trusted = parse_policy(policy.read_text("utf-8")) if policy else None
    except BadPolicy as error:
        raise CannotVerify(f"{policy}: {error}") from None
    signed = last_signed(settings.data / GUARD_FILE)
    verifier = Verifier(
        access=access, last_signed=signed.get, policy=trusted, workers=max(1, os.cpu_count() or 1)
    )
    reader = access.open()
    try:
        try:
            logs = find_logs(reader, None if tenant is None else tenant_id(tenant))
        except StorageUnavailable as error:
            yield _unreadable(error)
            return
        missing = signed.keys() - {log.log_id for log in logs} if tenant is None else set()
        for log_id in sorted(missing):
            yield _lost(log_id, signed[log_id][0])
        for log in logs:
            with _progress(log.tenant, output) as progress:
                result = verifier(log, target, progress)
            yield log.tenant, result
        if isinstance(reader, SqliteReader) and tenant is None:
            yield from _structure(reader)
    finally:
        reader.close()


def _unreadable(error: StorageUnavailable) -> tuple[str, VerificationResult]:
    from atp.integrity.queries.findings import damage

    if damage(error) is None:
        raise error
    return "", _failed(Finding(kind="storage_damaged", message=f"The logs cannot be read: {error}."))


def _lost(log_id: str, size: int) -> tuple[str, VerificationResult]:
    message = f"Log {log_id} is gone, and {size} records of it were signed."
    return "", _failed(Finding(kind="rolled_back", message=message, position=0))


def _structure(reader: SqliteReader) -> Iterator[tuple[str, VerificationResult]]:
    """Yield what SQLite finds wrong in its own file: indexes and pages that no record lies on."""
    complaints = reader.check_structure(STRUCTURE_MAX)
    if complaints:
        findings = [
            Finding(kind="storage_damaged", message=f"SQLite's own check: {text[:900]}")
            for text in complaints
        ]
        yield "", _failed(*findings)


def _failed(*findings: Finding) -> VerificationResult:
    from atp.integrity.model import ValueCounts

    return VerificationResult(
        verified=False,
        size=0,
        root_hash=None,
        signatures=[],
        values=ValueCounts(),
        finding_count=len(findings),
        findings=list(findings),
    )


def _ask_server(target: Target, tenant: str | None, output: str) -> Iterator[tuple[str, VerificationResult]]:
    """Start a verification on the server, follow it, and yield its result."""
    from atp.integrity.queries.remote import Refused, follow

    client = settings_.load_client(tenant=tenant)
    with _progress(client.tenant or "the key's tenant", output) as progress:
        try:
            result = follow(client, target, progress)
        except Refused as error:
            raise CannotVerify(str(error)) from None
    yield client.tenant, result


# -- what is shown -------------------------------------------------------------------------------------------


@contextmanager
def _progress(name: str, output: str) -> Iterator[Progress]:
    """Show how far a verification is, on standard error and only to people."""
    if output == "json" or not sys.stderr.isatty():
        yield lambda _done, _total: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(name)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _tell(results: Iterator[tuple[str, VerificationResult]], output: str) -> bool:
    """Print each result as it comes; tell whether all were clean."""
    clean, told = True, []
    for tenant, result in results:
        clean = clean and result.verified
        if output == "json":
            told.append({"tenant": tenant or None, **msgspec.to_builtins(result)})
        else:
            _tell_one(tenant, result)
    if output == "json":
        click.echo(
            msgspec.json.format(msgspec.json.encode({"verified": clean, "logs": told}), indent=2).decode()
        )
    return clean


def _tell_one(tenant: str, result: VerificationResult) -> None:
    if tenant:
        click.echo(f"{tenant}: {result.size} record{'' if result.size == 1 else 's'}")
    if result.root_hash:
        click.echo(f"  root       {result.root_hash}")
    for signature in result.signatures:
        right = "right" if signature.valid else "WRONG"
        click.echo(f"  signature  {signature.algorithm} {signature.key_id} {right}")
    counts = {name: getattr(result.values, name) for name in result.values.__struct_fields__}
    if any(counts.values()):
        shown = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
        click.echo(f"  values     {shown}")
    for finding in result.findings[:SHOWN_FINDINGS_MAX]:
        click.echo(f"  FINDING    {_finding(finding)}")
    if result.finding_count > min(SHOWN_FINDINGS_MAX, len(result.findings)):
        click.echo(f"  …          {result.finding_count} findings in all")
    count = result.finding_count
    click.echo(
        "  verified" if result.verified else f"  NOT VERIFIED: {count} finding{'' if count == 1 else 's'}"
    )


def _finding(finding: Finding) -> str:
    parts = []
    if finding.position is not None:
        parts.append(f"position {finding.position}")
    if finding.id:
        parts.append(f"record {finding.id}")
    if finding.stream:
        parts.append(f"stream {finding.stream}")
    where = f" at {', '.join(parts)}" if parts else ""
    return f"{finding.kind}{where}: {finding.message}"
