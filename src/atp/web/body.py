"""Strict JSON: RFC 8259 and I-JSON's refusals (duplicate keys, lone surrogates), without I-JSON's rounding.

Bytes come in, plain Python values go out, integers of any size exact. The parser is msgspec's; what it lets
pass (duplicate keys, depth, NUL) is found here, mostly by counting, because a second parse would cost
more than the first.
"""

from __future__ import annotations

import json  # noqa: TID251 - the only parser with a hook that sees a key written twice
import re
from typing import Any, NoReturn

import msgspec

from atp.kernel.errors import Detail, Problem

DEPTH_MAX = 32
"""Objects and arrays inside each other; the format's limit, far below any parser's stack."""

EXACT_MAX = 2**53
"""Whole numbers up to here are exact as a double; a larger one was sent as a double and stays one."""

_ESCAPED_NUL = b"\\u0000"
_SPACE_COLON = re.compile(rb" :")
_ERROR_POSITION = re.compile(r"\(byte (\d+)\)")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_NOT_A_NUMBER = (b"NaN", b"Infinity")
_decode = msgspec.json.Decoder().decode


def decode_json(raw: bytes, *, max_depth: int = DEPTH_MAX) -> Any:
    """Return the value of a JSON text, or raise the Problem that names what is wrong with it.

    MALFORMED_JSON, INVALID_UTF8, INVALID_NUMBER, JSON_TOO_DEEP, DUPLICATE_KEY, INVALID_CHARACTER.
    """
    value = parse_json(raw)
    keys = count_keys(value, max_depth=max_depth)
    refuse_duplicate_keys(raw, keys)
    if may_hold_nul(raw):
        refuse_nul(value)
    return _with_whole_numbers(value)


def _with_whole_numbers(value: Any) -> Any:
    """Return the value with 5.0 as 5: to JSON Schema both are integers, and the handlers rely on what it said."""
    if type(value) is float:
        return int(value) if value.is_integer() and abs(value) <= EXACT_MAX else value
    if type(value) is dict:
        return {name: _with_whole_numbers(inner) for name, inner in value.items()}
    if type(value) is list:
        return [_with_whole_numbers(inner) for inner in value]
    return value


def parse_json(raw: bytes) -> Any:
    """Parse only: the caller has promised to do the counting and the NUL check itself (ingestion does)."""
    try:
        return _decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        _explain(raw, error)


def count_keys(value: Any, *, max_depth: int = DEPTH_MAX) -> int:
    """Return the number of keys in the whole tree; JSON_TOO_DEEP where it is nested past `max_depth`.

    Walks level by level, so that the depth is the number of rounds and no recursion is needed.
    """
    keys = 0
    level = [value] if isinstance(value, dict | list) else []
    depth = 0
    while level:
        depth += 1
        if depth > max_depth:
            raise Problem("JSON_TOO_DEEP", f"The JSON is nested deeper than {max_depth} levels.")
        below: list[Any] = []
        for node in level:
            if type(node) is dict:
                keys += len(node)
                below += [child for child in node.values() if type(child) is dict or type(child) is list]
            else:
                below += [child for child in node if type(child) is dict or type(child) is list]
        level = below
    return keys


def key_tokens_max(raw: bytes) -> int:
    """Return an upper bound of the keys written in valid JSON, exact for nearly every real body.

    A key's colon follows its closing quote or white space, so counting those five pairs misses none. Text
    such as `" :"` inside a string is counted too much, never too little: equality with the decoded tree's
    count proves that no key was written twice.
    """
    keys = raw.count(b'":')
    # A regular expression with a literal finds a rare pair four times as fast as bytes.count does.
    if _SPACE_COLON.search(raw):
        keys += raw.count(b" :")
    for blank in (b"\n", b"\t", b"\r"):
        if blank in raw:
            keys += raw.count(blank + b":")
    return keys


def refuse_duplicate_keys(raw: bytes, keys: int) -> None:
    """Raise DUPLICATE_KEY when `raw`, valid JSON, writes more keys than the `keys` its decoded tree has."""
    if key_tokens_max(raw) != keys:
        json.loads(raw, object_pairs_hook=_distinct, parse_int=_untouched, parse_float=_untouched)


def refuse_repeated_members(raw: bytes) -> None:
    """Raise DUPLICATE_KEY when the outermost object of `raw`, valid JSON, has a member twice; what is in it is not looked at."""
    members: list[tuple[str, Any]] = []

    def keep(pairs: list[tuple[str, Any]]) -> None:
        members[:] = pairs  # The outermost object is the last to be complete.

    try:
        json.loads(raw, object_pairs_hook=keep, parse_int=_untouched, parse_float=_untouched)
    except RecursionError:
        raise Problem("JSON_TOO_DEEP", f"The JSON is nested deeper than {DEPTH_MAX} levels.") from None
    _distinct(members)


def may_hold_nul(raw: bytes) -> bool:
    """Tell whether a NUL may be in the text: raw it is malformed JSON, so only the escape can bring it in."""
    return _ESCAPED_NUL in raw


def refuse_nul(value: Any) -> None:
    """Raise INVALID_CHARACTER where a key or string of the tree holds NUL, which no database text can."""
    pending = [value]
    while pending:
        node = pending.pop()
        if type(node) is dict:
            pending.extend(node)
            pending.extend(node.values())
        elif type(node) is list:
            pending.extend(node)
        elif type(node) is str and "\0" in node:
            raise Problem("INVALID_CHARACTER", "The NUL character (U+0000) is not allowed.")


def _distinct(pairs: list[tuple[str, Any]]) -> None:
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            detail = Detail(name[:64], "This key occurs more than once in one object.")
            raise Problem("DUPLICATE_KEY", details=[detail])
        seen.add(name)


def _untouched(text: str) -> str:
    # Numbers are not looked at in the duplicate check, and int() of a very long one would be refused.
    return text


def _explain(raw: bytes, error: Exception) -> NoReturn:
    # The parser names the place; what stands there tells which of the catalogued refusals it is.
    if isinstance(error, RecursionError):
        raise Problem("JSON_TOO_DEEP", f"The JSON is nested deeper than {DEPTH_MAX} levels.") from None
    if isinstance(error, UnicodeDecodeError) or not _is_utf8(raw):
        raise Problem("INVALID_UTF8", "The body is not valid UTF-8.") from None
    if isinstance(error, msgspec.ValidationError):
        raise Problem("INVALID_NUMBER", "A number is outside the range that can be kept.") from None
    message = str(error)
    place = _ERROR_POSITION.search(message)
    position = int(place.group(1)) if place else len(raw)
    if _SURROGATE.search(raw) and _parses_leniently(raw):
        raise Problem("INVALID_UTF8", "A string holds half of a surrogate pair.") from None
    if raw.startswith(_NOT_A_NUMBER, position):
        raise Problem("INVALID_NUMBER", "NaN and Infinity are not JSON numbers.") from None
    if b"\0" in raw[position : position + 1] and raw[:position].count(b'"') % 2:
        raise Problem("INVALID_CHARACTER", "The NUL character (U+0000) is not allowed.") from None
    where = f" at byte {position}" if place else ": it ends too early"
    raise Problem("MALFORMED_JSON", f"The body is not valid JSON{where}.") from None


def _parses_leniently(raw: bytes) -> bool:
    # Python's parser lets half a surrogate pair pass; what it takes and msgspec refuses has one.
    try:
        json.loads(raw, parse_int=_untouched, parse_float=_untouched)
    except (ValueError, RecursionError):
        return False
    return True


def _is_utf8(raw: bytes) -> bool:
    try:
        raw.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
