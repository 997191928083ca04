"""What verification costs a record: CPU time in one process, which holds on a busy machine, with values and without.

`python -m benchmarks.verification [--events N] [--processes N]`. Beside each figure stands the same for reading,
decompressing and hashing the same rows and nothing else, the least that any verification must do. With
`--processes` worker processes are used and wall time is told too.
"""

from __future__ import annotations

import argparse
import gc
import os
import tempfile
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Final

from atp.app.parts import main_schema
from atp.engine.codec import unpack_many
from atp.engine.keys import KeyRing
from atp.engine.sqlite import SqliteDatabase
from atp.ingestion.commands import Pipeline, ingest
from atp.ingestion.model import Batch, Origin
from atp.integrity.commands import Guard, Integrator, Signers
from atp.integrity.model import Target
from atp.integrity.queries import verification
from atp.integrity.queries.access import Access
from atp.integrity.store import evidence
from atp.kernel.clock import format_us, now_us
from atp.kernel.hashing import b64u
from atp.kernel.ids import TenantId
from atp.specs import schemas
from atp.streams.commands import Appender, Ledger, Sealer, Vault
from atp.streams.model import LogHead
from atp.streams.store import ensure_shard
from benchmarks.events import SECOND, EventMaker

TENANT: Final = TenantId("bench")
MASTER: Final = b"k" * 32
BATCH: Final = 1_000
RUNS: Final = 5


def fill(folder: Path, events: int) -> LogHead:
    """Put events of 600 bytes with three sealed values through the real pipeline, and integrate them."""
    database = SqliteDatabase(folder / "atp.db", schema=main_schema("sqlite"))
    database.write_now(lambda connection: ensure_shard(connection, 0))
    ledger, vault = Ledger(), Vault(database, KeyRing([MASTER]))
    log = database.write_now(
        lambda c: ledger.open_log(c, TENANT, log_id="01bench", origin="localhost/tlog/bench")
    )
    database.write_now(lambda c: vault.create(c, log.tenant_no))
    sealer, appender = Sealer(database, vault.tenant), Appender(database, ledger)
    pipeline = Pipeline(contract=schemas.validator("audit-event.v1"), vault=vault, sealer=sealer)
    maker, second = EventMaker(), format_us(now_us())[:19].encode()
    for _ in range(0, events, BATCH):
        sent = [maker.event().replace(SECOND, second, 1) for _ in range(BATCH)]
        ingest(pipeline, appender, Origin(TENANT), Batch(sent)).result()
    integrator = Integrator(database, Guard(folder / "checkpoints.guard"), Signers(database, vault.tenant))
    while integrator.step():
        pass
    found = verification.find_logs(database, TENANT)[0]
    database.close()
    return found


def least_cpu_us(work: Callable[[], object], records: int) -> float:
    """Return the least CPU microseconds a record of several runs."""
    found = []
    for _ in range(RUNS):
        before = time.process_time()
        work()
        found.append((time.process_time() - before) / records * 1e6)
    return min(found)


def touch(access: Access, log: LogHead) -> None:
    """Read, decompress and hash every record: the floor."""
    reader = access.open()
    for start in range(0, log.size, 1_024):
        rows = reader.read_now(
            lambda c, start=start: evidence.rows(c, log.tenant_no, start=start, end=start + 1_024)  # type: ignore[misc]
        )
        for packed in (unpack_many([row[8] for row in rows]), unpack_many([row[9] for row in rows])):
            for raw in packed:
                sha256(raw).digest()
    reader.close()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.verification", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--events", type=int, default=20_000)
    parser.add_argument("--processes", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        log = fill(Path(folder), options.events)
        access = Access(str(Path(folder) / "atp.db"), b64u(MASTER))
        gc.disable()  # As worker processes have it.
        floor = least_cpu_us(lambda: touch(access, log), log.size)
        print(f"read, decompress, hash      {floor:6.1f} µs of CPU a record")
        for values in (False, True):
            target = Target(values=values)
            verifier = verification.Verifier(access=access, workers=max(1, options.processes))
            before = time.monotonic()
            result = verifier(log, target, lambda _done, _total: None)
            wall = log.size / (time.monotonic() - before)
            assert result.verified, result.findings[:3]
            label = "with sealed values" if values else "values withheld"
            if options.processes:
                print(f"{label:27} {wall:9,.0f} records/s of wall time, {options.processes} processes")
                continue
            cpu = least_cpu_us(lambda: verifier(log, target, lambda _done, _total: None), log.size)  # noqa: B023
            cores = os.cpu_count() or 1
            print(
                f"{label:27} {cpu:6.1f} µs of CPU a record, {cpu / floor:.1f} × that: {1e6 / cpu:,.0f} records/s a core"
            )
            print(f"{'':27} {1e6 / cpu * cores:9,.0f} records/s on {cores} cores")


if __name__ == "__main__":
    main()
