"""Integrity over HTTP: keys, the log's state, verifications, and the public tiles.

Receipts are in all three forms of the contract; a caller who comes before the next checkpoint waits a little.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import msgspec

from atp.engine.database import Connection, Database
from atp.integrity import queries
from atp.integrity.commands import Signers, rotate_keys
from atp.integrity.commands.verification import request_verification
from atp.integrity.jobs import Advances
from atp.integrity.model import OVERLAP_SECONDS, Checkpoint, LogKey, Target, Verification
from atp.integrity.queries import InclusionProof
from atp.integrity.rules import notes
from atp.integrity.rules.negotiation import chosen
from atp.integrity.rules.receipts import COSE, TLOG_PROOF, cose_receipt, tlog_proof
from atp.integrity.rules.tiles import TILE_WIDTH, bundle, parse_path
from atp.kernel.clock import SECOND_US, Clock, format_us, monotonic, now_us
from atp.kernel.errors import Problem
from atp.kernel.hashing import b64u
from atp.kernel.ids import TenantId
from atp.kernel.merkle import leaf_hash
from atp.streams import queries as streams
from atp.streams.commands import Ledger, Vault
from atp.streams.model import LogHead, StoredRecord
from atp.web.page import Cursors, links
from atp.web.request import Handler, Request
from atp.web.response import IMMUTABLE, JSON, Response, json_response, tag_of

T = TypeVar("T")

WAIT_MS: Final = 1_000
"""How long a receipt is waited for where the caller does not say; checkpoints follow commits much faster."""
RECHECK_SECONDS: Final = 0.05
"""How often a waiting request looks for checkpoints that another process signed."""
PARTIAL: Final = "public, max-age=60"
"""A partial tile is soon superseded by a wider one."""
REVALIDATE: Final = "public, no-cache"
"""The checkpoint may be kept, but must be asked for again."""
PLAIN: Final = "text/plain; charset=utf-8"
OCTETS: Final = "application/octet-stream"
_VERIFICATIONS: Final = "/api/v1/integrity/verifications"
_NEWEST: Final = "~"
"""Sorts behind every verification's id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IntegrityApi:
    """The handlers; `committed` is called after each durable change, so that whoever follows the feed wakes."""

    database: Database
    ledger: Ledger
    vault: Vault
    signers: Signers
    cursors: Cursors
    advances: Advances
    clock: Clock = now_us
    committed: Callable[[], None] = lambda: None

    def handlers(self) -> Mapping[str, Handler]:
        """Return the handler of each operation."""
        return {
            "getAuditEventProof": self.get_proof,
            "getIntegrityKeys": self.get_keys,
            "rotateIntegrityKey": self.rotate_key,
            "getIntegrityStatus": self.get_status,
            "createVerification": self.create_verification,
            "listVerifications": self.list_verifications,
            "getVerification": self.get_verification,
            "getCheckpoint": self.get_checkpoint,
            "getTile": self.get_tile,
            "getEntryBundle": self.get_entry_bundle,
        }

    # -- receipts --------------------------------------------------------------------------------------------

    async def get_proof(self, request: Request) -> Response:
        """Answer a receipt in the form the caller accepts, waiting a little for a checkpoint that covers it."""
        form = chosen(request.header("accept"), (JSON, TLOG_PROOF, COSE))
        proof = await self._proof(request)
        if form == TLOG_PROOF:
            return Response(
                200, tlog_proof(proof.index, proof.path, proof.checkpoint.note), media_type=TLOG_PROOF
            )
        if form == COSE:
            signers = await asyncio.to_thread(self.signers.of, proof.log)
            signer = next(signer for signer in signers if signer.algorithm == "Ed25519")
            size, root = proof.checkpoint.size, proof.checkpoint.root
            receipt = cose_receipt(signer, index=proof.index, size=size, root=root, path=proof.path)
            return Response(200, receipt, media_type=COSE)
        return json_response(_proof(proof))

    async def _proof(self, request: Request) -> InclusionProof:
        ulid, tenant = request.parameter("id"), request.tenant
        deadline = monotonic() + request.parameter("waitTimeout", WAIT_MS) / 1000

        def prove(connection: Connection) -> InclusionProof:
            return queries.inclusion(connection, tenant, streams.record(connection, tenant, ulid))

        while True:
            try:
                return await self._read(prove)
            except Problem as problem:
                left = deadline - monotonic()
                if problem.code != "PROOF_NOT_READY" or left <= 0 or request.stopping.is_set():
                    raise
                await self.advances.wait(min(left, RECHECK_SECONDS))

    # -- keys and state --------------------------------------------------------------------------------------

    async def get_keys(self, request: Request) -> Response:
        """Answer the log's public keys, or the policy that trusts them."""
        form = chosen(request.header("accept"), (JSON, "text/plain"))
        log = await self._log(request.tenant)
        keys = await asyncio.to_thread(self.signers.keys, log)
        if form == JSON:
            return json_response(self._keys(log, keys))
        return Response(200, queries.policy_text(log, keys, self.clock()).encode(), media_type=PLAIN)

    async def rotate_key(self, request: Request) -> Response:
        """Make new signing keys; the old ones sign beside them for the overlap."""
        overlap = request.body.get("overlapSeconds", OVERLAP_SECONDS)
        log = await self._log(request.tenant)
        vault = await asyncio.to_thread(self.vault.tenant, request.tenant)
        # A first key is made here if nothing was signed yet, by the same rule as for signing.
        await asyncio.to_thread(self.signers.keys, log)

        def rotate(connection: Connection) -> list[LogKey]:
            rotate_keys(
                connection,
                self.ledger,
                vault,
                log,
                overlap_seconds=overlap,
                now_us=self.clock(),
                actor=request.principal.actor(),
            )
            return queries.keys(connection, log.tenant_no)

        keys = await self._write(rotate)
        self.signers.forget(log.log_id)
        return json_response(self._keys(log, keys))

    async def get_status(self, request: Request) -> Response:
        """Answer how far the log, its tree and its checkpoint are."""
        state = await self._read(lambda c: queries.status(c, request.tenant))
        log, checkpoint, last = state.log, state.checkpoint, state.last_verification
        covered = checkpoint.size if checkpoint else 0
        age_us = 0 if state.oldest_uncovered_us is None else max(0, self.clock() - state.oldest_uncovered_us)
        return json_response(
            {
                "logId": log.log_id,
                "origin": log.origin,
                "size": log.size,
                "integrated": state.integrated,
                "checkpoint": None if checkpoint is None else _checkpoint(checkpoint),
                "lagRecords": max(0, log.size - covered),
                "lagSeconds": age_us / SECOND_US,
                "lastVerification": None if last is None else _verification(last),
            }
        )

    # -- verifications ---------------------------------------------------------------------------------------

    async def create_verification(self, request: Request) -> Response:
        """Queue a verification and say where to follow it."""
        body = request.body
        scope = body.get("scope", "log")
        target = Target(
            scope=scope,
            stream=body.get("stream") if scope == "stream" else None,
            record_id=body.get("id") if scope == "record" else None,
            values=body.get("values", True),
        )
        log = await self._log(request.tenant)
        run = await self._write(lambda c: request_verification(c, log, target, now_us=self.clock()))
        return json_response(_verification(run), 202, headers=(("location", f"{_VERIFICATIONS}/{run.id}"),))

    async def get_verification(self, request: Request) -> Response:
        """Answer one verification."""
        id_ = request.parameter("id")
        return json_response(
            _verification(await self._read(lambda c: queries.verification_run(c, request.tenant, id_)))
        )

    async def list_verifications(self, request: Request) -> Response:
        """List the tenant's verifications, newest first."""
        limit, cursor, tenant = request.parameter("limit"), request.parameter("cursor"), request.tenant
        query = request.operation_id.encode()
        before = _NEWEST
        if cursor is not None:
            try:
                before = self.cursors.read(cursor, tenant=tenant, query=query, order="-id")[0]
            except Problem:
                raise Problem("CURSOR_INVALID") from None
        found = await self._read(lambda c: queries.verifications(c, tenant, before=before, limit=limit + 1))
        items, following = found[:limit], None
        if len(found) > limit:
            following = self.cursors.write([items[-1].id], tenant=tenant, query=query, order="-id")
        page = {
            "limit": limit,
            "count": len(items),
            "hasMore": following is not None,
            "nextCursor": following,
        }
        return json_response(
            {
                "items": [_verification(run) for run in items],
                "page": page,
                "links": links(request.path, {"limit": limit, "cursor": cursor}, following=following),
            }
        )

    # -- the public log (C2SP tlog-tiles) --------------------------------------------------------------------

    async def get_checkpoint(self, request: Request) -> Response:
        """Answer the latest signed checkpoint."""
        found = await self._read(lambda c: queries.public_checkpoint(c, request.parameter("logId")))
        return Response(
            200,
            found.note,
            media_type=PLAIN,
            etag=tag_of(found.note),
            cache_control=REVALIDATE,
            compress=False,
        )

    async def get_tile(self, request: Request) -> Response:
        """Answer a tile's hashes."""
        hashes, cache = await self._tile(request, request.parameter("level"))
        return Response(200, hashes, media_type=OCTETS, cache_control=cache)

    async def get_entry_bundle(self, request: Request) -> Response:
        """Answer a bundle of entries: record hashes, nothing personal."""
        entries, cache = await self._tile(request, None)
        return Response(200, bundle(entries), media_type=OCTETS, cache_control=cache)

    async def _tile(self, request: Request, level: int | None) -> tuple[bytes, str]:
        """Return the hashes of a tile, or the entries of a bundle where `level` is None, and who may keep them."""
        log_id, path = request.parameter("logId"), request.parameter("tilePath")
        try:
            index, width = parse_path(path)
        except ValueError:
            raise Problem("TILE_NOT_FOUND", "Not an address of a tile in its shortest form.") from None
        hashes = await self._read(lambda c: queries.public_tile(c, log_id, level, index=index, width=width))
        return hashes, IMMUTABLE if width == TILE_WIDTH else PARTIAL

    # -- shared ----------------------------------------------------------------------------------------------

    def _keys(self, log: LogHead, keys: list[LogKey]) -> dict[str, Any]:
        now = self.clock()
        return {
            "logId": log.log_id,
            "origin": log.origin,
            "keys": [
                {
                    "vkey": notes.vkey(log.origin, key.algorithm, key.public),
                    "algorithm": key.algorithm,
                    "keyId": key.key_id,
                    "state": key.state(now),
                    "validFrom": format_us(key.valid_from_us),
                    "validUntil": _time(key.valid_until_us),
                }
                for key in keys
            ],
            "policy": queries.policy_text(log, keys, now),
        }

    async def _log(self, tenant: TenantId) -> LogHead:
        return await self._read(lambda c: streams.log(c, tenant))

    async def _read(self, work: Callable[[Connection], T]) -> T:
        return await asyncio.wrap_future(self.database.read(work))

    async def _write(self, work: Callable[[Connection], T]) -> T:
        result = await asyncio.wrap_future(self.database.write(work))
        self.committed()
        return result


