"""The source's own JSON, carried whole: as values wherever values can say it, as its text where they cannot.

JSON values cannot say: a repeated key, a number that a double does not hold, NUL, half a surrogate pair, a
key beginning with `~` (reserved), or very deep nesting. Such a line travels as one string, its JSON text,
in which escapes stay escapes; `payload.import.original` then says "text". Both ways back are one step:
the value, or parsing the string.
"""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

import msgspec

from atp.imports.model import Unmappable
from atp.kernel.errors import Problem
from atp.web.body import count_keys, key_tokens_max

_DEPTH_MAX = 28
"""The event's limit is 32; `payload.original` uses two, and a little is left for the edge."""

_HALF_PAIR = re.compile(
    rb"\\(?:(u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_REAL = re.compile(rb"-?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode


def parse_object(raw: bytes) -> tuple[dict[str, Any], dict[str, Any] | str]:
    """Return the line's JSON object for mapping, and the same for `payload.original`: the object or its text.

    Raises Unmappable: NOT_UTF8, NOT_JSON, NOT_AN_OBJECT.
    """
    value, whole = _parse(raw)
    if type(value) is not dict:
        raise Unmappable("NOT_AN_OBJECT", "The line is JSON, but not an object.")
    # Writing it again byte for byte as it was proves that decoding lost nothing; nearly every line ends here.
    if not (whole and (_encode(value) == raw or _same(value, raw)) and _allowed(value, raw)):
        return value, raw.decode().strip()
    return value, value


def _parse(raw: bytes) -> tuple[Any, bool]:
    try:
        return _decode(raw), True
    except RecursionError:
        raise Unmappable("JSON_TOO_DEEP", "The JSON is nested too deeply to be read.") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        try:
            raw.decode()
        except UnicodeDecodeError as bad:
            raise Unmappable("NOT_UTF8", f"Not UTF-8 at byte {bad.start} of the line.") from None
        # Windows cuts UTF-16 text anywhere; converters then write half a pair, which no Unicode string holds.
        mended = _HALF_PAIR.sub(lambda found: b"\\ufffd" if found[2] else found[0], raw)
        if mended == raw:
            raise Unmappable("NOT_JSON", f"Not JSON: {error}.") from None
    try:
        return _decode(mended), False
    except (msgspec.MsgspecError, RecursionError) as error:
        raise Unmappable("NOT_JSON", f"Not JSON: {error}.") from None


def _same(value: dict[str, Any], raw: bytes) -> bool:
    # White space and escapes may differ; keys and numbers may not. Both tests err towards carrying the text.
    try:
        keys = count_keys(value, max_depth=_DEPTH_MAX)
    except Problem:
        return False
    return keys == key_tokens_max(raw) and _numbers_exact(raw)


def _numbers_exact(raw: bytes) -> bool:
    for literal in _REAL.findall(_STRING.sub(b"", raw)):
        if not literal.lstrip(b"-").isdigit() and Decimal(literal.decode()) != Decimal(repr(float(literal))):
            return False
    return True


def _allowed(value: dict[str, Any], raw: bytes) -> bool:
    # Looked for in the raw line, with the cheapest question first: the answer is nearly always no.
    if b"\\u00" in raw and (b"\\u0000" in raw or b"\\u007e" in raw or b"\\u007E" in raw):
        return False
    if b"~" in raw and b'"~' in raw:
        return False
    level: list[Any] = [value]
    for _ in range(_DEPTH_MAX):
        below = [node.values() if type(node) is dict else node for node in level]
        level = [
            child for children in below for child in children if type(child) is dict or type(child) is list
        ]
        if not level:
            return True
    return False
