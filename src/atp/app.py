"""The table of contents: contexts, their tables, handlers and loops, and which service runs what.

`open_platform` builds everything and changes nothing but schemas; `start` makes the first tenant and starts
the loops; `drain` and `stop` end it in the order in which work flows.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from atp.engine.database import Database, Dialect, Snapshots
from atp.engine.keys import KeyRing, load_or_create, parse_keys, sync_directory
from atp.engine.settings import SERVICES, Settings
from atp.engine.sqlite import SqliteDatabase, SqliteReader
from atp.gateway.application import Gateway, build
from atp.gateway.credentials import Authentication
from atp.gateway.reference import ReferenceApi
from atp.gateway.status import Check, PartStatus, StatusApi
from atp.gateway.tenancy import Tenancy
from atp.imports.commands.run import Plan, run_import
from atp.imports.commands.sinks import CallableSink
from atp.imports.commands.unpacking import Stream
from atp.imports.model import Answer
from atp.imports.store import Checkpoints, RejectFile
from atp.ingestion.api import IngestionApi
from atp.ingestion.commands import Pipeline, ingest
from atp.ingestion.jobs import PipelineProcesses
from atp.ingestion.model import Batch, Locate, Origin
from atp.integrity import store as integrity_store
from atp.integrity.api import IntegrityApi, receipt
from atp.integrity.commands import Guard, Integrator, Signers
from atp.integrity.jobs import IntegrationLoop
from atp.kernel.clock import now_us
from atp.kernel.errors import Problem
from atp.kernel.ids import TenantId
from atp.projections.jobs import ProjectionLoop
from atp.query.api import QueryApi
from atp.query.commands import Disclosing
from atp.query.handlers import SearchProjection
from atp.query.jobs import Wakes, watch
from atp.query.queries import Finder
from atp.specs import load, schemas
from atp.streams import store as streams_store
from atp.streams.api import StreamsApi
from atp.streams.commands import Appender, Ledger, Sealer, Vault
from atp.streams.commands.ledger import SHARD
from atp.streams.model import Outcome
from atp.tenants import commands as tenants
from atp.tenants import store as tenants_store
from atp.tenants.api import TenantApi
from atp.tenants.commands import Books, Change
from atp.tenants.jobs import LastUsed
from atp.tenants.queries import Directory
from atp.web.page import Cursors
from atp.web.principal import SYSTEM
from atp.web.request import Handler, Request
from atp.web.response import Response

if TYPE_CHECKING:
    from atp.gateway.tokens import TokenVerifier

ADMIN_KEY_FILE: Final = "admin.key"
SAMPLE: Final = "cloudtrail-s3-exfiltration.jsonl"
IDLE_LOOK_SECONDS: Final = 10.0
"""How often it is looked for children that have nothing to do."""
PROJECTION_LAG_SECONDS_MAX: Final = 10.0
"""Search that is further behind makes the server degraded."""
BATCH_WORKERS: Final = 2
"""Threads that lead batches through the pipeline; more would only wait for the interpreter."""
SERVICE_OF: Final[Mapping[str, str]] = {
    "ingestAuditEvent": "ingestion",
    "ingestAuditEventBatch": "ingestion",
    "listAuditEvents": "query",
    "searchAuditEvents": "query",
    "getAuditEvent": "query",
    "getEventStream": "query",
    "tailAuditEvents": "query",
    "sealEventStream": "ingestion",
    "getAuditEventProof": "integrity",
    "getIntegrityKeys": "integrity",
    "rotateIntegrityKey": "integrity",
    "getIntegrityStatus": "integrity",
    "createVerification": "integrity",
    "listVerifications": "integrity",
    "getVerification": "integrity",
    "getCheckpoint": "integrity",
    "getTile": "integrity",
    "getEntryBundle": "integrity",
    "createTenant": "gateway",
    "listTenants": "gateway",
    "getTenant": "gateway",
    "updateTenant": "gateway",
    "createApiKey": "gateway",
    "listApiKeys": "gateway",
    "revokeApiKey": "gateway",
    "rotateApiKey": "gateway",
}
"""Which service answers an operation (OPS-01); what is not listed (status, reference) every process answers."""


@dataclass(slots=True)
class Platform:
    """A running installation, or the part of one that this process runs.

    Owned by the thread of the event loop; the loops inside own threads of their own.
    """

    settings: Settings
    services: frozenset[str]
    database: Database
    search: Database
    books: Books
    pipeline: Pipeline
    appender: Appender
    processes: PipelineProcesses
    guard: Guard
    integration: IntegrationLoop
    projection: ProjectionLoop
    arrivals: Wakes
    last_used: LastUsed
    workers: ThreadPoolExecutor
    gateway: Gateway
    admin_key_file: Path | None = None
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def start(self) -> None:
        """Make the first tenant if there is none, then start the loops of this process's services."""
        await asyncio.to_thread(first_start, self)
        if "integrity" in self.services:
            self.integration.start()
        if "projection" in self.services:
            self.projection.start()
        self._tasks.append(asyncio.create_task(self.last_used.run()))
        self._tasks.append(asyncio.create_task(self._end_idle()))
        if "query" in self.services and not self.settings.embedded:
            self._tasks.append(asyncio.create_task(watch(self.database, self.arrivals)))

    async def _end_idle(self) -> None:
        while True:
            await asyncio.sleep(IDLE_LOOK_SECONDS)
            await asyncio.to_thread(self.processes.end_idle)

    async def drain(self) -> bool:
        """Refuse new requests and wait for those in flight; tell whether all of them finished in time."""
        return await self.gateway.stop(seconds=self.settings.drain_seconds)

    async def stop(self) -> None:
        """End the loops in the order in which work flows, so that each still sees what the one before left."""
        for task in self._tasks:
            task.cancel()
        await self.last_used.flush()
        await asyncio.to_thread(self._stop_loops)

    def _stop_loops(self) -> None:
        self.workers.shutdown(wait=True)
        self.processes.close()
        if "integrity" in self.services:
            self.integration.stop()
        if "projection" in self.services:
            self.projection.stop()
        self.guard.close()
        if self.search is not self.database:
            self.search.close()
        self.database.close()


