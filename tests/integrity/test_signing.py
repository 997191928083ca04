"""Signing: keys with overlap, the guard against a second root, two integrators, crashes in between."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest

from atp.integrity import queries
from atp.integrity.commands import Guard, Integrator, Signers, rotate_keys
from atp.integrity.commands.guard import last_signed
from atp.integrity.jobs import IntegrationLoop
from atp.integrity.model import Checkpoint, LogKey, Target
from atp.integrity.queries.access import Access
from atp.integrity.queries.signing import parse_policy
from atp.integrity.queries.verification import Verifier, find_logs
from atp.integrity.rules import notes
from atp.kernel.clock import SECOND_US, now_us
from atp.kernel.hashing import b64u
from atp.kernel.ids import TenantId
from atp.kernel.merkle import consistency_proof, consistent
from atp.streams import queries as streams
from atp.streams.model import LogHead
from tests.integrity.holding import kinds, shown
from tests.integrity.world import ACME, MASTER, OTHER, World, open_world

SYSTEM = {"type": "system", "id": "test"}


def log_of(world: World) -> LogHead:
    return world.database.read_now(lambda c: streams.log(c, ACME))


def checkpoint(world: World) -> Checkpoint:
    found = world.database.read_now(lambda c: queries.checkpoint(c, log_of(world).tenant_no))
    assert found is not None
    return found


def keys(world: World) -> list[LogKey]:
    return world.database.read_now(lambda c: queries.keys(c, log_of(world).tenant_no))


def rotate(world: World, overlap_seconds: int) -> None:
    vault, log = world.vault.tenant(ACME), log_of(world)
    world.database.write_now(
        lambda c: rotate_keys(
            c, world.ledger, vault, log, overlap_seconds=overlap_seconds, now_us=world.clock(), actor=SYSTEM
        )
    )


def signers_of(note: bytes) -> set[str]:
    return {signature.key_id for signature in notes.parse(note).signatures}


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.us = now_us()

    def __call__(self) -> int:
        return self.us


def test_the_first_signature_makes_the_keys(world: World) -> None:
    """INT-03: a new tenant's log has both keys by its first checkpoint, and each signature verifies."""
    world.fill(3)
    assert keys(world) == []
    world.integrate()
    note = notes.parse(checkpoint(world).note)
    known = {key.key_id: key for key in keys(world)}
    assert {key.algorithm for key in known.values()} == {"Ed25519", "ML-DSA-44"}
    for signature in note.signatures:
        key = known[signature.key_id]
        assert notes.verifies(note, signature, key.algorithm, key.public)


def test_rotated_keys_sign_together_until_the_overlap_ends(tmp_path: Path) -> None:
    """INT-03: the rotation's own checkpoint carries both generations; after the overlap only the new one signs."""
    clock = Clock()
    world = open_world(tmp_path, clock=clock)
    world.open_tenant(ACME)
    world.fill(10)
    world.integrate()
    old, before = signers_of(checkpoint(world).note), checkpoint(world)
    policy = parse_policy(queries.policy_text(log_of(world), keys(world), clock()))
    rotate(world, overlap_seconds=60)
    world.integrate()
    both = signers_of(checkpoint(world).note)
    assert old < both
    assert len(both) == 4
    clock.us += 61 * SECOND_US
    world.fill(1, first=10)
    world.integrate()
    new = signers_of(checkpoint(world).note)
    assert new == both - old
    assert {key.key_id: key.state(clock()) for key in keys(world)} == dict.fromkeys(
        new, "active"
    ) | dict.fromkeys(old, "retired")
    # A receipt from before still verifies with the policy of its time.
    parsed = notes.parse(before.note)
    trusted = {key.key_id: key for key in policy}
    assert any(
        notes.verifies(parsed, line, trusted[line.key_id].algorithm, trusted[line.key_id].public)
        for line in parsed.signatures
        if line.key_id in trusted
    )
    world.close()


def test_an_idle_log_is_signed_anew_by_a_rotation(world: World) -> None:
    """INT-03: the record of the rotation is enough of an event for the next checkpoint."""
    world.fill(1)
    world.integrate()
    size = checkpoint(world).size
    rotate(world, overlap_seconds=3600)
    world.integrate()
    assert checkpoint(world).size == size + 1
    assert len(signers_of(checkpoint(world).note)) == 4


def test_a_restored_older_copy_never_signs_a_second_root(tmp_path: Path) -> None:
    """INT-03: what was signed is remembered outside the store, so a rewound log stays unsigned and says why."""
    world = open_world(tmp_path)
    world.open_tenant(ACME)
    world.open_tenant(OTHER)
    world.fill(300)
    world.integrate()
    world.close()
    shutil.copy(tmp_path / "atp.db", tmp_path / "older.db")
    world = open_world(tmp_path)
    world.fill(10, first=300)
    world.integrate()
    signed = checkpoint(world)
    world.close()
    shutil.copy(tmp_path / "older.db", tmp_path / "atp.db")

    world = open_world(tmp_path)
    world.fill(5, first=900)
    world.fill(5, tenant=OTHER)
    world.integrate()
    assert checkpoint(world).size == 300
    assert "310 records were signed" in world.integrator.refused[ACME]
    assert OTHER not in world.integrator.refused
    world.fill(20, first=905)
    world.integrate()
    assert checkpoint(world).size == 300
    assert "another root was signed for size 310" in world.integrator.refused[ACME]
    assert world.loop.problem is not None
    log = log_of(world)
    world.close()

    verifier = Verifier(
        access=Access(str(tmp_path / "atp.db"), b64u(MASTER)),
        last_signed=last_signed(tmp_path / "signed.log").get,
    )
    assert last_signed(tmp_path / "signed.log")[log.log_id] == (310, signed.root)

    result = verifier(log, Target(), lambda _done, _total: None)
    assert "rolled_back" in kinds(result), shown(result.findings)


