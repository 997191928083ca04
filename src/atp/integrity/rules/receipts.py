"""Receipts: the same inclusion proof as C2SP `.tlog-proof` text and as a COSE receipt (RFC 9942).

Pure: a path and a signer go in, bytes that others' software reads come out.
"""

from __future__ import annotations

from collections.abc import Sequence

import cbor2

from atp.integrity.rules.notes import Signer
from atp.kernel.hashing import b64

TLOG_PROOF = "application/vnd.c2sp.tlog-proof"
COSE = "application/cose"

_ALG, _KID, _VDS, _VDP = 1, 4, 395, 396
_EDDSA = -8
_RFC9162_SHA256 = 1
_INCLUSION = -1
_SIGN1_TAG = 18


def tlog_proof(index: int, path: Sequence[bytes], note: bytes) -> bytes:
    """Return the C2SP tlog-proof text for the leaf `index`, with the checkpoint it ends in."""
    lines = ["c2sp.org/tlog-proof@v1", f"index {index}", *(b64(step) for step in path), "", ""]
    return "\n".join(lines).encode() + note


def cose_receipt(signer: Signer, *, index: int, size: int, root: bytes, path: Sequence[bytes]) -> bytes:
    """Return a COSE receipt of inclusion: COSE_Sign1 over the detached root, the proof unprotected.

    The verifiable data structure is RFC9162_SHA256 (1); the proof is the CBOR array [size, index, path] inside a
    byte string, as RFC 9942 section 5.2 lays it down.
    """
    protected = cbor2.dumps(
        {_ALG: _EDDSA, _KID: bytes.fromhex(signer.key_id), _VDS: _RFC9162_SHA256}, canonical=True
    )
    to_sign = cbor2.dumps(["Signature1", protected, b"", root], canonical=True)
    proof = cbor2.dumps([size, index, list(path)], canonical=True)
    message = [protected, {_VDP: {_INCLUSION: [proof]}}, None, signer.raw_signature(to_sign)]
    return cbor2.dumps(cbor2.CBORTag(_SIGN1_TAG, message), canonical=True)
