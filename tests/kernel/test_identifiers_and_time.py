"""ULIDs stay in order whatever the clock does; times and bytes have one text each."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atp.kernel import clock, hashing, ids
from atp.kernel.randomness import random_bytes

MOMENTS = st.integers(-62135596800 * 10**6, 253402300799 * 10**6 + 999_999)


@given(st.lists(st.tuples(st.integers(0, 2**48 * 1000 - 1), st.integers(1, 5)), min_size=1, max_size=20))
def test_ulids_always_increase(steps: list[tuple[int, int]]) -> None:
    """A clock that jumps back, stands still or leaps: each identifier is greater than every one before."""
    now = 0
    factory = ids.UlidFactory(lambda: now, random_bytes)
    made: list[bytes] = []
    for now, count in steps:  # noqa: B007 - the factory's clock reads it.
        made += factory.next_many(count)
    assert made == sorted(set(made))
    assert all(len(raw) == 16 for raw in made)


@given(st.binary(min_size=16, max_size=16).filter(lambda raw: raw < b"\xff" * 15))
def test_ulids_continue_behind_the_last_one_stored(last: bytes) -> None:
    """After a restart with the clock behind, what was given out is not given out again."""
    factory = ids.UlidFactory(lambda: 0, random_bytes)
    factory.after(last)
    assert factory.next_many(1)[0] > last


@given(st.lists(st.binary(min_size=16, max_size=16), max_size=5))
def test_ulids_as_text(raws: list[bytes]) -> None:
    """26 characters of Crockford's base 32, there and back, in the same order, one by one or many at once."""
    texts = [ids.encode_ulid(raw) for raw in raws]
    assert ids.encode_ulids(raws) == texts
    assert [ids.decode_ulid(text) for text in texts] == raws
    assert sorted(texts) == [ids.encode_ulid(raw) for raw in sorted(raws)]


def test_a_known_ulid() -> None:
    """The time of a ULID can be read by any other implementation."""
    made = ids.UlidFactory(lambda: 1_469_918_176_385_000, random_bytes).next_many(1)[0]
    assert ids.encode_ulid(made).startswith("01ARYZ6S41")
    assert ids.encode_ulid(bytes(16)) == "0" * 26
    assert ids.encode_ulid(b"\xff" * 16) == "7" + "Z" * 25


@pytest.mark.parametrize(
    "text", ["", "0" * 25, "0" * 27, "8" + "0" * 25, "0" * 25 + "I", "0" * 25 + "a", "0" * 25 + "\n"]
)
def test_what_is_not_a_ulid(text: str) -> None:
    with pytest.raises(ValueError, match="ULID"):
        ids.decode_ulid(text)


@pytest.mark.parametrize("text", ["a", "demo", "a-b", "0", "a" * 63])
def test_tenant_ids(text: str) -> None:
    assert ids.tenant_id(text) == text


@pytest.mark.parametrize("text", ["", "A", "-a", "a-", "a_b", "a" * 64, "a\n", "ä", "a/b", "a."])
def test_what_is_not_a_tenant_id(text: str) -> None:
    with pytest.raises(ValueError, match="tenant"):
        ids.tenant_id(text)


@given(MOMENTS)
def test_times_there_and_back(us: int) -> None:
    """RFC 3339 in UTC with six digits, for every year that has four."""
    text = clock.format_us(us)
    assert len(text) == 27
    assert clock.parse_rfc3339(text) == us


@given(st.integers(0, 4 * 10**15), st.integers(-23 * 60 - 59, 23 * 60 + 59))
def test_an_offset_is_taken_off(us: int, minutes: int) -> None:
    local = clock.format_us(us + minutes * 60 * 10**6).removesuffix("Z")
    sign = "-" if minutes < 0 else "+"
    assert clock.parse_rfc3339(f"{local}{sign}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}") == us


@pytest.mark.parametrize(
    ("text", "us"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01t00:00:00.5z", 500_000),
        ("1970-01-01 00:00:00.000001+00:00", 1),
        ("1970-01-01T00:00:00.123456789Z", 123_456),
        ("1990-12-31T23:59:60Z", 662_688_000_000_000),
        ("1990-12-31T15:59:60-08:00", 662_688_000_000_000),
        ("1937-01-01T12:00:27.87+00:20", -1_041_337_172_130_000),
    ],
)
def test_times_of_the_rfc(text: str, us: int) -> None:
    """RFC 3339, section 5.8, its leap seconds included, and digits beyond microseconds, which are cut off."""
    assert clock.parse_rfc3339(text) == us


@pytest.mark.parametrize(
    "text",
    ["", "1970-01-01", "1970-01-01T00:00:00", "1970-13-01T00:00:00Z", "1970-02-30T00:00:00Z", "1970-01-01T24:00:00Z",
     "1970-01-01T00:00:00+24:00", "1970-01-01T00:00:00+00:60", "0000-01-01T00:00:00Z", "1970-01-01T00:00:00.Z",
     "1970-01-01T00:00:00Z\n", "\u0661970-01-01T00:00:00Z", "1970-1-1T00:00:00Z"],
)  # fmt: skip
def test_what_is_not_a_time(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        clock.parse_rfc3339(text)


@given(st.binary(max_size=80))
def test_bytes_as_text(raw: bytes) -> None:
    """base64url without padding, one spelling each."""
    text = hashing.b64u(raw)
    assert hashing.unb64u(text) == raw
    assert hashing.b64u_bytes(raw) == text.encode()
    assert not set(text) & set("+/=")


@pytest.mark.parametrize("text", ["A", "AB", "AA==", "A+AA", "A/AA", "AAA\n", "ä"])
def test_another_spelling_of_bytes_is_refused(text: str) -> None:
    """A hash has one text, or a forger could show one record under two."""
    with pytest.raises(ValueError, match="base64url"):
        hashing.unb64u(text)