def receipt(connection: Connection, tenant: TenantId, record: StoredRecord) -> Mapping[str, Any]:
    """Return a record's receipt as JSON; PROOF_NOT_READY until a checkpoint covers it (QRY-10)."""
    return _proof(queries.inclusion(connection, tenant, record))


def _proof(proof: InclusionProof) -> dict[str, Any]:
    entry = proof.record.record_hash
    return {
        "id": proof.record.ulid,
        "logId": proof.log.log_id,
        "origin": proof.log.origin,
        "position": proof.index,
        "recordHash": b64u(entry),
        "leafHash": b64u(leaf_hash(entry)),
        "treeSize": proof.checkpoint.size,
        "rootHash": b64u(proof.checkpoint.root),
        "inclusionPath": [b64u(step) for step in proof.path],
        "checkpoint": proof.checkpoint.note.decode(),
    }


def _checkpoint(checkpoint: Checkpoint) -> dict[str, Any]:
    return {
        "size": checkpoint.size,
        "rootHash": b64u(checkpoint.root),
        "signedAt": format_us(checkpoint.signed_us),
        "note": checkpoint.note.decode(),
    }


def _verification(run: Verification) -> dict[str, Any]:
    return {
        "id": run.id,
        "scope": run.target.scope,
        "stream": run.target.stream,
        "recordId": run.target.record_id,
        "values": run.target.values,
        "status": run.status,
        "progress": {"done": run.done, "total": run.total},
        "requestedAt": format_us(run.requested_us),
        "startedAt": _time(run.started_us),
        "finishedAt": _time(run.finished_us),
        "result": None if run.result is None else msgspec.to_builtins(run.result),
        "links": {"self": f"{_VERIFICATIONS}/{run.id}"},
    }


def _time(us: int | None) -> str | None:
    return None if us is None else format_us(us)
