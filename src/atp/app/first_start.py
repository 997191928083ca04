"""The first start of an installation: tenant demo, its administrator's key, and a real log to look at.

Flows in: an opened platform. Flows out: the key file, readable by its owner only, and the sample's records.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import BinaryIO, Final, cast

from atp.engine.database import Connection, Database
from atp.engine.keys import sync_directory
from atp.engine.settings import Settings
from atp.imports.model import Answer
from atp.ingestion.commands import Pipeline, ingest
from atp.ingestion.model import Batch, Origin
from atp.kernel.clock import now_us
from atp.kernel.errors import Problem
from atp.kernel.ids import TenantId
from atp.streams.commands import Appender
from atp.streams.model import Outcome
from atp.tenants import commands as tenants
from atp.tenants import queries
from atp.tenants.commands import Books, Change
from atp.web.principal import SYSTEM

ADMIN_KEY_FILE: Final = "admin.key"
SAMPLE: Final = "cloudtrail-s3-exfiltration.jsonl"


@dataclass(frozen=True, slots=True)
class Beginnings:
    """What a first start works with."""

    settings: Settings
    database: Database
    books: Books
    pipeline: Pipeline
    appender: Appender

    @property
    def key_file(self) -> Path:
        """Where the administrator's key is written."""
        return self.settings.data / ADMIN_KEY_FILE


def first_start(own: Beginnings) -> Path | None:
    """Make tenant demo with an administrator's key and sample events, if there is no such tenant yet.

    Returns the file with the key, if this machine has it.

    Crash argument: the key is written to a draft before the transaction of tenant and key commits, so nobody
    can be without it; a draft whose transaction never committed is not a key and is written anew. The draft gets
    its name when the sample is in: a crash before that is gone on from, and the sample's own ids keep its events
    from being stored twice.
    """
    key_file, draft = own.key_file, own.key_file.with_name(ADMIN_KEY_FILE + ".new")
    try:
        own.database.write_now(lambda connection: _begin(connection, own, draft))
    except Problem as problem:
        if problem.code != "TENANT_EXISTS":  # Another process was quicker; its machine has the key.
            raise
        return None
    if draft.exists():
        import_sample(own)
        draft.replace(key_file)
        sync_directory(key_file.parent)
    return key_file if key_file.exists() else None


def _begin(connection: Connection, own: Beginnings, draft: Path) -> None:
    """Make tenant and key, unless they are there; leave a draft only if its key is one."""
    if draft.exists() and queries.is_key(connection, draft.read_text("ascii").strip()):
        return
    draft.unlink(missing_ok=True)
    change = Change(principal=SYSTEM, now_us=now_us(), books=own.books)
    lost = own.settings.embedded and not own.key_file.exists()
    issued = tenants.ensure_demo(connection, change=change, key_lost=lost)
    if issued is not None:
        write_secret(draft, issued.secret)


def import_sample(own: Beginnings) -> None:
    """Import the CloudTrail sample into tenant demo; its own event ids keep it from being stored twice."""
    # Only a first start loads the importer.
    from atp.imports.commands.run import Plan, run_import
    from atp.imports.commands.sinks import CallableSink
    from atp.imports.commands.unpacking import Stream
    from atp.imports.store import Checkpoints, RejectFile

    origin = Origin(tenant=TenantId(tenants.DEMO_TENANT.id))

    def send(batch: Sequence[bytes]) -> list[Answer]:
        outcomes = ingest(own.pipeline, own.appender, origin, Batch(batch, received_us=now_us())).result()
        return [_answer(outcome) for outcome in outcomes]

    with files("atp").joinpath("samples", SAMPLE).open("rb") as file:
        run_import(
            Stream(cast("BinaryIO", file)),
            Plan(SAMPLE, identity="sample"),
            CallableSink(send),
            checkpoints=Checkpoints(own.settings.data / "imports"),
            rejects=lambda kept: RejectFile(own.settings.data / "imports" / "sample.rejects.jsonl", kept),
            progress=lambda _counts, _read: None,
        )


def _answer(outcome: Outcome) -> Answer:
    if isinstance(outcome, Problem):
        return Answer("rejected", outcome.code, outcome.message or outcome.code)
    return Answer("duplicate" if outcome.duplicate else "accepted")


def write_secret(path: Path, secret: str) -> None:
    """Write a secret to a file that only its owner may read, durably."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(secret + "\n")
        file.flush()
        os.fsync(file.fileno())
    sync_directory(path.parent)