def test_a_crash_between_guard_and_store_leaves_nothing_to_repair(world: World) -> None:
    """Crash argument of Integrator.step: roots noted but not stored are the ones that the records give again."""
    world.fill(200)

    class Crash(Exception):
        pass

    def crash(*_: object) -> bool:
        raise Crash

    world.integrator._store = crash  # type: ignore[method-assign]
    with pytest.raises(Crash):
        world.integrator.step()
    log = log_of(world)
    assert world.guard.last(log.log_id)[0] == 200
    world.fill(50, first=200)
    after = Integrator(world.database, world.guard, world.signers)
    while after.step():
        pass
    assert checkpoint(world).size == 250
    assert after.refused == {}


def test_a_torn_note_of_the_guard_is_dropped(tmp_path: Path) -> None:
    """A crash while the guard writes leaves a line without an end; nothing had been signed for it."""
    path = tmp_path / "signed.log"
    guard = Guard(path)
    guard.remember({"a": (7, b"r" * 32)})
    guard.close()
    with path.open("ab") as file:
        file.write(b"a 9 " + b64u(b"s" * 32).encode()[:20])
    again = Guard(path)
    assert again.last("a") == (7, b"r" * 32)
    again.remember({"a": (8, b"t" * 32), "b": (1, b"u" * 32)})
    again.close()
    assert last_signed(path) == {"a": (8, b"t" * 32), "b": (1, b"u" * 32)}


def test_two_integrators_agree_on_one_tree(world: World, tmp_path: Path) -> None:
    """INT-02: whoever loses the compare-and-set starts over; checkpoints grow and stay consistent."""
    other_guard = Guard(tmp_path / "other.log")
    signers = Signers(world.database, world.vault.tenant)
    pair = (world.integrator, Integrator(world.database, other_guard, signers))
    seen: list[Checkpoint] = []
    for turn in range(12):
        world.fill(70, first=70 * turn)
        for one in pair if turn % 2 else pair[::-1]:
            one.step()
        seen.append(checkpoint(world))
    assert [one.size for one in seen] == [70 * (turn + 1) for turn in range(12)]
    assert all(one.refused == {} for one in pair)

    def prove(old: Checkpoint, new: Checkpoint) -> bool:
        number = log_of(world).tenant_no
        path = world.database.read_now(
            lambda c: consistency_proof(old.size, new.size, queries.hash_reader(c, number))
        )
        return consistent(old.size, new.size, old.root, new.root, path)

    assert all(prove(old, new) for old, new in pairwise(seen))
    other_guard.close()


def test_the_loop_integrates_what_is_committed_and_finishes_when_stopped(world: World) -> None:
    """OPS: a clean stop leaves everything acknowledged under a checkpoint."""
    world.loop.start()
    for turn in range(5):
        world.fill(20, first=20 * turn)
        world.loop.notify()
    world.loop.stop()
    assert checkpoint(world).size == 100
    assert world.loop.problem is None


def test_a_failing_integrator_is_told_and_recovers(world: World) -> None:
    """The loop outlives every failure: it says what is wrong, and goes on once that is mended."""
    number = log_of(world).tenant_no
    world.fill(300)
    world.integrate()
    ((hashes,),) = world.database.read_now(
        lambda c: c.rows(
            "SELECT hashes FROM tiles WHERE tenant_no = $1 AND level = -1 AND idx = 1", (number,)
        )
    )

    def put(value: bytes) -> None:
        world.database.write_now(
            lambda c: c.execute(
                "UPDATE tiles SET hashes = $1 WHERE tenant_no = $2 AND level = -1 AND idx = 1",
                (value, number),
            )
        )

    put(bytes(len(hashes)))
    world.fill(1, first=300)
    loop = IntegrationLoop(Integrator(world.database, world.guard, world.signers), interval_ms=1)
    loop.start()
    wait_until(lambda: loop.problem is not None)
    assert "stored tiles" in (loop.problem or "")
    put(hashes)
    wait_until(lambda: loop.problem is None and checkpoint(world).size == 301)
    loop.stop()


def wait_until(holds: Callable[[], bool]) -> None:

    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_find_logs_names_unknown_tenants(world: World) -> None:
    """A tenant without a log is an error of the caller."""

    assert [log.tenant for log in find_logs(world.database, None)] == [OTHER, ACME]
    with pytest.raises(LookupError):
        find_logs(world.database, TenantId("nobody"))
