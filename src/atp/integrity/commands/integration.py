"""The integrator: from the feed to tiles and signed checkpoints. One step shows the whole way.

Owns tiles and checkpoints: new leaves come from the records, tiles and a signed note go into the tables, and
the guard outside the store has the last word on what may be signed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from atp.engine import telemetry
from atp.engine.database import Connection, Database
from atp.integrity import store
from atp.integrity.commands.guard import Guard
from atp.integrity.commands.keys import Signers
from atp.integrity.model import Checkpoint, TreeState
from atp.integrity.queries import hash_reader
from atp.integrity.rules import notes
from atp.integrity.rules.tiles import ENTRIES_LEVEL, HASH_SIZE, TILE_WIDTH, GrowingTree
from atp.kernel import merkle
from atp.kernel.clock import Clock, now_us
from atp.kernel.ids import TenantId
from atp.streams import queries as streams
from atp.streams.model import RESERVED_PREFIX, LogEntry, LogHead

STEP_RECORDS: Final = 5_000
"""Records integrated in one step; bounds its memory and how long the writer is held for its tiles."""
_OWN_STREAM: Final = f'"stream":"{RESERVED_PREFIX}integrity/'.encode()
"""In the header of a record of integrity itself, such as a rotation of keys; no tenant can write one."""


@dataclass(slots=True)
class _Tree:
    log: LogHead
    growing: GrowingTree


class RolledBack(Exception):
    """A log disagrees with what was signed for it: the store was restored from an older copy, or altered."""


class Integrator:
    """Builds tiles and signs checkpoints for every log of a shard.

    State: `_trees`, the right edges of logs seen so far, trusted only while the stored cursor is where this
    integrator left it; `refused`, the logs that are not signed and why. Owned by one thread.
    """

    def __init__(
        self,
        database: Database,
        guard: Guard,
        signers: Signers,
        *,
        shard: int = 0,
        clock: Clock = now_us,
    ) -> None:
        self._database = database
        self._guard = guard
        self._signers = signers
        self._shard = shard
        self._clock = clock
        self._trees: dict[int, _Tree] = {}
        self._next = -1
        self.refused: dict[TenantId, str] = {}

    def step(self) -> int:
        """Integrate what is new, at most STEP_RECORDS; return how many records that were.

        Crash argument, by durable step: (1) the guard notes the new roots: a crash leaves notes of roots that
        the same records give again. (2) One transaction stores tiles, trees, checkpoints and the cursor:
        before its commit nothing is served and the next step repeats the work, deterministically; after it
        everything is. A second integrator loses the compare-and-set on the cursor and starts over.
        """
        if self._next < 0:
            self._database.read_now(self._compare)
        records = self._database.read_now(self._fetch)
        if not records:
            return 0
        touched = self._grow(records)
        checkpoints = self._sign(touched)
        expected, self._next = self._next, records[-1].sequence + 1
        stored = self._database.write_now(
            lambda connection: self._store(connection, expected, touched, checkpoints)
        )
        if not stored:
            self.forget()
            return 0
        telemetry.CHECKPOINTS.inc(len(checkpoints))
        return len(records)

    def forget(self) -> None:
        """Drop what is remembered, as after a failure: the next step reads it from the store again."""
        self._trees.clear()
        self._next = -1

    def _compare(self, connection: Connection) -> None:
        """Refuse every log that is shorter than what was signed for it, at once and not when it next grows."""
        for log in streams.logs(connection):
            size, _ = self._guard.last(log.log_id)
            if log.size < size:
                self._refuse(log, f"{size} records were signed, the store has {log.size}")

    def _fetch(self, connection: Connection) -> list[LogEntry]:
        cursor = store.next_sequence(connection, self._shard)
        if cursor != self._next:
            self._trees.clear()
            self._next = cursor
        return streams.feed_entries(connection, self._shard, cursor, STEP_RECORDS)

    def _grow(self, records: Sequence[LogEntry]) -> dict[int, _Tree]:
        """Append each record's hash to its log's tree; return the trees that grew."""
        by_tenant: dict[int, list[LogEntry]] = {}
        for record in records:
            by_tenant.setdefault(record.tenant_no, []).append(record)
        missing = [number for number in by_tenant if number not in self._trees]
        if missing:
            self._database.read_now(lambda connection: self._load(connection, missing))
        for number, own in by_tenant.items():
            tree = self._trees[number]
            if own[0].position != tree.growing.size:
                raise RolledBack(f"log {tree.log.log_id}: the tree and the feed do not meet")
            tree.growing.append([record.record_hash for record in own])
            if any(_OWN_STREAM in record.header for record in own):
                self._signers.forget(tree.log.log_id)
        return {number: self._trees[number] for number in by_tenant}

    def _load(self, connection: Connection, numbers: Sequence[int]) -> None:
        logs = {log.tenant_no: log for log in streams.logs(connection)}
        for number in numbers:
            state = store.tree(connection, number) or TreeState(0, merkle.EMPTY_ROOT)
            growing = GrowingTree(state.size, _edges(connection, number, state.size))
            if growing.root() != state.root:
                raise RolledBack(f"log {logs[number].log_id}: the stored tiles do not give the stored root")
            self._trees[number] = _Tree(logs[number], growing)

    def _sign(self, trees: dict[int, _Tree]) -> dict[int, Checkpoint]:
        """Return signed checkpoints for the trees that may be signed; the guard knows of them already."""
        now = self._clock()
        allowed = {number: tree for number, tree in trees.items() if self._may_sign(tree)}
        self._guard.remember(
            {tree.log.log_id: (tree.growing.size, tree.growing.root()) for tree in allowed.values()}
        )
        checkpoints = {}
        for number, tree in allowed.items():
            size, root = tree.growing.size, tree.growing.root()
            note = notes.sign(tree.log.origin, size, root, self._signers.of(tree.log), now)
            checkpoints[number] = Checkpoint(size, root, now, note)
        return checkpoints

    def _may_sign(self, tree: _Tree) -> bool:
        """Tell whether the tree extends what was last signed for its log; note why not."""
        size, root = self._guard.last(tree.log.log_id)
        reason = ""
        if tree.growing.size < size:
            reason = f"{size} records were signed, the store has {tree.growing.size}"
        elif size and self._root_at(tree, size) != root:
            reason = f"another root was signed for size {size}"
        if reason:
            self._refuse(tree.log, reason)
        else:
            self.refused.pop(tree.log.tenant, None)
        return not reason

    def _refuse(self, log: LogHead, reason: str) -> None:
        if self.refused.get(log.tenant) != reason:
            telemetry.logger().error("checkpoint_refused", log_id=log.log_id, reason=reason)
        self.refused[log.tenant] = reason

    def _root_at(self, tree: _Tree, size: int) -> bytes:
        if size == tree.growing.size:
            return tree.growing.root()

        def compute(connection: Connection) -> bytes:
            stored = store.tree(connection, tree.log.tenant_no)
            if stored and stored.size == size:
                return stored.root
            return merkle.root(size, hash_reader(connection, tree.log.tenant_no, tree.growing.changed))

        return self._database.read_now(compute)

    def _store(
        self,
        connection: Connection,
        expected: int,
        trees: dict[int, _Tree],
        checkpoints: dict[int, Checkpoint],
    ) -> bool:
        if not store.advance(connection, self._shard, expected, self._next):
            return False
        for number, tree in trees.items():
            store.put_tiles(connection, number, tree.growing.changed)
            store.put_tree(connection, number, TreeState(tree.growing.size, tree.growing.root()))
            tree.growing.changed = {}
            if (checkpoint := checkpoints.get(number)) and not store.put_checkpoint(
                connection, number, checkpoint
            ):
                raise RolledBack(
                    f"log {tree.log.log_id}: a checkpoint of this size or larger is already stored"
                )
        return True


def _edges(connection: Connection, tenant_no: int, size: int) -> list[bytes]:
    """Return the last bundle and the last tile of each level, empty where the size fills them exactly."""
    edges = [_edge(connection, tenant_no, ENTRIES_LEVEL, size)]
    count, level = size // TILE_WIDTH, 1
    while count:
        edges.append(_edge(connection, tenant_no, level, count))
        count, level = count // TILE_WIDTH, level + 1
    return edges


def _edge(connection: Connection, tenant_no: int, level: int, count: int) -> bytes:
    width = count % TILE_WIDTH
    if not width:
        return b""
    hashes = store.tile(connection, tenant_no, level, count // TILE_WIDTH) or b""
    return hashes[: width * HASH_SIZE]