def open_platform(settings: Settings) -> Platform:
    """Open the databases, build every context and bind the handlers to the contract; nothing runs yet.

    Raises DatabaseInUse, UnsafeDatabase, KeyUnavailable, StorageUnavailable and ValueError (a bad key).
    """
    services = frozenset(filter(None, (name.strip() for name in settings.only.split(",")))) or frozenset(
        SERVICES
    )
    ring = open_ring(settings)
    projection = SearchProjection()
    database, search = open_databases(settings, projection)
    database.write_now(lambda connection: streams_store.ensure_shard(connection, SHARD))
    books = Books(Ledger(), Vault(database, ring), settings.log_origin)
    guard = Guard(settings.data / "checkpoints.guard")
    signers = Signers(database, books.vault.tenant, ml_dsa=settings.sign_ml_dsa)
    integration = IntegrationLoop(
        Integrator(database, guard, signers), interval_ms=settings.checkpoint_interval_ms
    )
    arrivals, progress = Wakes(), Wakes()
    projecting = ProjectionLoop(database, search, projection, on_progress=progress.notify)

    def committed() -> None:
        integration.notify()
        projecting.notify()
        arrivals.notify()

    appender = Appender(database, books.ledger, on_commit=committed)
    pipeline = _pipeline(settings, database, books.vault)
    processes = PipelineProcesses(pipeline, partial(child_pipeline, settings), processes=_processes(settings))
    directory, last_used = Directory(database), LastUsed(database)
    workers = ThreadPoolExecutor(BATCH_WORKERS, thread_name_prefix="atp-batch")
    cursors = Cursors(ring.secret("cursors"))
    specification = load()
    handlers: dict[str, Handler] = {
        **IngestionApi(
            pipeline=pipeline, appender=appender, processes=processes, directory=directory, workers=workers
        ).handlers(),
        **StreamsApi(database=database, ledger=books.ledger, committed=committed).handlers(),
        **TenantApi(
            database=database, books=books, directory=directory, cursors=cursors, committed=committed
        ).handlers(),
        **IntegrityApi(
            database=database,
            ledger=books.ledger,
            vault=books.vault,
            signers=signers,
            cursors=cursors,
            advances=integration.advances,
            committed=committed,
        ).handlers(),
        **QueryApi(
            records=database,
            finder=Finder(search, database, books.vault.tenant),
            disclosing=Disclosing(
                database=database, ledger=books.ledger, vault=books.vault, committed=committed
            ),
            cursors=cursors,
            arrivals=arrivals,
            progress=progress,
            receipts=receipt,
        ).handlers(),
        **ReferenceApi(specification).handlers(),
        **StatusApi(checks(database, integration, projecting, services)).handlers(),
    }
    gateway = build(
        {name: handler if serves(services, name) else elsewhere for name, handler in handlers.items()},
        specification=specification,
        authentication=Authentication(directory, tokens=token_verifier(settings), used=last_used.note),
        tenancy=Tenancy(directory, base_host=settings.base_host or None),
    )
    key_file = settings.data / ADMIN_KEY_FILE
    return Platform(
        settings=settings,
        services=services,
        database=database,
        search=search,
        books=books,
        pipeline=pipeline,
        appender=appender,
        processes=processes,
        guard=guard,
        integration=integration,
        projection=projecting,
        arrivals=arrivals,
        last_used=last_used,
        workers=workers,
        gateway=gateway,
        admin_key_file=key_file if key_file.exists() else None,
    )


