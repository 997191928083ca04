"""A thousand records of every sort, made once: events, platform records, a sealed stream, an erased subject."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from atp.integrity.commands import rotate_keys
from atp.integrity.commands.guard import last_signed
from atp.kernel.ids import TenantId
from atp.streams import queries
from atp.streams.commands.erasure import erase_subject
from atp.streams.model import SealRequest
from tests.integrity.holding import Held
from tests.integrity.world import ACME, OTHER, World, open_world

SYSTEM = {"type": "system", "id": "test"}
RECORDS = 1_000


def furnish(world: World, tenant: TenantId) -> None:
    """Fill a tenant's log with RECORDS records of every sort, under a checkpoint with two generations of keys."""
    ref = world.vault.tenant(tenant).subject_ref("user", "user-3")
    world.fill(300, tenant=tenant)
    world.integrate()
    world.database.write_now(
        lambda c: world.ledger.seal_stream(
            c, tenant, "document/doc-5", actor=SYSTEM, request=SealRequest("finished")
        )
    )
    world.database.write_now(
        lambda c: erase_subject(c, world.ledger, tenant, ref=ref, reason="asked for", actor=SYSTEM)
    )
    world.sealer.forget(tenant, ref)
    log = world.database.read_now(lambda c: queries.log(c, tenant))
    vault = world.vault.tenant(tenant)
    world.database.write_now(
        lambda c: rotate_keys(
            c, world.ledger, vault, log, overlap_seconds=3600, now_us=world.clock(), actor=SYSTEM
        )
    )
    world.integrate()
    numbers = [n for n in range(300, 2_000) if n % 11 != 5][: RECORDS - 303]
    world.append([world.event(n, tenant=tenant) for n in numbers], tenant=tenant)
    world.integrate()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A fresh embedded installation with two empty tenants."""
    opened = open_world(tmp_path)
    for tenant in (OTHER, ACME):
        opened.open_tenant(tenant)
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def furnished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a closed installation with two tenants of RECORDS records each."""
    folder = tmp_path_factory.mktemp("furnished")
    world = open_world(folder)
    for tenant in (OTHER, ACME):
        world.open_tenant(tenant)
        furnish(world, tenant)
    world.close()
    return folder


@pytest.fixture(scope="session")
def held(furnished: Path) -> Held:
    return Held(furnished / "atp.db", last_signed(furnished / "signed.log"))
