"""Canonical JSON against RFC 8785's own tables and against what it must satisfy for any value at all."""

import hashlib
import math
import struct
from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atp.kernel import canonical

# RFC 8785, appendix B: the bits of a double and how it is written.
RFC_NUMBERS = {
    0x0000000000000000: "0",
    0x8000000000000000: "0",
    0x0000000000000001: "5e-324",
    0x8000000000000001: "-5e-324",
    0x7FEFFFFFFFFFFFFF: "1.7976931348623157e+308",
    0xFFEFFFFFFFFFFFFF: "-1.7976931348623157e+308",
    0x4340000000000000: "9007199254740992",
    0xC340000000000000: "-9007199254740992",
    0x4430000000000000: "295147905179352830000",
    0x44B52D02C7E14AF5: "9.999999999999997e+22",
    0x44B52D02C7E14AF6: "1e+23",
    0x44B52D02C7E14AF7: "1.0000000000000001e+23",
    0x444B1AE4D6E2EF4E: "999999999999999700000",
    0x444B1AE4D6E2EF4F: "999999999999999900000",
    0x444B1AE4D6E2EF50: "1e+21",
    0x3EB0C6F7A0B5ED8C: "9.999999999999997e-7",
    0x3EB0C6F7A0B5ED8D: "0.000001",
    0x41B3DE4355555553: "333333333.3333332",
    0x41B3DE4355555554: "333333333.33333325",
    0x41B3DE4355555555: "333333333.3333333",
    0x41B3DE4355555556: "333333333.3333334",
    0x41B3DE4355555557: "333333333.33333343",
    0xBECBF647612F3696: "-0.0000033333333333333333",
    0x43143FF3C1CB0959: "1424953923781206.2",
}
NUMBER_LINES = 10_000
NUMBER_LINES_SHA256 = "1b580035a413d78c542e9fa9e0726d540f85f9ee508f1869e249a1a4fc3267b7"
"""Of lines `bits,number`. Taken from this encoder after it had given the published SHA-256 sums of the first
1,000, 10,000 and 100,000 lines of the ES6 number file that RFC 8785 names (they begin with 168 chosen values)."""

plain_keys = st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"]), max_size=8)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
plain_leaves = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | texts
plain_values = st.recursive(
    plain_leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(plain_keys, inner, max_size=4)
)
leaves = plain_leaves | st.floats(allow_nan=False, allow_infinity=False) | st.integers()
values = st.recursive(
    leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4)
)


def _double(bits: int) -> float:
    (value,) = struct.unpack(">d", bits.to_bytes(8, "big"))
    return value


@pytest.mark.parametrize("bits", RFC_NUMBERS)
def test_numbers_of_the_rfc(bits: int) -> None:
    assert canonical.encode(_double(bits)) == RFC_NUMBERS[bits].encode()


@pytest.mark.parametrize("bits", [0x7FFFFFFFFFFFFFFF, 0x7FF0000000000000, 0xFFF0000000000000])
def test_what_is_not_a_number_is_refused(bits: int) -> None:
    """RFC 8785, appendix B: NaN and the infinities are errors."""
    with pytest.raises(ValueError, match="JSON"):
        canonical.encode(_double(bits))


def _number_file() -> Iterator[float]:
    """The doubles of the ES6 number file behind its 168 chosen ones: 2,000 neighbours, then a chain of SHA-256."""
    for step in range(2_000):
        yield _double(0x0010000000000000 + step)
    block = bytes(32)
    while True:
        block = hashlib.sha256(block).digest()
        for value in struct.unpack("<4d", block):
            if value and math.isfinite(value):
                yield value


def test_numbers_of_the_es6_file() -> None:
    digest = hashlib.sha256()
    for _, value in zip(range(NUMBER_LINES), _number_file(), strict=False):
        (bits,) = struct.unpack(">Q", struct.pack(">d", value))
        digest.update(b"%x,%s\n" % (bits, canonical.encode(value)))
    assert digest.hexdigest() == NUMBER_LINES_SHA256


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_is_read_back_as_itself(value: float) -> None:
    """The shortest digits that give the same double, in ECMAScript's choice of plain and exponent form."""
    text = canonical.encode(value).decode()
    assert float(text) == value
    digits = text.lstrip("-").partition("e")[0].replace(".", "").strip("0")
    assert len(digits) <= 17
    exponent = 0 if value == 0 else math.floor(math.log10(abs(value)))
    if 1e-6 <= abs(value) < 1e21 or value == 0:
        assert "e" not in text
    elif exponent not in {-7, 20, 21}:
        assert "e+" in text or "e-" in text
    assert "+" not in text or "e+" in text


def test_the_example_of_the_rfc() -> None:
    """RFC 8785, section 3.2.2: literals, escapes and numbers in one object."""
    value = msgspec.json.decode(
        rb"""{"numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
              "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/", "literals": [null, true, false]}"""
    )
    assert canonical.encode(value).decode() == (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"\u20ac$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )


def test_keys_are_sorted_as_utf_16() -> None:
    """RFC 8785, section 3.2.3: an emoji (a surrogate pair) comes before U+FB33 although its code point is higher."""
    order = ["\r", "1", "\x80", "\xf6", "\u20ac", "\U0001f600", "\ufb33"]
    encoded = canonical.encode(dict.fromkeys(reversed(order), 0))
    assert list(msgspec.json.decode(encoded)) == order


@given(plain_values)
def test_the_fast_form_is_the_same(value: object) -> None:
    """`encode_plain` is `encode` for what holds no float and no key outside the Basic Multilingual Plane."""
    assert canonical.encode_plain(value) == canonical.encode(value)


@given(values)
def test_any_value_is_read_back_and_written_the_same(value: object) -> None:
    """Decoding and encoding again changes no byte: what is hashed has one form only."""
    import json

    encoded = canonical.encode(value)
    decoded = json.loads(encoded)
    assert canonical.encode(decoded) == encoded
    assert b"\n" not in encoded
    encoded.decode("utf-8", errors="strict")


@given(st.integers())
def test_integers_are_exact(value: int) -> None:
    """The one departure from RFC 8785: no integer is rounded to a double."""
    assert canonical.encode(value) == str(value).encode()


@pytest.mark.parametrize(
    "value", [{1: "a"}, {"a": b"bytes"}, ["\ud800"], {"\udfff": 1}, {1.5}, object(), float("nan")]
)
def test_what_json_cannot_say_is_refused(value: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        canonical.encode(value)


def test_too_deep_is_refused_before_the_stack_ends() -> None:
    value: object = 1
    for _ in range(canonical.MAX_DEPTH + 1):
        value = [value]
    with pytest.raises(ValueError, match="deep"):
        canonical.encode(value)
