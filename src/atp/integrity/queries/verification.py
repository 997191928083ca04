"""The verification of a log, a stream or a record: everything recomputed from stored bytes (INT-06).

One function shows the whole way. Blocks of records are checked by worker processes or here, in order, in
constant memory; their roots give the tree; the tree is compared with what was stored, signed and noted outside.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Final, TypeVar

import msgspec

from atp.engine import codec
from atp.engine.database import Connection
from atp.engine.keys import KeyUnavailable
from atp.integrity import store
from atp.integrity.model import (
    CheckedSignature,
    Checkpoint,
    LogKey,
    Target,
    TreeState,
    ValueCounts,
    VerificationResult,
)
from atp.integrity.queries import diagnosis
from atp.integrity.queries.access import Access, Checking, Workers, open_vault
from atp.integrity.queries.blocks import Block, BlockChecker, BlockReport, Reader
from atp.integrity.queries.findings import Findings, damage
from atp.integrity.queries.growth import RecomputedTree, expected_extent
from atp.integrity.queries.scattered import check_record, check_stream
from atp.integrity.queries.sealing import check_closed_streams
from atp.integrity.queries.signing import (
    TrustedKey,
    check_checkpoint,
    check_guard,
    check_keys,
    check_tree,
)
from atp.integrity.rules.tiles import ENTRIES_LEVEL, HASH_SIZE, TILE_WIDTH
from atp.integrity.store import evidence
from atp.kernel.hashing import b64u
from atp.kernel.ids import TenantId
from atp.streams import queries as streams
from atp.streams.commands import TenantVault
from atp.streams.model import LogHead

BLOCK: Final = 16_384
"""Records of a block: 64 bundles, a fraction of a second of work, and long enough to follow streams within it."""
GAP: Final = 1 << 19
"""So many consecutive positions without a record, unexplained, are the end of the log."""
PARALLEL_RECORDS: Final = 40_000
"""From this size on worker processes pay for their start."""

T = TypeVar("T")
Progress = Callable[[int, int], None]
LastSigned = Callable[[str], tuple[int, bytes] | None]


def _nothing_signed(_log_id: str) -> None:
    """Without a guard nothing is known of what was signed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verifier:
    """What a verification needs. `last_signed` asks the guard; `policy` are keys that its caller trusts."""

    access: Access
    last_signed: LastSigned = _nothing_signed
    policy: Sequence[TrustedKey] | None = None
    workers: int = 1

    def __call__(self, log: LogHead, target: Target, progress: Progress) -> VerificationResult:
        """Verify; raises StorageUnavailable where the database cannot be reached, and what `progress` raises."""
        reader = self.access.open()
        try:
            run = _Run(self, reader, log, target, progress)
            return run.log_wide() if target.scope == "log" else run.narrow()
        finally:
            reader.close()


@dataclass(slots=True)
class _Stored:
    """What one snapshot holds of a log besides its records and full tiles."""

    log: LogHead
    tree: TreeState | None = None
    checkpoint: Checkpoint | None = None
    keys: list[LogKey] = field(default_factory=list)
    extent: dict[int, tuple[int, int, int]] | None = None
    edges: dict[tuple[int, int], bytes | None] = field(default_factory=dict)
    beyond: int | None = None
    before: int | None = None
    stray: list[int] = field(default_factory=list)
    next_sequence: int | None = None


