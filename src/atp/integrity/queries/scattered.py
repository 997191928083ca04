"""Checking a stream or a single record: the same checks as for blocks, and that the signed tree holds each.

One inclusion path per bundle is enough: it is computed from all of the bundle's entries.
"""

from __future__ import annotations

from typing import Any, Final

from atp.engine.codec import unpack
from atp.engine.database import Connection
from atp.integrity.model import Checkpoint, Target
from atp.integrity.queries import hash_reader
from atp.integrity.queries.blocks import Block, BlockChecker, BlockReport, Reader
from atp.integrity.queries.findings import damage
from atp.integrity.queries.sealing import SEALED, check_seal
from atp.integrity.rules.tiles import HASH_SIZE, TILE_WIDTH
from atp.integrity.store import evidence
from atp.kernel import merkle
from atp.kernel.ids import decode_ulid
from atp.streams.model import RESERVED_PREFIX, LogHead

PAGE: Final = 512
"""Records of a stream checked in one snapshot."""


def check_record(
    reader: Reader, checker: BlockChecker, log: LogHead, target: Target, checkpoint: Checkpoint | None
) -> tuple[BlockReport, int]:
    """Check one record; return its report and 1, or a finding where it is not there."""
    report = checker.begin(_whole(log))

    def check(connection: Connection) -> int:
        position = evidence.position_of(connection, log.tenant_no, decode_ulid(target.record_id or ""))
        if position is None:
            report.findings.add("record_missing", "There is no such record.", id=target.record_id)
            return 0
        rows = evidence.rows(connection, log.tenant_no, start=position, end=position + 1)
        _check(connection, checker, report, rows, checkpoint)
        return len(rows)

    return report, _guarded(reader, report, check)


def check_stream(
    reader: Reader, checker: BlockChecker, log: LogHead, target: Target, checkpoint: Checkpoint | None
) -> tuple[BlockReport, int]:
    """Check all records of a stream, and its seal; return the report and how many records there were."""
    report, name, count = checker.begin(_whole(log)), target.stream or "", 0
    after, more = 0, True

    def check(connection: Connection) -> int:
        nonlocal after, more
        stream = evidence.streams(connection, log.tenant_no, [name]).get(name)
        if stream is None:
            report.findings.add("stream", "There is no such stream.", stream=name)
            more = False
            return 0
        rows = evidence.stream_rows(connection, log.tenant_no, stream[0], after=after, limit=PAGE)
        for version, row in enumerate(rows, after + 1):
            if row[6] != version:
                message = f"A record before version {row[6]} of the stream is missing."
                report.findings.add("record_missing", message, position=row[0], stream=name)
                break
        _check(connection, checker, report, rows, checkpoint)
        more = len(rows) == PAGE
        after = rows[-1][6] if rows else after
        if not more:
            _check_seal(connection, log, report, name, closed=stream[1] != "active")
        return len(rows)

    while more:
        page = _guarded(reader, report, check)
        count += page
        more = bool(page) and more
    return report, count


def _check(
    connection: Connection,
    checker: BlockChecker,
    report: BlockReport,
    rows: list[tuple[Any, ...]],
    checkpoint: Checkpoint | None,
) -> None:
    number = report.block.tenant_no
    boxes = evidence.boxes_at(connection, number, [row[0] for row in rows])
    hashes = checker.check_rows(connection, report, rows, boxes)
    if checkpoint is None:
        return
    bundles: dict[int, bytes | None] = {}
    for position, record_hash in hashes:
        if position >= checkpoint.size:
            continue
        index, offset = divmod(position, TILE_WIDTH)
        if index not in bundles:
            bundles[index] = evidence.bundles(connection, number, start=index, end=index + 1).get(index)
            _check_inclusion(connection, report, position, bundles[index], checkpoint)
        entries = bundles[index] or b""
        if entries[offset * HASH_SIZE : (offset + 1) * HASH_SIZE] != record_hash:
            message = "The log's entry is not the hash of the stored record."
            report.findings.add("entry", message, position=position)


def _check_inclusion(
    connection: Connection, report: BlockReport, position: int, entries: bytes | None, checkpoint: Checkpoint
) -> None:
    try:
        offset = position % TILE_WIDTH * HASH_SIZE
        leaf = merkle.leaf_hash((entries or b"")[offset : offset + HASH_SIZE])
        path = merkle.inclusion_proof(
            position, checkpoint.size, hash_reader(connection, report.block.tenant_no)
        )
        if merkle.root_from_inclusion(position, checkpoint.size, leaf, path) == checkpoint.root:
            return
        message = "The stored tiles do not lead from the record to the signed root."
    except (LookupError, ValueError):
        message = "A tile between the record and the signed root is missing."
    report.findings.add("inclusion", message, position=position)


def _check_seal(
    connection: Connection, log: LogHead, report: BlockReport, name: str, *, closed: bool
) -> None:
    telling = f"{RESERVED_PREFIX}event_stream/{name}"
    stream = evidence.streams(connection, log.tenant_no, [telling]).get(telling)
    told = False
    if stream is not None:
        for row in evidence.stream_rows(connection, log.tenant_no, stream[0], after=0, limit=PAGE):
            content = unpack(row[9])
            told = told or f'"type":"{SEALED}"'.encode() in content
            check_seal(connection, report.findings, log.tenant_no, row=row, content=content)
    if closed and not told:
        report.findings.add(
            "seal_unexplained", "The stream is closed and no record tells of it.", stream=name
        )


def _guarded(reader: Reader, report: BlockReport, check: Any) -> int:
    try:
        return int(reader.read_now(check))
    except Exception as error:
        reason = damage(error)
        if reason is None:
            raise
        report.findings.add("storage_damaged", f"What is stored cannot be read: {reason}.")
        return 0


def _whole(log: LogHead) -> Block:
    return Block(log.tenant_no, log.tenant, log.shard, 0, log.size, 0)
