"""Kill −9 at every durable step and at random moments, under load, on both engines, and look at what is there.

ATP_TEST_KILLS=200 runs two hundred kills an engine instead of twenty.
"""

import os
import random
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from time import monotonic

import pytest

from atp.engine.database import Database
from atp.engine.keys import KeyRing
from atp.integrity import queries as integrity
from atp.integrity.commands import Guard, Integrator, Signers
from atp.kernel.hashing import b64u, sha256
from atp.kernel.merkle import Frontier, leaf_hash
from atp.streams import queries
from atp.streams.commands import Vault
from tests.conformance.engines import MASTER, TENANT, Store
from tests.crash.victim import POSTGRES_STEPS, SQLITE_STEPS

# Read before tests/conftest.py takes ATP_* out of the environment.
KILLS = int(os.environ.get("ATP_TEST_KILLS", "20"))
READY_SECONDS = 2.0
TOP = Path(__file__).parents[2]


class Told:
    """What the victims said, over all their lives."""

    def __init__(self) -> None:
        self.sent: dict[str, None] = {}
        self.acknowledged: dict[str, tuple[int, str]] = {}
        self.signed: dict[int, str] = {}

    def hear(self, line: str) -> None:
        word, *rest = line.split()
        if word == "sent":
            self.sent[rest[0]] = None
        elif word == "ack":
            place = (int(rest[1]), rest[2])
            assert self.acknowledged.setdefault(rest[0], place) == place, "one key, two records"
        elif word == "signed":
            assert self.signed.setdefault(int(rest[0]), rest[1]) == rest[1], "one size, two roots"
        assert word in {"ready", "sent", "ack", "signed"}, line

    @property
    def unanswered(self) -> list[str]:
        return [key for key in self.sent if key not in self.acknowledged]


def _live_and_die(told: Told, arguments: list[str], after_lines: int | None) -> None:
    """Run a victim until it kills itself, or kill it once it has said `after_lines` lines."""
    victim = subprocess.Popen(
        [sys.executable, "-m", "tests.crash.victim", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": f"{TOP / 'src'}{os.pathsep}{TOP}", "PYTHONHASHSEED": "0"},
        cwd=TOP,
    )
    assert victim.stdin
    assert victim.stdout
    victim.stdin.write("\n".join(told.unanswered[-500:]).encode())
    victim.stdin.close()
    rest, lines = b"", 0
    while True:
        assert select.select([victim.stdout], [], [], 60)[0], "the victim says nothing any more"
        if not (chunk := os.read(victim.stdout.fileno(), 1 << 16)):
            break
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            told.hear(line.decode())
        lines += len(whole)
        if after_lines is not None and lines >= after_lines:
            victim.kill()
            after_lines = None
    victim.stdout.close()
    assert victim.wait(60) == -signal.SIGKILL, f"{arguments[4:]} was never reached"


def _look(database: Database, told: Told) -> int:
    """Check every byte against itself and against what was acknowledged; return how many records there are."""
    streams: dict[str, tuple[int, bytes]] = {}
    stored: dict[str, tuple[int, str]] = {}
    tree = Frontier()
    size = database.read_now(lambda c: queries.log(c, TENANT)).size
    position = 0
    while page := database.read_now(partial(queries.read_log, tenant=TENANT, start=position)):
        for record in page:
            header = record.header_json
            version, previous = streams.get(header["stream"], (0, None))
            assert (header["position"], record.position, record.sequence) == (position, position, position)
            assert (header["streamVersion"], record.version) == (version + 1, version + 1)
            assert header["previousHash"] == (None if previous is None else b64u(previous))
            assert header["contentHash"] == b64u(sha256(record.content))
            streams[header["stream"]] = (version + 1, record.record_hash)
            key = record.content_json["text"]
            assert key not in stored, f"{key} is there twice"
            assert key in told.sent, f"nobody sent {key}"
            stored[key] = (position, record.ulid)
            position += 1
            tree.append(leaf_hash(record.record_hash))
            assert told.signed.get(position, tree.root().hex()) == tree.root().hex(), (
                "signed, and not so any more"
            )
    assert position == size
    lost = {key: place for key, place in told.acknowledged.items() if stored.get(key) != place}
    assert not lost, f"acknowledged and not there, or elsewhere: {list(lost.items())[:5]}"
    return size


def _sign_what_is_there(database: Database, guard: Guard) -> None:
    """Integrate up to the end, as a restarted server does; nothing is refused and the checkpoint covers all of it."""
    vault = Vault(database, KeyRing([MASTER]))
    integrator = Integrator(database, guard, Signers(database, vault.tenant))
    while integrator.step():
        pass
    assert not integrator.refused
    head = database.read_now(partial(queries.log, tenant=TENANT))
    signed = database.read_now(lambda c: integrity.checkpoint(c, head.tenant_no))
    assert head.size == 0 or (signed is not None and signed.size == head.size)


@pytest.mark.parametrize("engine_name", ["sqlite", "postgresql"])
def test_nothing_acknowledged_is_lost(
    engine_name: str,
    engine_place: tuple[str, Callable[[], Database]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """TST-02, ING-07, INT-03: after every kill all that was acknowledged is there, once, in its place, chain whole.

    Every root that was signed is still the root of that size, and signing goes on.

    The store is back, checked for its first record, within two seconds; no repair is run.
    """
    place, reopen = engine_place
    guard = tmp_path / "signed.log"
    database = reopen()
    Store(database).open_tenants()
    database.close()
    steps = SQLITE_STEPS if engine_name == "sqlite" else POSTGRES_STEPS
    chance, told, slowest, size = random.Random(KILLS), Told(), 0.0, 0
    for kill in range(KILLS):
        step = steps[kill % len(steps)] if kill % 2 or kill < len(steps) else "random"
        number = chance.randrange(1, 40) if kill >= len(steps) else 2
        after = chance.randrange(1, 3_000) if step == "random" else None
        _live_and_die(told, [engine_name, place, str(guard), str(kill), step, str(number)], after)
        begun = monotonic()
        database = reopen()
        database.read_now(lambda c: queries.read_log(c, TENANT, limit=1))
        slowest = max(slowest, monotonic() - begun)
        size = _look(database, told)
        signed_before = Guard(guard)
        _sign_what_is_there(database, signed_before)
        signed_before.close()
        database.close()
    with capsys.disabled():
        print(
            f"\n{engine_name}: {KILLS} kills, {len(told.acknowledged)} of {size} records acknowledged, all there; ",
            end="",
        )
        print(f"{len(told.signed)} roots signed, all still so; ready again after {slowest:.2f} s at most")
    assert len(told.acknowledged) > KILLS
    assert slowest < READY_SECONDS