def open_ring(settings: Settings) -> KeyRing:
    """Return the master keys; ValueError for a key that is none."""
    return parse_keys(settings.master_key) if settings.master_key else load_or_create(settings.key_file)


def open_databases(settings: Settings, projection: SearchProjection) -> tuple[Database, Database]:
    """Return the main store and the search model: two files, or one server."""
    if not settings.embedded:
        from atp.engine.postgres import PostgresDatabase  # An embedded server need not load it.

        server = PostgresDatabase(
            settings.database, schema=[*main_schema("postgresql"), *projection.schema("postgresql")]
        )
        return server, server
    database = SqliteDatabase(settings.data / "atp.db", schema=main_schema("sqlite"))
    search = SqliteDatabase(settings.data / "search.db", schema=list(projection.schema("sqlite")))
    return database, search


def main_schema(dialect: Dialect) -> list[str]:
    """Return the statements that create every table of the main store."""
    return [*streams_store.schema(dialect), *tenants_store.SCHEMA, *integrity_store.SCHEMA]


def _pipeline(settings: Settings, database: Snapshots, vault: Vault) -> Pipeline:
    return Pipeline(
        contract=schemas.validator("audit-event.v1"),
        vault=vault,
        sealer=Sealer(database, vault.tenant),
        locate=_locator(settings),
    )


def child_pipeline(settings: Settings) -> Pipeline:
    """Return the pipeline of a child process: the same, on a reader of its own; it never writes."""
    if settings.embedded:
        reader: Snapshots = SqliteReader(settings.data / "atp.db")
    else:
        from atp.engine.postgres import PostgresDatabase  # An embedded server need not load it.

        reader = PostgresDatabase(settings.database)
    return _pipeline(settings, reader, Vault(cast("Database", reader), open_ring(settings)))


def _processes(settings: Settings) -> int:
    automatic = max(1, (os.cpu_count() or 1) - 1)
    return automatic if settings.pipeline_processes < 0 else settings.pipeline_processes


def _locator(settings: Settings) -> Locate | None:
    if not settings.geo_database:
        return None
    from atp.engine.geo import locator  # Only where it is configured.

    return locator(Path(settings.geo_database))


def token_verifier(settings: Settings) -> TokenVerifier | None:
    """Return the verifier of bearer JWTs, or None where no issuer is trusted."""
    if not settings.oidc_issuer:
        return None
    from atp.gateway.tokens import IssuerSettings, TokenVerifier  # Loads the JOSE library.

    issuer = IssuerSettings(
        issuer=settings.oidc_issuer, audience=settings.oidc_audience, jwks_url=settings.oidc_jwks_url or None
    )
    return TokenVerifier((issuer,))


