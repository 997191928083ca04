"""A store held in memory, so that it can be altered in every way, verified, and put back as it was.

What alters it is a hand with full access to the database file: triggers and unique keys are dropped, everything can be written.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import apsw

from atp.engine.keys import KeyRing
from atp.engine.sqlite import DatabaseDamaged, SqliteConnection
from atp.integrity.model import Finding, Target, VerificationResult
from atp.integrity.queries.verification import Verifier, find_logs
from atp.kernel.ids import TenantId
from tests.integrity.world import ACME, MASTER


class HeldReader:
    """Reads the held store; closing it does nothing."""

    def __init__(self, raw: apsw.Connection) -> None:
        self.connection = SqliteConnection(raw)

    def read_now(self, work: Any) -> Any:
        try:
            return work(self.connection)
        except (apsw.Error, UnicodeDecodeError) as error:
            raise DatabaseDamaged(type(error).__name__) from error

    def close(self) -> None:
        pass


@dataclass(frozen=True)
class HeldAccess:
    """The way to the held store, in place of a path."""

    raw: apsw.Connection

    def open(self) -> HeldReader:
        return HeldReader(self.raw)

    def ring(self) -> KeyRing:
        return KeyRing([MASTER])


class Held:
    """A copy of a database in memory, with what was signed for its logs."""

    def __init__(self, path: Path, signed: Mapping[str, tuple[int, bytes]]) -> None:
        self.raw = apsw.Connection(":memory:")
        source = apsw.Connection(str(path))
        with self.raw.backup("main", source, "main") as backup:
            backup.step(-1)
        source.close()
        self.signed = dict(signed)
        for (name,) in self.rows("SELECT name FROM sqlite_master WHERE type = 'trigger'"):
            self.raw.execute(f"DROP TRIGGER {name}")
        for name, sql in self.rows(
            "SELECT name, sql FROM sqlite_master WHERE sql LIKE 'CREATE UNIQUE INDEX%'"
        ):
            self.raw.execute(f"DROP INDEX {name}")
            self.raw.execute(sql.replace("UNIQUE ", "", 1))

    def rows(self, sql: str, params: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return self.raw.execute(sql, tuple(params)).fetchall()

    def verify(
        self, target: Target | None = None, *, tenant: TenantId = ACME, policy: Any = None
    ) -> VerificationResult:
        access = HeldAccess(self.raw)
        log = find_logs(access.open(), tenant)[0]
        verifier = Verifier(access=access, last_signed=self.signed.get, policy=policy)  # type: ignore[arg-type]
        return verifier(log, target or Target(), lambda _done, _total: None)

    @contextmanager
    def altered(self) -> Iterator[apsw.Connection]:
        """Alter the store inside; afterwards it is as it was."""
        self.raw.execute("SAVEPOINT attack")
        try:
            yield self.raw
        finally:
            self.raw.execute("ROLLBACK TO attack")
            self.raw.execute("RELEASE attack")


def sample_size(default: int) -> int | None:
    """Return how many bytes to change of each kind; ATP_TEST_MUTATIONS is a number, or `all`, which is None."""
    wanted = os.environ.get("ATP_TEST_MUTATIONS", str(default))
    return None if wanted == "all" else int(wanted)


def positions(result: VerificationResult) -> set[int]:
    """Return the positions that findings name."""
    return {found.position for found in result.findings if found.position is not None}


def kinds(result: VerificationResult) -> set[str]:
    return {found.kind for found in result.findings}


def shown(findings: Sequence[Finding]) -> str:
    return "\n".join(f"{found.kind} {found.position}: {found.message}" for found in findings) or "no findings"
