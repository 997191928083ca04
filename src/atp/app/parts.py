"""The parts a platform is made of: keys, databases, the pipeline here and in child processes.

Everything here is made from the settings alone, so that a child process can make its own.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, cast

from atp.engine.database import Database, Dialect, Snapshots
from atp.engine.keys import KeyRing, load_or_create, parse_keys
from atp.engine.settings import Settings
from atp.engine.sqlite import SqliteDatabase, SqliteReader
from atp.ingestion.commands import Pipeline
from atp.ingestion.model import Locate
from atp.integrity import store as integrity_store
from atp.kernel.ids import TenantId
from atp.query.handlers import SearchProjection
from atp.specs import schemas
from atp.streams import store as streams_store
from atp.streams.commands import Sealer, Vault
from atp.tenants import store as tenants_store

if TYPE_CHECKING:
    from atp.gateway.tokens import TokenVerifier


def open_ring(settings: Settings) -> KeyRing:
    """Return the master keys; ValueError for a key that is none."""
    return parse_keys(settings.master_key) if settings.master_key else load_or_create(settings.key_file)


def open_databases(settings: Settings, projection: SearchProjection) -> tuple[Database, Database]:
    """Return the main store and the search model: two files, or one server with a writer for each."""
    if not settings.embedded:
        from atp.engine.postgres import PostgresDatabase  # An embedded server need not load it.

        # The search model has a writer of its own here too, so that filling it does not hold up appends.
        return (
            PostgresDatabase(settings.database, schema=main_schema("postgresql")),
            PostgresDatabase(settings.database, schema=list(projection.schema("postgresql"))),
        )
    database = SqliteDatabase(settings.data / "atp.db", schema=main_schema("sqlite"))
    # The model's rows and its checkpoint are one transaction: what a power cut takes back is projected again.
    search = SqliteDatabase(
        settings.data / "search.db", schema=list(projection.schema("sqlite")), durable=False
    )
    return database, search


def main_schema(dialect: Dialect) -> list[str]:
    """Return the statements that create every table of the main store."""
    return [*streams_store.schema(dialect), *tenants_store.SCHEMA, *integrity_store.SCHEMA]


def make_pipeline(settings: Settings, database: Snapshots, vault: Vault) -> Pipeline:
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
    return make_pipeline(settings, reader, Vault(cast("Database", reader), open_ring(settings)))


def pipeline_processes(settings: Settings) -> int:
    """Return how many child processes may prepare batches."""
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


def rotate_keys_at_rest(settings: Settings, tenant: str | None) -> int:
    """Rewrap keys under the current master key, or one tenant's under a new wrapping key; return how many."""
    database, search = open_databases(settings, SearchProjection())
    try:
        vault = Vault(database, open_ring(settings))
        return vault.rotate_tenant(TenantId(tenant)) if tenant else vault.rewrap_tenants()
    finally:
        search.close()
        database.close()
