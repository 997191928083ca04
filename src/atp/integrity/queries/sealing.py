"""Checking sealed streams: the record of the sealing, the stream's state and its records agree (STR-02).

What disagrees goes into the findings of the run; stored rows are read, never believed: the root is recomputed.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from atp.engine.codec import CorruptValue, unpack
from atp.engine.database import Connection
from atp.integrity.queries.findings import Findings
from atp.integrity.store import evidence
from atp.kernel.hashing import b64u, sha256
from atp.kernel.merkle import Frontier, leaf_hash
from atp.streams.model import RESERVED_PREFIX

SEALED: Final = "event_stream.sealed"


def check_seal(
    connection: Connection, findings: Findings, tenant_no: int, *, row: tuple[Any, ...], content: bytes
) -> None:
    """Check what a record of `event_stream.sealed` says against the stream it tells of."""
    position, id_ = row[0], row[7]
    try:
        told = msgspec.json.decode(content)
        payload = told["payload"]
        name, final, root = payload["stream"], payload["final_version"], payload["merkle_root"]
        if told["type"] != SEALED:
            return
        if not (isinstance(name, str) and isinstance(final, int)) or "\0" in name:
            raise TypeError("not what the record of a sealing holds")
    except (ValueError, LookupError, TypeError, RecursionError):
        findings.add("seal", "The record of a sealed stream does not read.", position=position, id=id_)
        return
    stream = evidence.streams(connection, tenant_no, [name]).get(name)
    if stream is None or stream[1] not in ("sealed", "archived"):
        message = "A record tells that the stream was sealed, but it is not."
        findings.add("seal_broken", message, position=position, id=id_, stream=name)
    if stream is None:
        return
    tree, size = Frontier(), 0
    try:
        for header in evidence.stream_headers(connection, tenant_no, stream[0]):
            size += 1
            if size <= final:
                tree.append(leaf_hash(sha256(unpack(header))))
    except (CorruptValue, TypeError):
        return  # The record that does not decode is named at its own position.
    if evidence.last_version(connection, tenant_no, stream[0]) > final:
        message = "There are records behind the version at which the stream was sealed."
        findings.add("record_after_seal", message, position=position, id=id_, stream=name)
    if size < final or b64u(tree.root()) != root:
        message = "The stream's records do not give the Merkle root that was sealed."
        findings.add("seal_root", message, position=position, id=id_, stream=name)


def check_closed_streams(connection: Connection, findings: Findings, tenant_no: int) -> None:
    """Check that a record tells of every stream that takes no more events."""
    for name, _, state in list(evidence.closed_streams(connection, tenant_no)):
        telling = f"{RESERVED_PREFIX}event_stream/{name}"
        stream = evidence.streams(connection, tenant_no, [telling]).get(telling)
        if stream is None or not _tells(connection, tenant_no, stream[0]):
            findings.add("seal_unexplained", f"The stream is {state} and no record tells of it.", stream=name)


def _tells(connection: Connection, tenant_no: int, stream_no: int) -> bool:
    for row in evidence.stream_rows(connection, tenant_no, stream_no, after=0, limit=100):
        try:
            if msgspec.json.decode(unpack(row[9]))["type"] == SEALED:
                return True
        except (ValueError, LookupError, TypeError, CorruptValue):
            continue
    return False
