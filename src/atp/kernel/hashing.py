"""SHA-256, HMAC-SHA-256 and unpadded base64url: the only digests and the only text form of bytes in records.

Bytes in, bytes or text out. Padded base64 is here too, because signed notes use it.
"""

from __future__ import annotations

import binascii
import hmac
from base64 import b64encode, urlsafe_b64decode
from hashlib import sha256 as _sha256

HASH_SIZE = 32
_URL_SAFE = bytes.maketrans(b"+/", b"-_")


def sha256(message: bytes) -> bytes:
    """Return the 32-byte SHA-256 of `message`."""
    return _sha256(message).digest()


def hmac_sha256(key: bytes, message: bytes) -> bytes:
    """Return the 32-byte HMAC-SHA-256 of `message` under `key`."""
    return hmac.digest(key, message, "sha256")


def b64u(raw: bytes) -> str:
    """Return `raw` as base64url without padding (RFC 4648 section 5)."""
    return b64u_bytes(raw).decode("ascii")


def b64u_bytes(raw: bytes) -> bytes:
    """As `b64u`, in ASCII bytes."""
    return binascii.b2a_base64(raw, newline=False).translate(_URL_SAFE, b"=")


def unb64u(text: str) -> bytes:
    """Return the bytes of unpadded base64url; a spelling that is not the canonical one is a ValueError."""
    try:
        raw = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
    except (binascii.Error, UnicodeEncodeError) as error:
        raise ValueError("not base64url") from error
    if b64u(raw) != text:
        raise ValueError("not canonical base64url")
    return raw


def b64(raw: bytes) -> str:
    """Return `raw` as standard padded base64, as the C2SP formats write it."""
    return b64encode(raw).decode("ascii")
