"""Canonical JSON: RFC 8785 with one departure, written down in docs/record-format.md.

Integers beyond ±(2^53-1), which nearly every real Windows event holds, are written exactly as decimal
integers instead of being rounded to a double. `encode` is exact for every value; `encode_plain` is the same
for values known to hold no float and no key outside the Basic Multilingual Plane, at C speed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Final

import msgspec

MAX_DEPTH = 64
"""Nesting that `encode` follows; a deeper value is a ValueError, long before Python's own stack ends."""

encode_plain: Final[Callable[[object], bytes]] = msgspec.json.Encoder(order="sorted").encode
"""Encode a value without floats and with keys inside the BMP: code-point order is then UTF-16 order."""

_ESCAPE = re.compile(r'[\x00-\x1f"\\]')
_SHORT = {"\b": "\\b", "\t": "\\t", "\n": "\\n", "\f": "\\f", "\r": "\\r", '"': '\\"', "\\": "\\\\"}


def encode(value: object) -> bytes:
    """Return the canonical bytes of a JSON value.

    Raises ValueError for what JSON or RFC 8785 cannot say: NaN, infinities, lone surrogates, keys that are
    not strings, foreign types, and nesting past `MAX_DEPTH`.
    """
    parts: list[str] = []
    _write(value, parts.append, 0)
    try:
        return "".join(parts).encode("utf-8")
    except UnicodeEncodeError as error:
        raise ValueError("a string holds a lone surrogate") from error


def _write(value: object, put: Callable[[str], None], depth: int) -> None:
    if depth > MAX_DEPTH:
        raise ValueError("nested too deeply")
    if isinstance(value, str):
        put(_string(value))
    elif value is None:
        put("null")
    elif isinstance(value, bool):
        put("true" if value else "false")
    elif isinstance(value, int):
        put(str(value))
    elif isinstance(value, float):
        put(_number(value))
    elif isinstance(value, dict):
        _write_object(value, put, depth)
    elif isinstance(value, (list, tuple)):
        put("[")
        for index, item in enumerate(value):
            if index:
                put(",")
            _write(item, put, depth + 1)
        put("]")
    else:
        raise ValueError(f"{type(value).__name__} is not a JSON type")


def _write_object(value: dict[str, object], put: Callable[[str], None], depth: int) -> None:
    try:
        names = sorted(value, key=lambda name: name.encode("utf-16-be"))
    except (AttributeError, UnicodeEncodeError) as error:
        raise ValueError("an object has a key that is not a Unicode string") from error
    put("{")
    for index, name in enumerate(names):
        put(("," if index else "") + _string(name) + ":")
        _write(value[name], put, depth + 1)
    put("}")


def _string(text: str) -> str:
    return '"' + _ESCAPE.sub(_escape, text) + '"'


def _escape(match: re.Match[str]) -> str:
    character = match.group()
    return _SHORT.get(character) or f"\\u{ord(character):04x}"


def _number(value: float) -> str:
    """Write a double as ECMAScript's Number::toString does (ECMA-262 section 6.1.6.1.20)."""
    if not math.isfinite(value):
        raise ValueError("NaN and infinities are not JSON")
    if value == 0:
        return "0"
    sign = "-" if value < 0 else ""
    mantissa, _, exponent_text = repr(abs(value)).partition("e")
    whole, _, fraction = mantissa.partition(".")
    point = len(whole) + int(exponent_text or "0")
    digits = whole + ("" if fraction == "0" else fraction)
    leading = len(digits) - len(digits.lstrip("0"))
    digits, point = digits[leading:], point - leading
    digits = digits.rstrip("0")
    count = len(digits)
    if count <= point <= 21:
        return sign + digits + "0" * (point - count)
    if 0 < point <= 21:
        return sign + digits[:point] + "." + digits[point:]
    if -6 < point <= 0:
        return sign + "0." + "0" * -point + digits
    exponent = point - 1
    tail = "." + digits[1:] if count > 1 else ""
    return f"{sign}{digits[0]}{tail}e{'+' if exponent > 0 else '-'}{abs(exponent)}"
