"""The one place where records come into being: positions, versions, headers and hashes, under the shard's lock.

Prepared records and the heads of their streams go in, inside the writer's transaction; positions and record
hashes come out. Nothing else in ATP makes a record or seals a stream.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from atp.engine.codec import pack, pack_many
from atp.engine.database import Connection
from atp.kernel.clock import Clock, format_us, now_us, parse_rfc3339
from atp.kernel.errors import Detail, Problem
from atp.kernel.hashing import b64u, sha256
from atp.kernel.ids import TenantId, UlidFactory, encode_ulids
from atp.kernel.merkle import Frontier, leaf_hash
from atp.streams import events, rules, store
from atp.streams.model import (
    RESERVED_PREFIX,
    Appended,
    Idempotency,
    LogHead,
    NewRecord,
    Outcome,
    Sealed,
    SealRequest,
    StoredRecord,
    StreamHead,
)

HEADS_MAX: Final = 50_000
"""Stream heads remembered (about 300 bytes each); a forgotten one is one indexed look-up away."""
SHARD: Final = 0
"""The shard every tenant lives in until sharding is configured."""


@dataclass(slots=True)
class _Draft:
    """What one transaction will insert; nothing of it is visible until the caller commits."""

    records: list[tuple[Any, ...]] = field(default_factory=list)
    disclosures: list[tuple[Any, ...]] = field(default_factory=list)
    subject_keys: dict[int, tuple[int, int, bytes, bytes]] = field(default_factory=dict)
    idempotency: list[tuple[Any, ...]] = field(default_factory=list)
    new_streams: list[tuple[Any, ...]] = field(default_factory=list)

    def add(self, tenant_no: int, position: int, record: NewRecord) -> None:
        """Draft what accompanies a record: its disclosures, keys not stored yet, its idempotency key."""
        for disclosure in record.disclosures:
            self.disclosures.append((tenant_no, position, disclosure.key_id, disclosure.box))
            if key := disclosure.key:
                self.subject_keys[key.key_id] = (tenant_no, key.key_id, key.ref, key.wrapped)
        if use := record.idempotency:
            self.idempotency.append((tenant_no, use.key, use.fingerprint, position))


@dataclass(frozen=True, slots=True)
class _Places:
    """What is to be written where: the accepted items of a call and the first numbers they get."""

    new: Sequence[NewRecord]
    accepted: Sequence[int]
    outcomes: list[Outcome | int]
    sequence: int
    next_stream: int


class Ledger:
    """Appends records inside a caller's transaction.

    State: `_heads` and `_logs` remember what the last append left behind. They are trusted only while the
    shard's last record is still the one that append wrote (`_last_id`); after a rollback or another
    process's append it is not, and they are forgotten. Every method runs on the database's writer thread.
    """

    def __init__(self, *, clock: Clock = now_us) -> None:
        self._clock = clock
        self._ulids = UlidFactory(clock)
        self._heads: dict[tuple[int, str], StreamHead] = {}
        self._logs: dict[TenantId, LogHead] = {}
        self._last_id: bytes | None = None

    def append(
        self, connection: Connection, tenant: TenantId, new: Sequence[NewRecord], *, atomic: bool = False
    ) -> list[Outcome]:
        """Append records in order and return an outcome for each: where it stands, or why it was refused.

        With `atomic`, one refusal refuses all and nothing is written. Raises LookupError for an unknown
        tenant, which is a bug in the caller.
        """
        sequence, next_stream = self._take_lock(connection)
        log = self._log(connection, tenant)
        repeats = self._repeats(connection, log, new)
        self._load_heads(connection, log, new)
        outcomes, accepted = self._decide(log, new, repeats)
        if atomic and len(accepted) < len(new) and any(isinstance(outcome, Problem) for outcome in outcomes):
            return [
                outcome if isinstance(outcome, Problem) else _refused_with_others() for outcome in outcomes
            ]
        if accepted:
            self._write(connection, log, _Places(new, accepted, outcomes, sequence, next_stream))
        return _resolve_repeats(outcomes)

    def _take_lock(self, connection: Connection) -> tuple[int, int]:
        """Lock the shard; forget what is remembered unless it ends with the shard's last record."""
        sequence, next_stream = store.lock_shard(connection, SHARD)
        last_id = store.last_record_id(connection, SHARD)
        if last_id != self._last_id or last_id is None:
            self._heads.clear()
            self._logs.clear()
            self._last_id = last_id
            if last_id is not None:
                self._ulids.after(last_id)
        return sequence, next_stream

    def _log(self, connection: Connection, tenant: TenantId) -> LogHead:
        log = self._logs.get(tenant) or store.log_head(connection, tenant)
        if log is None:
            raise LookupError(f"tenant {tenant} has no log")
        return log

    def _repeats(
        self, connection: Connection, log: LogHead, new: Sequence[NewRecord]
    ) -> dict[Idempotency, Outcome]:
        """Return what each use of a key that the database knows already comes to.

        By key and event, because one call may use a known key twice, for the same event and for another.
        """
        wanted = {record.idempotency for record in new if record.idempotency}
        if not wanted:
            return {}
        found = store.idempotent_positions(connection, log.tenant_no, [*{use.key for use in wanted}])
        firsts = store.records_at(connection, log.tenant_no, [position for _, position in found.values()])
        repeats: dict[Idempotency, Outcome] = {}
        for use in (use for use in wanted if use.key in found):
            fingerprint, position = found[use.key]
            first = firsts[position]
            if fingerprint == use.fingerprint:
                repeats[use] = _as_duplicate(first)
            else:
                repeats[use] = rules.idempotency_conflict(first.id, position)
        return repeats

    def _load_heads(self, connection: Connection, log: LogHead, new: Sequence[NewRecord]) -> None:
        number, heads = log.tenant_no, self._heads
        unknown = {record.stream for record in new if (number, record.stream) not in heads}
        if len(heads) + len(unknown) > HEADS_MAX:
            heads.clear()
            unknown = {record.stream for record in new}
        if unknown:
            for name, head in store.stream_heads(connection, number, list(unknown)).items():
                heads[number, name] = head

    def _decide(
        self, log: LogHead, new: Sequence[NewRecord], repeats: Mapping[Idempotency, Outcome]
    ) -> tuple[list[Outcome | int], list[int]]:
        """Judge each record against what is stored and against earlier ones of this call.

        Returns outcomes, where an int names the earlier item that an item repeats (or the item itself, to be
        written), and the indexes of those to be written.
        """
        outcomes: list[Outcome | int] = []
        accepted: list[int] = []
        ahead: Counter[str] = Counter()
        first_use: dict[bytes, int] = {}
        for index, record in enumerate(new):
            outcome: Outcome | int | None = None
            if record.idempotency:
                outcome = _earlier_use(record.idempotency, new, repeats, first_use)
            if outcome is None:
                head = self._heads.get((log.tenant_no, record.stream))
                outcome = rules.refusal(record, head, ahead[record.stream])
            if outcome is None:
                outcome = index
                accepted.append(index)
                ahead[record.stream] += 1
                if record.idempotency:
                    first_use[record.idempotency.key] = index
            outcomes.append(outcome)
        return outcomes, accepted

    def _write(self, connection: Connection, log: LogHead, places: _Places) -> None:
        """Give the accepted records their places and insert them.

        Crash argument: every statement here belongs to the caller's transaction, so a crash before its commit
        leaves the log exactly as it was, and one after it leaves all of it. What is remembered is marked
        untrusted first, so an exception in between leaves no false memory either.
        """
        self._last_id = None
        recorded_us = max(self._clock(), log.recorded_us)
        draft = self._draft(log, places, recorded_us)
        if draft.new_streams:
            connection.insert("streams", store.STREAM_COLUMNS, draft.new_streams)
        connection.insert("records", store.RECORD_COLUMNS, draft.records)
        if draft.subject_keys:
            store.insert_subject_keys(connection, list(draft.subject_keys.values()))
        if draft.disclosures:
            connection.insert("disclosures", store.DISCLOSURE_COLUMNS, draft.disclosures)
        if draft.idempotency:
            connection.insert("idempotency", store.IDEMPOTENCY_COLUMNS, draft.idempotency)
        size = log.size + len(draft.records)
        store.advance_log(connection, log.tenant_no, size, recorded_us)
        store.advance_shard(
            connection,
            SHARD,
            places.sequence + len(draft.records),
            places.next_stream + len(draft.new_streams),
        )
        self._logs[log.tenant] = msgspec.structs.replace(log, size=size, recorded_us=recorded_us)
        self._last_id = draft.records[-1][6]

    def _draft(self, log: LogHead, places: _Places, recorded_us: int) -> _Draft:
        """Return the rows to insert; set the outcomes."""
        draft, heads, number = _Draft(), self._heads, log.tenant_no
        headers: list[bytes] = []
        rows: list[tuple[Any, ...]] = []
        recorded = format_us(recorded_us)
        ids = self._ulids.next_many(len(places.accepted))
        for offset, (index, id_, ulid) in enumerate(
            zip(places.accepted, ids, encode_ulids(ids), strict=True)
        ):
            record = places.new[index]
            stream, position = record.stream, log.size + offset
            head = heads.get((number, stream))
            if head is None:
                stream_no = places.next_stream + len(draft.new_streams)
                head = StreamHead(stream_no, stream, 0, None, "active")
                draft.new_streams.append((number, stream_no, stream, "active", recorded_us))
            header = rules.header_bytes(
                head, position=position, ulid=ulid, recorded=recorded, record=record, tenant=log.tenant
            )
            record_hash, version = sha256(header), head.version + 1
            headers.append(header)
            heads[number, stream] = StreamHead(head.stream_no, stream, version, record_hash, "active")
            draft.add(number, position, record)
            sequence = places.sequence + offset
            rows.append((SHARD, sequence, number, position, head.stream_no, version, id_))
            places.outcomes[index] = Appended(
                id_, position, stream, version, recorded_us, record_hash, sequence
            )
        packed = [places.new[index].packed for index in places.accepted]
        draft.records = [
            (*row, header, content)
            for row, header, content in zip(rows, pack_many(headers), packed, strict=True)
        ]
        return draft

    # -- what stands beside the records ---------------------------------------------------------------------

    def open_log(self, connection: Connection, tenant: TenantId, *, log_id: str, origin: str) -> LogHead:
        """Create the tenant's empty log; `origin` names it in its checkpoints for ever.

        Under the shard's lock, so that two processes never give out one number.
        """
        self._take_lock(connection)
        store.create_log(connection, tenant=tenant, shard=SHARD, log_id=log_id, origin=origin)
        return self._log(connection, tenant)

    def append_platform(
        self,
        connection: Connection,
        tenant: TenantId,
        *,
        type: str,
        stream: str,
        payload: Mapping[str, Any],
        actor: Mapping[str, Any],
        correlation: Mapping[str, str] | None = None,
    ) -> Appended:
        """Append a platform event, a fact about ATP itself, in the caller's transaction (STR-10).

        `stream` is `{aggregate type}/{aggregate id}` without the reserved prefix, which is added here.
        """
        kind, _, subject = stream.partition("/")
        content = events.platform_content(
            type=type,
            actor=actor,
            resource={"type": kind, "id": subject},
            payload=payload,
            occurred_us=self._clock(),
            correlation=correlation,
        )
        record = NewRecord(RESERVED_PREFIX + stream, content, sha256(content), pack(content))
        outcome = self.append(connection, tenant, [record])[0]
        if isinstance(outcome, Problem):
            raise outcome
        return outcome

    def seal_stream(
        self,
        connection: Connection,
        tenant: TenantId,
        name: str,
        *,
        actor: Mapping[str, Any],
        request: SealRequest,
    ) -> Sealed:
        """Close a stream for ever; the record of it holds the final version and the Merkle root (STR-02).

        Raises STREAM_NOT_FOUND, STREAM_SEALED and VERSION_CONFLICT.
        """
        self._take_lock(connection)
        log = self._log(connection, tenant)
        head = store.stream_heads(connection, log.tenant_no, [name]).get(name)
        if head is None or name.startswith(RESERVED_PREFIX):
            raise Problem("STREAM_NOT_FOUND", details=[Detail("streamId", "no such stream")])
        probe = NewRecord(name, b"", b"", b"", expected_version=request.expected_version)
        if problem := rules.refusal(probe, head, 0):
            raise problem
        tree = Frontier()
        for record in store.every_stream_record(connection, log.tenant_no, head.stream_no):
            tree.append(leaf_hash(record.record_hash))
        store.set_stream_state(connection, log.tenant_no, name, "sealed")
        self._heads.pop((log.tenant_no, name), None)
        merkle_root = b64u(tree.root())
        told = self.append_platform(
            connection,
            tenant,
            type="event_stream.sealed",
            stream=f"event_stream/{name}",
            payload={
                "stream": name,
                "final_version": head.version,
                "merkle_root": merkle_root,
                "reason": request.reason,
            },
            actor=actor,
            correlation=request.correlation,
        )
        return Sealed(head.version, merkle_root, told)


