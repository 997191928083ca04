"""Checking a range of positions: every record recomputed from its stored bytes, every bundle from its records.

The expected header is rebuilt from the row's columns, the content's hash and the predecessor's hash, and compared
at once: equality proves all its fields. Only what differs is looked at more closely. Runs in worker processes,
each with its own reader; state between chunks is bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final, Protocol, TypeVar

from atp.engine.codec import CorruptValue, unpack, unpack_many
from atp.engine.database import Connection
from atp.integrity.model import RECORD_FORMAT, ValueCounts
from atp.integrity.queries import diagnosis
from atp.integrity.queries.findings import Findings, damage
from atp.integrity.queries.sealing import check_seal
from atp.integrity.queries.values import HASHED, MARKER, Sealed, ValueChecker
from atp.integrity.rules.texts import b64u_bytes_of
from atp.integrity.rules.tiles import HASH_SIZE, TILE_WIDTH, full_root, leaf_hashes
from atp.integrity.store import evidence
from atp.kernel import canonical
from atp.kernel.hashing import b64u_bytes
from atp.kernel.ids import encode_ulids
from atp.streams.commands import TenantVault
from atp.streams.model import RESERVED_PREFIX

CHUNK: Final = 1_024
"""Records read in one snapshot: four bundles, about a megabyte."""
STREAMS_MAX: Final = 50_000
"""Stream heads remembered (about 400 bytes each); a forgotten one is one look-up away."""
_HEADER: Final = (
    b'{"contentHash":"%b","format":"'
    + RECORD_FORMAT.encode()
    + b'","id":"%b","position":%d,"previousHash":%b,"recordedAt":"%b",'
    b'"stream":%b,"streamVersion":%d,"tenant":"%b"}'
)
_RECORDED: Final = b'"recordedAt":"'
_TIME_LENGTH: Final = 27
ID_SIZE: Final = 16
_SEALED: Final = f"{RESERVED_PREFIX}event_stream/"
_TYPES: Final = (int, int, int, int, int, int, int, bytes, bytes, bytes)
"""Of a row's columns; a damaged page can give anything."""

T = TypeVar("T")
_Decoded = tuple[tuple[Any, ...], bytes, bytes]
"""A row with its header and its content as they were hashed."""


