"""Strict JSON at the edge: each refusal has its own code, and nothing valid is refused (API-10, ING-05)."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atp.kernel.errors import Problem
from atp.web import body

TRICKY_TEXT = st.text(alphabet='":\\ \n\t{}[],a\u0001é😀', max_size=12)
TREES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TRICKY_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TRICKY_TEXT, inner, max_size=4),
    max_leaves=20,
)
SEPARATORS = st.sampled_from(
    [(",", ":"), (", ", ": "), (" , ", " : "), (",\n", "\n:\n"), (",\t", "\t:"), (",", "\r: ")]
)


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "MALFORMED_JSON"),
        (b'{"a":', "MALFORMED_JSON"),
        (b'{"a":1}x', "MALFORMED_JSON"),
        (b"{'a':1}", "MALFORMED_JSON"),
        (b"[01]", "MALFORMED_JSON"),
        (b"\xef\xbb\xbf{}", "MALFORMED_JSON"),
        (b'["\\ud800"]', "INVALID_UTF8"),
        (b'{"a\\udc00":"\\uD800x"}', "INVALID_UTF8"),
        (b'["\\ud800", NaN', "MALFORMED_JSON"),
        (b'["a\nb"]', "MALFORMED_JSON"),
        (b"\x00", "MALFORMED_JSON"),
        (b'["\xff"]', "INVALID_UTF8"),
        (b'["\xed\xa0\x80"]', "INVALID_UTF8"),
        (b'{"a":"\xc3', "INVALID_UTF8"),
        (b"[NaN]", "INVALID_NUMBER"),
        (b'{"a": -Infinity}', "INVALID_NUMBER"),
        (b"[1e400]", "INVALID_NUMBER"),
        (b"[" + b"9" * 5000 + b"]", "INVALID_NUMBER"),
        (b"[" * 33 + b"]" * 33, "JSON_TOO_DEEP"),
        (b"[" * 100_000, "JSON_TOO_DEEP"),
        (b'{"a":' * 33 + b"1" + b"}" * 33, "JSON_TOO_DEEP"),
        (b'{"a":1,"a":1}', "DUPLICATE_KEY"),
        (b'{"a" : 1,"a"\t: 2}', "DUPLICATE_KEY"),
        (b'{"x":[{"b":{"a":1,"\\u0061":2}}]}', "DUPLICATE_KEY"),
        (b'{"a":"x\\u0000y"}', "INVALID_CHARACTER"),
        (b'{"a\\u0000":1}', "INVALID_CHARACTER"),
        (b'["a\x00b"]', "INVALID_CHARACTER"),
    ],
)
def test_each_kind_of_bad_json_is_refused_with_its_own_code(raw: bytes, code: str) -> None:
    with pytest.raises(Problem) as caught:
        body.decode_json(raw)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b"[" * 32 + b"]" * 32, None),
        (b"[9007199254740993, -9223372036854775809, 123456789012345678901234567890]", None),
        (b'{"a":":a","b":"\\":","c":" : ","d":"\\\\"}', None),
        (b'["\\\\u0000", "\\ud83d\\ude00"]', ["\\u0000", "😀"]),
        (b" null ", None),
    ],
)
def test_valid_json_near_the_limits_is_kept_exactly(raw: bytes, value: Any) -> None:
    assert body.decode_json(raw) == (value if value is not None else json.loads(raw))


@given(tree=TREES, separators=SEPARATORS, ascii_only=st.booleans())
def test_no_valid_text_is_taken_for_one_with_duplicate_keys(
    tree: Any, separators: tuple[str, str], ascii_only: bool
) -> None:
    raw = json.dumps(tree, separators=separators, ensure_ascii=ascii_only).encode()
    decoded = body.decode_json(raw)
    assert decoded == tree
    assert body.key_tokens_max(raw) >= body.count_keys(decoded)


@given(name=TRICKY_TEXT, tree=TREES, separators=SEPARATORS)
def test_a_key_written_twice_is_found_wherever_and_however_it_is_written(
    name: str, tree: Any, separators: tuple[str, str]
) -> None:
    key, inner = json.dumps(name), json.dumps(tree, separators=separators)
    comma, colon = separators
    raw = f"[1,{{{key}{colon}{inner}{comma}{key}{colon}{inner}}}]".encode()
    with pytest.raises(Problem) as caught:
        body.decode_json(raw)
    assert caught.value.code == "DUPLICATE_KEY"


@given(raw=st.binary(max_size=60) | st.text(alphabet='{}[]":,\\u0a1eEN-. \0', max_size=40).map(str.encode))
def test_any_bytes_give_a_value_or_a_catalogued_problem(raw: bytes) -> None:
    try:
        value = body.decode_json(raw)
    except Problem:
        return
    assert value == json.loads(raw)