class _Run:
    """One verification. State: what was found so far; owned by the thread that runs it."""

    def __init__(
        self, verifier: Verifier, reader: Reader, log: LogHead, target: Target, progress: Progress
    ) -> None:
        self._verifier = verifier
        self._reader = reader
        self._log = log
        self._target = target
        self._progress = progress
        self._findings = Findings()
        self._values = ValueCounts()

    # -- the whole log ---------------------------------------------------------------------------------------

    def log_wide(self) -> VerificationResult:
        """Verify everything that is stored of the log."""
        # Asked for before the snapshot: what the guard has noted by now, the snapshot must hold.
        last = self._verifier.last_signed(self._log.log_id)
        stored = self._read_stored()
        vault = self._open_vault()
        self._cut_to_what_is_there(stored)
        sizes = {stored.log.size, last[0] if last else 0}
        tree_size = _within(stored.tree, stored.log)
        sizes |= {tree_size, stored.checkpoint.size if stored.checkpoint else 0}
        tree = RecomputedTree(
            lambda level, index: self._tile(stored, level, index),
            self._findings,
            tree_size=tree_size,
            sizes=[size for size in sizes if size <= stored.log.size],
        )
        self._grow(tree, stored, tree_size, vault)
        self._check_edges(stored, tree_size)
        check_tree(self._findings, stored.log, stored.tree, tree.roots)
        signatures = self._check_signed(stored, tree.roots)
        check_guard(self._findings, stored.log, last, tree.roots)
        self._check_beside(stored)
        return self._result(stored.log.size, tree.roots.get(stored.log.size), signatures)

    def _cut_to_what_is_there(self, stored: _Stored) -> None:
        """Where the log's head claims far more records than there are, name the gap and end there.

        Else a forged size would make the verification run for ever.
        """
        number, size, position = self._log.tenant_no, stored.log.size, 0

        def look(connection: Connection) -> int | None:
            following = evidence.beyond(connection, number, position)
            if following is not None and following < position + GAP:
                return None
            if diagnosis.absence_explained(connection, number, position):
                return None
            return evidence.last_before(connection, number, position) + 1

        while position < size:
            end = self._attempt("the records", look, None)
            if end is not None:
                message = f"There are no records from here to position {size - 1}, where the log's head ends."
                self._findings.add("record_missing", message, position=end)
                size = end
            position += GAP
        if size < 0:
            self._findings.add("log_head", "The log's head does not tell how many records there are.")
        stored.log = msgspec.structs.replace(stored.log, size=max(0, size))

    def _grow(self, tree: RecomputedTree, stored: _Stored, tree_size: int, vault: TenantVault | None) -> None:
        """Check every block and grow the tree from what the blocks give."""
        log, wanted = stored.log, tree.bundles_wanted()
        blocks = [
            Block(
                tenant_no=log.tenant_no,
                tenant=log.tenant,
                shard=log.shard,
                start=start,
                end=min(start + BLOCK, log.size),
                bundles_whole=tree_size // TILE_WIDTH,
                wanted=frozenset(bundle for bundle in wanted if start <= bundle * TILE_WIDTH < start + BLOCK),
            )
            for start in range(0, log.size, BLOCK)
        ]
        before: BlockReport | None = None
        for report in self._reports(blocks, vault, log.size):
            self._findings.merge(report.findings)
            self._values.add(report.values)
            self._check_order(before, report)
            before = report
            for root in report.roots:
                tree.reach(report.entries.__getitem__)
                tree.add(root)
            tree.reach(report.entries.__getitem__)
            if (
                entries := report.entries.get(tree_size // TILE_WIDTH)
            ) is not None and tree_size % TILE_WIDTH:
                self._check_last_bundle(stored, tree_size, entries)
            self._progress(report.block.end, log.size)
        if before is not None:
            self._check_head(stored, before)

    def _reports(
        self, blocks: Sequence[Block], vault: TenantVault | None, size: int
    ) -> Iterator[BlockReport]:
        """Yield the blocks' reports in order, computed ahead by worker processes where that pays."""
        values, log = self._target.values and vault is not None, self._log
        if size < PARALLEL_RECORDS:
            checker = BlockChecker(self._reader, log.tenant_no, vault, values=values)
            yield from map(checker.check, blocks)
            return
        checking = Checking(log.tenant_no, log.tenant, values)
        workers = Workers(self._verifier.access, checking, count=self._verifier.workers)
        try:
            ahead: deque[Future[BlockReport]] = deque()
            waiting = iter(blocks)
            for block in waiting:
                ahead.append(workers.submit(block))
                if len(ahead) >= workers.ahead:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            workers.close()

    def _check_order(self, before: BlockReport | None, report: BlockReport) -> None:
        """Check sequences, ids and times across the border of two blocks."""
        if before is None or before.last is None or report.first is None:
            return
        last, first = before.last, report.first
        if not (first[0] > last[0] and first[1] > last[1] and first[2] >= last[2]):
            message = "Its sequence, id or time does not follow that of the record before it."
            self._findings.add("order", message, position=report.block.start)

    def _check_last_bundle(self, stored: _Stored, tree_size: int, entries: bytes) -> None:
        index, width = divmod(tree_size, TILE_WIDTH)
        tile = stored.edges.get((ENTRIES_LEVEL, index))
        own = entries[: width * HASH_SIZE]
        if tile is None:
            self._findings.add(
                "tile_missing", f"Entry bundle {index} is missing.", position=index * TILE_WIDTH
            )
        elif tile != own:
            for offset in range(width):
                at = slice(offset * HASH_SIZE, (offset + 1) * HASH_SIZE)
                if tile[at] != own[at]:
                    message = "The log's entry is not the hash of the stored record."
                    self._findings.add("entry", message, position=index * TILE_WIDTH + offset)
            if len(tile) != len(own):
                message = f"Entry bundle {index} is not as wide as the tree."
                self._findings.add("tile_size", message, position=index * TILE_WIDTH)

    def _check_head(self, stored: _Stored, last: BlockReport) -> None:
        """Check the log's head, from which the next record will continue, against its last record."""
        if last.last is None:
            return
        sequence, _, recorded = last.last
        if recorded != diagnosis.time_of(stored.log.recorded_us):
            message = "The log's head does not tell the time of its last record."
            self._findings.add("log_head", message, position=stored.log.size - 1)
        if stored.next_sequence is not None and sequence >= stored.next_sequence:
            message = "The shard's head lies before the log's last record."
            self._findings.add("log_head", message, position=stored.log.size - 1)

    def _check_edges(self, stored: _Stored, tree_size: int) -> None:
        """Check that there are exactly the tiles that a tree of this size has."""
        if stored.extent is None:
            return
        expected = expected_extent(tree_size)
        for level in sorted(expected.keys() | stored.extent.keys()):
            count, least, greatest = stored.extent.get(level, (0, 0, -1))
            if (count, least, greatest) != (expected.get(level, 0), 0, expected.get(level, 0) - 1):
                name = "entry bundles" if level == ENTRIES_LEVEL else f"tiles of level {level}"
                message = (
                    f"There are {count} {name} where a tree of {tree_size} has {expected.get(level, 0)}."
                )
                self._findings.add("tile_count", message)

    def _check_beside(self, stored: _Stored) -> None:
        """Check what stands beside the records: nothing outside the log, seals, the codec's dictionary."""
        for position in (stored.before, stored.beyond):
            if position is not None:
                message = f"There is a record at position {position}, outside the log."
                self._findings.add("record_beyond", message, position=position)
        for position in stored.stray:
            message = f"There are disclosures at position {position}, outside the log."
            self._findings.add("disclosure_unexplained", message, position=position)
        number = self._log.tenant_no
        self._attempt("the streams", lambda c: check_closed_streams(c, self._findings, number), None)
        shipped: bytes | None = codec.dictionary()
        kept = self._attempt("the dictionary", lambda c: evidence.dictionary(c, codec.ZSTD_1), shipped)
        if kept != shipped:
            self._findings.add("dictionary", "The stored copy of the compression dictionary is another one.")

    # -- one stream, one record ------------------------------------------------------------------------------

    def narrow(self) -> VerificationResult:
        """Verify a stream or a record, and that the signed tree holds it."""
        stored = self._read_stored()
        vault = self._open_vault()
        values = self._target.values and vault is not None
        checker = BlockChecker(self._reader, self._log.tenant_no, vault, values=values)
        scope = check_stream if self._target.scope == "stream" else check_record
        report, count = scope(self._reader, checker, stored.log, self._target, stored.checkpoint)
        self._findings.merge(report.findings)
        self._values.add(report.values)
        self._progress(count, count)
        return self._result(count, None, self._check_signed(stored, {}))

    # -- shared ----------------------------------------------------------------------------------------------

    def _check_signed(self, stored: _Stored, roots: Mapping[int, bytes]) -> list[CheckedSignature]:
        check_keys(self._findings, stored.log, stored.keys)
        if stored.checkpoint is None:
            return []
        return check_checkpoint(
            self._findings,
            stored.log,
            checkpoint=stored.checkpoint,
            keys=stored.keys,
            policy=self._verifier.policy,
            roots=roots,
        )

    def _open_vault(self) -> TenantVault | None:
        if not self._target.values:
            return None
        try:
            return open_vault(self._reader, self._verifier.access.ring(), self._log.tenant)
        except (KeyUnavailable, TypeError):
            message = "The tenant's keys do not open with these master keys; sealed values were not read."
            self._findings.add("tenant_keys", message)
        except Exception as error:
            if damage(error) is None:
                raise
            self._findings.add("storage_damaged", f"The tenant's keys cannot be read: {error}.")
        return None

    def _read_stored(self) -> _Stored:
        """Read what one snapshot holds; where that is damaged, read part by part what still reads."""
        try:
            return self._reader.read_now(self._all_stored)
        except Exception as error:
            if damage(error) is None:
                raise
        stored = _Stored(self._log)
        number = self._log.tenant_no
        stored.tree = self._attempt("the tree", lambda c: store.tree(c, number), None)
        stored.checkpoint = self._attempt("the checkpoint", lambda c: store.checkpoint(c, number), None)
        stored.keys = self._attempt("the log's keys", lambda c: store.keys(c, number), [])
        stored.extent = self._attempt("the tiles", lambda c: evidence.tile_extent(c, number), None)
        size = stored.log.size
        stored.beyond = self._attempt("the records", lambda c: evidence.beyond(c, number, size), None)
        tree_size = _within(stored.tree, stored.log)
        stored.edges = self._attempt("the tiles", lambda c: _edges(c, number, tree_size), {})
        return stored

    def _all_stored(self, connection: Connection) -> _Stored:
        number = self._log.tenant_no
        log = streams.log(connection, self._log.tenant)
        tree = store.tree(connection, number)
        return _Stored(
            log=log,
            tree=tree,
            checkpoint=store.checkpoint(connection, number),
            keys=store.keys(connection, number),
            extent=evidence.tile_extent(connection, number),
            edges=_edges(connection, number, _within(tree, log)),
            beyond=evidence.beyond(connection, number, log.size),
            before=evidence.before_first(connection, number),
            stray=evidence.stray_boxes(connection, number, log.size),
            next_sequence=evidence.next_sequence(connection, log.shard),
        )

    def _tile(self, stored: _Stored, level: int, index: int) -> bytes | None:
        """Return a stored tile: an edge from the snapshot, a full one as it lies there now."""
        if (level, index) in stored.edges:
            return stored.edges[level, index]
        return self._attempt(
            f"tile {level}/{index}", lambda c: store.tile(c, self._log.tenant_no, level, index), None
        )

    def _attempt(self, what: str, work: Callable[[Connection], T], otherwise: T) -> T:
        try:
            return self._reader.read_now(work)
        except Exception as error:
            reason = damage(error)
            if reason is None:
                raise
            self._findings.add("storage_damaged", f"{what[0].upper()}{what[1:]} cannot be read: {reason}.")
            return otherwise

    def _result(
        self, size: int, root: bytes | None, signatures: list[CheckedSignature]
    ) -> VerificationResult:
        return VerificationResult(
            verified=self._findings.count == 0,
            size=size,
            root_hash=None if root is None else b64u(root),
            signatures=signatures,
            values=self._values,
            finding_count=self._findings.count,
            findings=self._findings.kept,
        )


def _within(tree: TreeState | None, log: LogHead) -> int:
    """Return how much of a log its stored tree can hold, whatever the tree claims."""
    return max(0, min(tree.size, log.size)) if tree else 0


def _edges(connection: Connection, tenant_no: int, size: int) -> dict[tuple[int, int], bytes | None]:
    """Return the partial tiles of a tree of this size, None where one is missing."""
    edges: dict[tuple[int, int], bytes | None] = {}
    level, count = ENTRIES_LEVEL, size
    while count:
        if count % TILE_WIDTH:
            index = count // TILE_WIDTH
            edges[level, index] = store.tile(connection, tenant_no, level, index)
        level, count = max(level, 0) + 1, count // TILE_WIDTH
    return edges


def find_logs(reader: Reader, tenant: TenantId | None) -> list[LogHead]:
    """Return the logs to verify: one tenant's, or all. Raises LookupError for an unknown tenant."""
    if tenant is not None:
        return [reader.read_now(lambda connection: streams.log(connection, tenant))]
    return reader.read_now(streams.logs)
