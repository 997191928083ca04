"""Many hashes as base64url at once: one call for a chunk of records instead of one for each.

A 33rd byte makes 32-byte hashes fill whole groups of three; it adds a 44th character and changes none of the 43.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Sequence

_URL_SAFE = bytes.maketrans(b"+/", b"-_")
_WIDTH, _LENGTH = 44, 43


def b64u_bytes_of(hashes: Sequence[bytes]) -> list[bytes]:
    """Return the unpadded base64url of each 32-byte hash, as bytes."""
    text = _encoded(hashes)
    return [text[at : at + _LENGTH] for at in range(0, len(text), _WIDTH)]


def b64u_of(hashes: Sequence[bytes]) -> list[str]:
    """Return the unpadded base64url of each 32-byte hash."""
    text = _encoded(hashes).decode("ascii")
    return [text[at : at + _LENGTH] for at in range(0, len(text), _WIDTH)]


def _encoded(hashes: Sequence[bytes]) -> bytes:
    return b2a_base64(b"\0".join([*hashes, b""]), newline=False).translate(_URL_SAFE)
