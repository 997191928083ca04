"""Our own audit events, one a line.

They are passed on byte for byte, so that the server judges what was written and not what we made of it.
"""

from __future__ import annotations

import msgspec

from atp.imports.model import Unmappable

FORMAT = "jsonl"


class _Sent(msgspec.Struct):
    idempotency_key: object = msgspec.field(default=None, name="idempotencyKey")


_decode = msgspec.json.Decoder(_Sent).decode


def map_line(raw: bytes, key: str) -> bytes:
    """Return the event with `key` as its idempotency key, unless it brings one; the rest is not touched."""
    try:
        raw.decode()
    except UnicodeDecodeError as bad:
        raise Unmappable("NOT_UTF8", f"Not UTF-8 at byte {bad.start} of the line.") from None
    try:
        sent = _decode(raw)
    except RecursionError:
        raise Unmappable("JSON_TOO_DEEP", "The JSON is nested too deeply to be read.") from None
    except msgspec.ValidationError:
        raise Unmappable(
            "NOT_AN_OBJECT", "The line is not a JSON object with numbers that can be kept."
        ) from None
    except msgspec.MsgspecError as error:
        raise Unmappable("NOT_JSON", f"Not JSON: {error}.") from None
    # Events travel one a line. A line break that JSON allows stands between tokens, where a blank does as well.
    whole = raw.strip().replace(b"\n", b" ").replace(b"\r", b" ")
    if sent.idempotency_key is not None:
        return whole
    members = whole[:-1].rstrip()
    return members + (b"" if members == b"{" else b",") + b'"idempotencyKey":"' + key.encode("ascii") + b'"}'