def _earlier_use(
    use: Idempotency,
    new: Sequence[NewRecord],
    repeats: Mapping[Idempotency, Outcome],
    first_use: Mapping[bytes, int],
) -> Outcome | int | None:
    """Return what an idempotency key already stands for, in the database or in this call."""
    if (repeat := repeats.get(use)) is not None:
        return repeat
    if (earlier := first_use.get(use.key)) is None:
        return None
    first = new[earlier].idempotency
    if first and first.fingerprint == use.fingerprint:
        return earlier
    return Problem(
        "IDEMPOTENCY_CONFLICT",
        f"This idempotency key was used for another event, item {earlier} of this request.",
        details=[Detail("idempotencyKey", f"was used for item {earlier} of this request")],
    )


def _resolve_repeats(outcomes: Sequence[Outcome | int]) -> list[Outcome]:
    """Replace each pointer to an earlier item by that item's outcome, marked as a duplicate."""
    resolved: list[Outcome] = []
    for outcome in outcomes:
        if not isinstance(outcome, int):
            resolved.append(outcome)
            continue
        first = resolved[outcome]
        resolved.append(
            msgspec.structs.replace(first, duplicate=True) if isinstance(first, Appended) else first
        )
    return resolved


def _as_duplicate(first: StoredRecord) -> Appended:
    header = first.header_json
    return Appended(
        first.id,
        first.position,
        header["stream"],
        first.version,
        parse_rfc3339(header["recordedAt"]),
        first.record_hash,
        first.sequence,
        duplicate=True,
    )


def _refused_with_others() -> Problem:
    return Problem("BATCH_REJECTED", "Not stored, because another item of this atomic batch was refused.")