def serves(services: frozenset[str], operation_id: str) -> bool:
    """Tell whether a process with these services answers an operation."""
    return SERVICE_OF.get(operation_id) in services or operation_id not in SERVICE_OF


async def elsewhere(request: Request) -> Response:
    """Answer for an operation of a service that another process runs."""
    raise Problem("NOT_FOUND", f"This process does not run the {SERVICE_OF[request.operation_id]} service.")


def checks(
    database: Database, integration: IntegrationLoop, projection: ProjectionLoop, services: frozenset[str]
) -> list[tuple[str, Check]]:
    """Return how each part is asked for its health."""

    async def store() -> PartStatus:
        await asyncio.wrap_future(database.read(lambda connection: connection.row("SELECT 1")))
        return PartStatus("store", "ok")

    async def integrity() -> PartStatus:
        problem = integration.problem
        return PartStatus("integrity", "degraded" if problem else "ok", problem or "")

    async def search() -> PartStatus:
        lag = await asyncio.to_thread(projection.lag)
        late = lag.seconds > PROJECTION_LAG_SECONDS_MAX
        return PartStatus(
            "search", "degraded" if late else "ok", f"{lag.records} records behind" if late else ""
        )

    found: list[tuple[str, Check]] = [("store", store)]
    if "integrity" in services:
        found.append(("integrity", integrity))
    if "projection" in services:
        found.append(("search", search))
    return found


# -- the first start -----------------------------------------------------------------------------------------


def first_start(platform: Platform) -> None:
    """Make tenant demo with an administrator's key and sample events, if the installation has no tenant yet.

    Crash argument: tenant and key are one transaction; the key file is written right after it. A crash in
    between leaves a tenant whose key nobody has, which the next start mends by issuing another.
    """
    settings, key_file = platform.settings, platform.settings.data / ADMIN_KEY_FILE
    if not settings.sample or "ingestion" not in platform.services:
        return
    change = Change(principal=SYSTEM, now_us=now_us(), books=platform.books)
    try:
        issued = platform.database.write_now(
            lambda c: tenants.ensure_demo(
                c, change=change, key_lost=settings.embedded and not key_file.exists()
            )
        )
    except Problem as problem:
        if problem.code != "TENANT_EXISTS":  # Another process was quicker; its machine has the key.
            raise
        return
    if issued is None:
        return
    write_secret(key_file, issued.secret)
    platform.admin_key_file = key_file
    import_sample(platform)


def import_sample(platform: Platform) -> None:
    """Import the CloudTrail sample into tenant demo; its own event ids keep it from being stored twice."""
    origin = Origin(tenant=TenantId(tenants.DEMO_TENANT.id))

    def send(batch: Sequence[bytes]) -> list[Answer]:
        outcomes = ingest(
            platform.pipeline, platform.appender, origin, Batch(batch, received_us=now_us())
        ).result()
        return [_answer(outcome) for outcome in outcomes]

    with files("atp").joinpath("samples", SAMPLE).open("rb") as file:
        run_import(
            Stream(cast("BinaryIO", file)),
            Plan(SAMPLE, identity="sample"),
            CallableSink(send),
            checkpoints=Checkpoints(platform.settings.data / "imports"),
            rejects=lambda kept: RejectFile(
                platform.settings.data / "imports" / "sample.rejects.jsonl", kept
            ),
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


def rotate_keys_at_rest(settings: Settings, tenant: str | None) -> int:
    """Rewrap keys under the current master key, or one tenant's under a new wrapping key; return how many."""
    database, search = open_databases(settings, SearchProjection())
    try:
        vault = Vault(database, open_ring(settings))
        return vault.rotate_tenant(TenantId(tenant)) if tenant else vault.rewrap_tenants()
    finally:
        if search is not database:
            search.close()
        database.close()
