"""The platform as one object: what it is made of, how it starts and in which order it stops.

`open_platform` makes the parts, `_gateway` reads as the list of contexts; each is given only what it needs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from atp.app.first_start import Beginnings, first_start
from atp.app.operations import checks, elsewhere, serves
from atp.app.parts import (
    child_pipeline,
    make_pipeline,
    open_databases,
    open_ring,
    pipeline_processes,
    token_verifier,
)
from atp.engine.database import Database
from atp.engine.settings import SERVICES, Settings
from atp.gateway.application import Gateway, build
from atp.gateway.credentials import Authentication
from atp.gateway.reference import ReferenceApi
from atp.gateway.status import StatusApi
from atp.gateway.tenancy import Tenancy
from atp.ingestion.api import IngestionApi
from atp.ingestion.jobs import PipelineProcesses
from atp.integrity.api import IntegrityApi, receipt
from atp.integrity.commands import Guard, Integrator, Signers
from atp.integrity.jobs import IntegrationLoop, VerificationLoop
from atp.integrity.queries.access import Access
from atp.integrity.queries.verification import Verifier
from atp.projections.jobs import ProjectionLoop
from atp.query.api import QueryApi
from atp.query.commands import Disclosing
from atp.query.handlers import SearchProjection
from atp.query.jobs import Wakes, watch
from atp.query.queries import Finder
from atp.specs import load
from atp.streams import store as streams_store
from atp.streams.api import StreamsApi
from atp.streams.commands import Appender, Ledger, Vault
from atp.streams.commands.ledger import SHARD
from atp.tenants.api import TenantApi
from atp.tenants.commands import Books
from atp.tenants.jobs import LastUsed
from atp.tenants.queries import Directory
from atp.web.page import Cursors
from atp.web.request import Handler

BATCH_WORKERS: Final = 2
"""Threads that lead batches through the pipeline: one waits for a child while the other hands its batch over."""
VERIFY_PROCESSES: Final = 1
"""Processes of a verification that the server runs: beside it, more would take the machine from the writes."""
IDLE_LOOK_SECONDS: Final = 10.0
"""How often it is looked for children that have nothing to do."""


@dataclass(slots=True)
class Platform:
    """A running installation, or the part of one that this process runs.

    Owned by the thread of the event loop; the loops inside own threads of their own.
    """

    settings: Settings
    services: frozenset[str]
    database: Database
    search: Database
    beginnings: Beginnings
    processes: PipelineProcesses
    guard: Guard
    signers: Signers
    integration: IntegrationLoop
    verification: VerificationLoop
    projection: ProjectionLoop
    arrivals: Wakes
    progress: Wakes
    committed: Callable[[], None]
    last_used: LastUsed
    workers: ThreadPoolExecutor
    gateway: Gateway = field(init=False)
    admin_key_file: Path | None = None
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def start(self) -> None:
        """Make the first tenant if there is none, then start the loops of this process's services."""
        if self.settings.sample and "ingestion" in self.services:
            self.admin_key_file = await asyncio.to_thread(first_start, self.beginnings)
        if "integrity" in self.services:
            self.integration.start()
            self.verification.start()
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
            self.verification.stop()
            self.integration.stop()
        if "projection" in self.services:
            self.projection.stop()
        self.guard.close()
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
    pipeline = make_pipeline(settings, database, books.vault)
    verification = VerificationLoop(
        database,
        books.ledger,
        Verifier(access=Access.of(settings), last_signed=guard.last, workers=VERIFY_PROCESSES),
        self_audit_seconds=settings.self_audit_seconds,
        committed=committed,
    )
    platform = Platform(
        settings=settings,
        services=services,
        database=database,
        search=search,
        beginnings=Beginnings(settings, database, books, pipeline, appender),
        processes=PipelineProcesses(
            pipeline, partial(child_pipeline, settings), processes=pipeline_processes(settings)
        ),
        guard=guard,
        signers=signers,
        integration=integration,
        verification=verification,
        projection=projecting,
        arrivals=arrivals,
        progress=progress,
        committed=committed,
        last_used=LastUsed(database),
        workers=ThreadPoolExecutor(BATCH_WORKERS, thread_name_prefix="atp-batch"),
    )
    platform.gateway = _gateway(platform, Cursors(ring.secret("cursors")))
    return platform


def _gateway(own: Platform, cursors: Cursors) -> Gateway:
    """Bind every context's handlers to the contract; what another process serves is answered so."""
    books, settings, database = own.beginnings.books, own.settings, own.database
    directory, specification = Directory(database), load()
    handlers: dict[str, Handler] = {
        **IngestionApi(
            pipeline=own.beginnings.pipeline,
            appender=own.beginnings.appender,
            processes=own.processes,
            directory=directory,
            workers=own.workers,
        ).handlers(),
        **StreamsApi(database=database, ledger=books.ledger, committed=own.committed).handlers(),
        **TenantApi(
            database=database, books=books, directory=directory, cursors=cursors, committed=own.committed
        ).handlers(),
        **IntegrityApi(
            database=database,
            ledger=books.ledger,
            vault=books.vault,
            signers=own.signers,
            cursors=cursors,
            advances=own.integration.advances,
            committed=own.committed,
        ).handlers(),
        **QueryApi(
            records=database,
            finder=Finder(own.search, database, books.vault.tenant),
            disclosing=Disclosing(
                database=database, ledger=books.ledger, vault=books.vault, committed=own.committed
            ),
            cursors=cursors,
            arrivals=own.arrivals,
            progress=own.progress,
            receipts=receipt,
        ).handlers(),
        **ReferenceApi(specification).handlers(),
        **StatusApi(checks(database, own.integration, own.projection, own.services)).handlers(),
    }
    return build(
        {name: handler if serves(own.services, name) else elsewhere for name, handler in handlers.items()},
        specification=specification,
        authentication=Authentication(directory, tokens=token_verifier(settings), used=own.last_used.note),
        tenancy=Tenancy(directory, base_host=settings.base_host or None),
    )