class Reader(Protocol):
    """What verification asks of a database: snapshots, read now. `Database` and `SqliteReader` are ones."""

    def read_now(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in one snapshot."""
        ...


@dataclass(frozen=True, slots=True)
class Block:
    """A range of positions to check. `bundles_whole` is how many full bundles the tree must hold.

    `wanted` are the bundles whose entries the caller needs for the roots of sizes inside them.
    """

    tenant_no: int
    tenant: str
    shard: int
    start: int
    end: int
    bundles_whole: int
    wanted: frozenset[int] = frozenset()


@dataclass(slots=True)
class BlockReport:
    """What a range gave: a root per full bundle, wanted entries, and the edges for comparison with its neighbours."""

    block: Block
    findings: Findings = field(default_factory=Findings)
    values: ValueCounts = field(default_factory=ValueCounts)
    roots: list[bytes] = field(default_factory=list)
    entries: dict[int, bytes] = field(default_factory=dict)
    flawed: set[int] = field(default_factory=set)
    first: tuple[int, bytes, bytes] | None = None
    last: tuple[int, bytes, bytes] | None = None


@dataclass(slots=True)
class _Stream:
    """A stream as far as it was followed.

    `head` is what its next record carries as `previousHash`, in JSON; None where that cannot be known.
    """

    name: str
    json: bytes
    version: int
    head: bytes | None
    tells_of_seals: bool


class BlockChecker:
    """Checks blocks of one tenant. State: `_streams`, followed so far, and what the value checker remembers."""

    def __init__(self, reader: Reader, tenant_no: int, vault: TenantVault | None, *, values: bool) -> None:
        self._reader = reader
        self._tenant_no = tenant_no
        self._findings = Findings()
        self._values = ValueChecker(tenant_no, vault if values else None, self._findings)
        self._streams: dict[int, _Stream] = {}

    def begin(self, block: Block) -> BlockReport:
        """Begin a report of its own; what is known of streams and keys is kept."""
        self._findings = Findings()
        self._values.restart(self._findings)
        return BlockReport(block, findings=self._findings, values=self._values.counts)

    def check(self, block: Block) -> BlockReport:
        """Check a range, which starts with a bundle."""
        report = self.begin(block)
        for start in range(block.start, block.end, CHUNK):
            end = min(start + CHUNK, block.end)
            hashes = self._read(report, start, end)
            self._close_bundles(report, start, hashes)
        return report

    # -- reading: what does not read is cut down to the single records that do not ---------------------------

    def _read(self, report: BlockReport, start: int, end: int) -> list[bytes | None]:
        """Check [start, end) and return the record hashes, None where a record is not there."""
        try:
            return self._reader.read_now(lambda connection: self._check_chunk(connection, report, start, end))
        except Exception as error:
            reason = damage(error)
            if reason is None:
                raise
            if end - start > 1:
                middle = (start + end) // 2
                return self._read(report, start, middle) + self._read(report, middle, end)
            report.flawed.add(start)
            self._findings.add("storage_damaged", f"The record cannot be read: {reason}.", position=start)
            return [None]

    def _check_chunk(
        self, connection: Connection, report: BlockReport, start: int, end: int
    ) -> list[bytes | None]:
        rows = evidence.rows(connection, self._tenant_no, start=start, end=end)
        boxes = (
            evidence.boxes(connection, self._tenant_no, start=start, end=end) if self._values.opens else []
        )
        hashes: list[bytes | None] = [None] * (end - start)
        for position, record_hash in self.check_rows(connection, report, rows, boxes):
            if hashes[position - start] is None:
                hashes[position - start] = record_hash
        if len(rows) != end - start:
            self._explain_gaps(connection, report, start, {row[0] for row in rows}, end)
        return hashes

    def _explain_gaps(
        self, connection: Connection, report: BlockReport, start: int, there: set[int], end: int
    ) -> None:
        for position in range(start, end):
            if position not in there:
                report.flawed.add(position)
                if not diagnosis.absence_explained(connection, self._tenant_no, position):
                    message = "The record is missing and no record explains it."
                    self._findings.add("record_missing", message, position=position)

    # -- records ---------------------------------------------------------------------------------------------

    def check_rows(
        self,
        connection: Connection,
        report: BlockReport,
        rows: Sequence[tuple[Any, ...]],
        boxes: Sequence[tuple[int, int, bytes]],
    ) -> list[tuple[int, bytes]]:
        """Check rows in order of position; return (position, record hash) of those whose header reads."""
        decoded = _decode_together(rows)
        if decoded is None:
            decoded = list(self._decode_singly(report, rows))
        self._find_streams(connection, decoded)
        return self._compare(connection, report, decoded, _by_position(boxes))

    def _decode_singly(self, report: BlockReport, rows: Sequence[tuple[Any, ...]]) -> Iterator[_Decoded]:
        """Yield the rows that decode, and name those that do not."""
        for row in rows:
            try:
                if tuple(map(type, row)) != _TYPES or len(row[7]) != ID_SIZE:
                    raise CorruptValue("a column has another type than it was written with")
                yield row, unpack(row[8]), unpack(row[9])
            except CorruptValue as error:
                report.flawed.add(row[0])
                message = f"The stored row does not read: {error}."
                self._findings.add("record_unreadable", message, position=row[0], id=row[7])

    def _compare(
        self,
        connection: Connection,
        report: BlockReport,
        decoded: Sequence[_Decoded],
        boxes: Mapping[int, list[tuple[int, bytes]]],
    ) -> list[tuple[int, bytes]]:
        """The inner loop: rebuild each header and compare; then values and order."""
        tenant, shard = report.block.tenant.encode(), report.block.shard
        hashes, times = [], []
        streams, number = self._streams, self._tenant_no
        ulids = encode_ulids([row[7] for row, _, _ in decoded])
        content_hashes = [sha256(content).digest() for _, _, content in decoded]
        record_hashes = [sha256(header).digest() for _, header, _ in decoded]
        for (row, header, content), ulid, content_hash, content_text, record_hash, record_text in zip(
            decoded,
            ulids,
            content_hashes,
            b64u_bytes_of(content_hashes),
            record_hashes,
            b64u_bytes_of(record_hashes),
            strict=True,
        ):
            indexed, row_shard, _, tenant_no, position, stream_no, version, _, _, _ = row
            stream = streams.get(stream_no)
            if stream is None or stream.version < version - 1:  # The record between them does not read.
                self._find_streams(connection, [(row, header, content)])
                stream = streams.get(stream_no)
            at = header.find(_RECORDED) + len(_RECORDED)
            recorded = header[at : at + _TIME_LENGTH]
            if not (
                stream is not None
                and indexed == position
                and tenant_no == number
                and row_shard == shard
                and stream.version == version - 1
                and stream.head is not None
                and header
                == _HEADER
                % (
                    content_text,
                    ulid.encode(),
                    position,
                    stream.head,
                    recorded,
                    stream.json,
                    version,
                    tenant,
                )
            ):
                self._diagnose(report, row, header, content_hash)
            times.append(recorded)
            if stream is not None:
                stream.version, stream.head = version, b'"%b"' % record_text
                if stream.tells_of_seals:
                    check_seal(connection, self._findings, number, row=row, content=content)
            hashes.append((indexed, record_hash))
        self._check_values(connection, decoded, content_hashes, boxes)
        self._check_order(report, [row for row, _, _ in decoded], times)
        return hashes

    def _check_values(
        self,
        connection: Connection,
        decoded: Sequence[_Decoded],
        content_hashes: Sequence[bytes],
        boxes: Mapping[int, list[tuple[int, bytes]]],
    ) -> None:
        """Hand on what holds sealed values, or count them where they are not opened."""
        if not self._values.opens:
            for row, _, content in decoded:
                if not self._values.withhold(content):
                    message = "The content is not the JSON of a record."
                    self._findings.add("content_unreadable", message, position=row[0], id=row[7])
            return
        sealed = []
        for (row, _, content), content_hash in zip(decoded, content_hashes, strict=True):
            own = boxes.get(row[0], ())
            if own or MARKER in content or HASHED in content:
                stream = self._streams.get(row[5])
                name = stream.name if stream else ""
                sealed.append(Sealed(row[0], row[7], name, content, content_hash, own))
        self._values.check(connection, sealed)

    def _check_order(
        self, report: BlockReport, rows: Sequence[tuple[Any, ...]], times: Sequence[bytes]
    ) -> None:
        """Check that sequences and ids grow and times do not go back, from the record before the first row on."""
        places = list(zip([row[2] for row in rows], [row[7] for row in rows], times, strict=True))
        if not places:
            return
        report.first = report.first or places[0]
        followed = places if report.last is None else [report.last, *places]
        report.last = places[-1]
        sequences, ids, recorded = map(list, zip(*followed, strict=True))
        if sequences == sorted(set(sequences)) and ids == sorted(set(ids)) and recorded == sorted(recorded):
            return
        rows_followed = rows if len(followed) == len(rows) else [rows[0], *rows]
        for before, after, row in zip(followed, followed[1:], rows_followed[1:], strict=False):
            if not (after[0] > before[0] and after[1] > before[1] and after[2] >= before[2]):
                self._disorder(report, row)

    def _diagnose(
        self, report: BlockReport, row: tuple[Any, ...], header: bytes, content_hash: bytes
    ) -> None:
        """Say what is wrong with a record whose header is not the one that its row, content and place give."""
        stream = self._streams.get(row[5])
        expected = diagnosis.Expected(
            row=evidence.Row(*row),
            tenant_no=self._tenant_no,
            tenant=report.block.tenant,
            shard=report.block.shard,
            content_hash=content_hash,
            stream=stream.name if stream else None,
            version=stream.version + 1 if stream else None,
            previous=stream.head if stream else None,
        )
        for kind, message in diagnosis.differences(header, expected):
            report.flawed.add(row[0])
            self._findings.add(
                kind, message, position=row[0], id=row[7], stream=stream.name if stream else None
            )

    def _disorder(self, report: BlockReport, row: tuple[Any, ...]) -> None:
        report.flawed.add(row[0])
        message = "Its sequence, id or time does not follow that of the record before it."
        self._findings.add("order", message, position=row[0], id=row[7])

    # -- streams ---------------------------------------------------------------------------------------------

    def _find_streams(self, connection: Connection, decoded: Sequence[_Decoded]) -> None:
        """Make sure that every stream of the chunk is followed up to its first record here."""
        if len(self._streams) > STREAMS_MAX:
            self._streams.clear()
        followed: set[int] = set()
        wanted: dict[int, tuple[tuple[Any, ...], bytes]] = {}
        for row, header, _ in decoded:
            number = row[5]
            if number not in followed:  # What comes later in the chunk follows the first.
                followed.add(number)
                known = self._streams.get(number)
                if known is None or known.version != row[6] - 1:
                    wanted[number] = (row, header)
        if not wanted:
            return
        names = {number: diagnosis.stream_of(header) for number, (_, header) in wanted.items()}
        stored = evidence.streams(connection, self._tenant_no, [name for name in names.values() if name])
        before = evidence.predecessors(
            connection,
            self._tenant_no,
            [(number, row[6] - 1) for number, (row, _) in wanted.items() if row[6] > 1],
        )
        for number, (row, header) in wanted.items():
            self._streams.pop(number, None)
            name, version = names[number], row[6]
            if name is not None and name in stored and stored[name][0] == number:
                head = b"null" if version == 1 else _head(before.get((number, version - 1)))
                self._streams[number] = _Stream(
                    name, canonical.encode(name), version - 1, head, name.startswith(_SEALED)
                )
                if version == 1 and _recorded(header) != diagnosis.time_of(stored[name][2]):
                    message = "The stream did not begin when its first record was recorded."
                    self._findings.add("stream_head", message, position=row[0], id=row[7], stream=name)

    # -- bundles ---------------------------------------------------------------------------------------------

    def _close_bundles(self, report: BlockReport, start: int, hashes: list[bytes | None]) -> None:
        """Compare the chunk's bundles with the stored ones, and give their roots on."""
        first = start // TILE_WIDTH
        stored = self._stored_bundles(first, first + (len(hashes) + TILE_WIDTH - 1) // TILE_WIDTH)
        for offset in range(0, len(hashes), TILE_WIDTH):
            index = first + offset // TILE_WIDTH
            own = hashes[offset : offset + TILE_WIDTH]
            tile = stored.get(index)
            entries = self._entries(report, index, own, tile if isinstance(tile, bytes) else None)
            if index in report.block.wanted:
                report.entries[index] = entries
            if len(own) == TILE_WIDTH:
                report.roots.append(full_root(leaf_hashes(entries)))

    def _stored_bundles(self, start: int, end: int) -> dict[int, bytes]:
        found: dict[int, bytes] = {}
        try:
            return self._reader.read_now(
                lambda connection: evidence.bundles(connection, self._tenant_no, start=start, end=end)
            )
        except Exception as error:
            if damage(error) is None:
                raise
            if end - start > 1:
                for index in range(start, end):
                    found |= self._stored_bundles(index, index + 1)
        return found

    def _entries(
        self, report: BlockReport, index: int, own: Sequence[bytes | None], tile: bytes | None
    ) -> bytes:
        """Return a bundle's entries as recomputed; the stored one stands in where a record is not there."""
        whole = index < report.block.bundles_whole
        if None not in own:
            entries = b"".join(own)  # type: ignore[arg-type]
            if not whole or entries == tile:
                return entries
        if whole and tile is None:
            self._findings.add(
                "tile_missing", f"Entry bundle {index} is missing.", position=index * TILE_WIDTH
            )
        elif whole and tile is not None and len(tile) != TILE_WIDTH * HASH_SIZE:
            self._findings.add("tile_size", f"Entry bundle {index} is not full.", position=index * TILE_WIDTH)
        parts = []
        for offset, record_hash in enumerate(own):
            position = index * TILE_WIDTH + offset
            there = (tile or b"")[offset * HASH_SIZE : (offset + 1) * HASH_SIZE]
            if record_hash is None:
                parts.append(there if len(there) == HASH_SIZE else bytes(HASH_SIZE))
                continue
            parts.append(record_hash)
            if whole and len(there) == HASH_SIZE and there != record_hash and position not in report.flawed:
                message = "The log's entry is not the hash of the stored record."
                self._findings.add("entry", message, position=position)
        return b"".join(parts)


def _decode_together(rows: Sequence[tuple[Any, ...]]) -> list[_Decoded] | None:
    """Return rows with their headers and contents, None unless all of them decode."""
    if not rows:
        return []
    columns = list(zip(*rows, strict=True))
    if any(set(map(type, column)) != {kind} for column, kind in zip(columns, _TYPES, strict=True)):
        return None
    if set(map(len, columns[7])) != {ID_SIZE}:
        return None
    try:
        return list(zip(rows, unpack_many(columns[8]), unpack_many(columns[9]), strict=True))
    except CorruptValue:
        return None


def _recorded(header: bytes) -> bytes:
    at = header.find(_RECORDED) + len(_RECORDED)
    return header[at : at + _TIME_LENGTH]


def _head(stored: bytes | None) -> bytes | None:
    try:
        return None if stored is None else b'"%b"' % b64u_bytes(sha256(unpack(stored)).digest())
    except (CorruptValue, TypeError):
        return None


def _by_position(boxes: Sequence[tuple[int, int, bytes]]) -> dict[int, list[tuple[int, bytes]]]:
    found: dict[int, list[tuple[int, bytes]]] = {}
    for position, key_id, box in boxes:
        found.setdefault(position, []).append((key_id, box))
    return found
