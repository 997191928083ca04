"""Reading the trees: tiles, hashes of subtrees, checkpoints, keys, proofs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from atp.engine.database import Connection
from atp.integrity import store
from atp.integrity.model import Checkpoint, LogKey, Verification
from atp.integrity.rules import notes
from atp.integrity.rules.tiles import (
    ENTRIES_LEVEL,
    HASH_SIZE,
    TILE_HEIGHT,
    TILE_WIDTH,
    leaf_hashes,
    subtree,
)
from atp.kernel import merkle
from atp.kernel.clock import parse_rfc3339
from atp.kernel.errors import Problem
from atp.kernel.ids import TenantId
from atp.streams import queries as streams
from atp.streams.model import LogHead, StoredRecord

RETRY_SECONDS = 0.2
"""When to ask again for a proof that is not ready; checkpoints follow commits faster than that."""


@dataclass(frozen=True, slots=True)
class InclusionProof:
    """A record's path to the root of the latest checkpoint."""

    log: LogHead
    index: int
    path: tuple[bytes, ...]
    checkpoint: Checkpoint
    record: StoredRecord


@dataclass(frozen=True, slots=True)
class LogStatus:
    """How far a log, its tree and its checkpoint are; `oldest_uncovered_us` None when the checkpoint covers all."""

    log: LogHead
    integrated: int
    checkpoint: Checkpoint | None
    oldest_uncovered_us: int | None
    last_verification: Verification | None


def tile(connection: Connection, tenant_no: int, level: int, index: int, width: int) -> bytes | None:
    """Return the first `width` hashes of a tile (entries under ENTRIES_LEVEL), or None if there are not as many."""
    hashes = store.tile(connection, tenant_no, ENTRIES_LEVEL if level == 0 else level, index)
    if hashes is None or len(hashes) < width * HASH_SIZE:
        return None
    hashes = hashes[: width * HASH_SIZE]
    return leaf_hashes(hashes) if level == 0 else hashes


def hash_reader(
    connection: Connection, tenant_no: int, ahead: Mapping[tuple[int, int], bytes] | None = None
) -> merkle.HashReader:
    """Return a reader of complete subtrees over the stored tiles; each tile is read once per reader.

    `ahead` are tiles that are not stored yet and come first.
    """
    tiles: dict[tuple[int, int], bytes] = {}

    def load(level: int, index: int) -> bytes:
        key = (ENTRIES_LEVEL if level == 0 else level, index)
        hashes = (ahead or {}).get(key) or store.tile(connection, tenant_no, *key) or b""
        return leaf_hashes(hashes) if level == 0 else hashes

    def read(level: int, index: int) -> bytes:
        tile_level, inside = divmod(level, TILE_HEIGHT)
        width = 1 << inside
        tile_index, start = divmod(index * width, TILE_WIDTH)
        key = (tile_level, tile_index)
        if key not in tiles:
            tiles[key] = load(*key)
        hashes = tiles[key]
        if len(hashes) < (start + width) * HASH_SIZE:
            raise LookupError(f"tile {tile_level}/{tile_index} is missing or too short")
        return subtree(hashes, start, width)

    return read


def checkpoint(connection: Connection, tenant_no: int) -> Checkpoint | None:
    """Return the latest signed checkpoint of a log, or None before the first."""
    return store.checkpoint(connection, tenant_no)


def keys(connection: Connection, tenant_no: int) -> list[LogKey]:
    """Return all keys a log ever had, newest first."""
    return store.keys(connection, tenant_no)


def integrated(connection: Connection, tenant_no: int) -> int:
    """Return how many records of a log are in its tree."""
    state = store.tree(connection, tenant_no)
    return state.size if state else 0


def inclusion(connection: Connection, tenant: TenantId, record: StoredRecord) -> InclusionProof:
    """Return a record's inclusion proof under the latest checkpoint; PROOF_NOT_READY until one covers it."""
    log = streams.log(connection, tenant)
    latest = store.checkpoint(connection, log.tenant_no)
    if latest is None or latest.size <= record.position:
        raise Problem("PROOF_NOT_READY", retry_after=RETRY_SECONDS)
    path = merkle.inclusion_proof(record.position, latest.size, hash_reader(connection, log.tenant_no))
    return InclusionProof(log, record.position, tuple(path), latest, record)


def status(connection: Connection, tenant: TenantId) -> LogStatus:
    """Return the state of a tenant's log."""
    log = streams.log(connection, tenant)
    latest = store.checkpoint(connection, log.tenant_no)
    waiting = streams.read_log(connection, tenant, start=latest.size if latest else 0, limit=1)
    return LogStatus(
        log,
        integrated(connection, log.tenant_no),
        latest,
        parse_rfc3339(waiting[0].header_json["recordedAt"]) if waiting else None,
        store.last_ended(connection, log.tenant_no),
    )


def verification_run(connection: Connection, tenant: TenantId, id_: str) -> Verification:
    """Return a verification run; raises VERIFICATION_NOT_FOUND."""
    found = store.verification(connection, streams.log(connection, tenant).tenant_no, id_)
    if found is None:
        raise Problem("VERIFICATION_NOT_FOUND")
    return found


def verifications(connection: Connection, tenant: TenantId, *, before: str, limit: int) -> list[Verification]:
    """Return verification runs, newest first, with an id below `before`."""
    number = streams.log(connection, tenant).tenant_no
    return store.verifications(connection, number, before=before, limit=limit)


def public_checkpoint(connection: Connection, log_id: str) -> Checkpoint:
    """Return a log's latest checkpoint by its public id; raises LOG_NOT_FOUND, PROOF_NOT_READY before the first."""
    found = store.checkpoint(connection, _public(connection, log_id).tenant_no)
    if found is None:
        raise Problem("PROOF_NOT_READY", "The log has no checkpoint yet.", retry_after=RETRY_SECONDS)
    return found


def public_tile(connection: Connection, log_id: str, level: int | None, *, index: int, width: int) -> bytes:
    """Return a tile's hashes, or a bundle's entries where `level` is None.

    Raises LOG_NOT_FOUND, and TILE_NOT_FOUND for what the latest checkpoint does not cover: what is not signed
    is not published.
    """
    number = _public(connection, log_id).tenant_no
    latest = store.checkpoint(connection, number)
    covered = latest.size >> (TILE_HEIGHT * (level or 0)) if latest else 0
    hashes = None
    if index * TILE_WIDTH + width <= covered:
        if level is None:
            hashes = store.tile(connection, number, ENTRIES_LEVEL, index)
        else:
            hashes = tile(connection, number, level, index, width)
    if hashes is None or len(hashes) < width * HASH_SIZE:
        raise Problem("TILE_NOT_FOUND")
    return hashes[: width * HASH_SIZE]


def _public(connection: Connection, log_id: str) -> LogHead:
    log = streams.log_by_id(connection, log_id)
    if log is None:
        raise Problem("LOG_NOT_FOUND")
    return log


def policy_text(log: LogHead, own: list[LogKey], now_us: int) -> str:
    """Return a C2SP tlog-policy that trusts the log's Ed25519 keys in use and asks for no witness.

    The post-quantum keys are named in comments: a policy's log line takes checkpoint keys, and ML-DSA-44 is a
    cosignature type.
    """
    lines = [f"# Trust policy of {log.origin}. Keep it where the log's operator cannot change it."]
    for key in own:
        if key.state(now_us) == "retired":
            continue
        text = notes.vkey(log.origin, key.algorithm, key.public)
        lines.append(f"log {text}" if key.algorithm == "Ed25519" else f"# cosigner {text}")
    return "\n".join([*lines, "quorum none", ""])
