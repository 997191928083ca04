"""Cursors nobody else can make, links, and the selection of fields (API-11)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atp.kernel.errors import Problem
from atp.kernel.hashing import b64u, unb64u
from atp.web.page import Cursors, chosen_fields, fingerprint, links, offset_links, select

CURSORS = Cursors(b"s" * 32)
PLACES = st.lists(st.integers(-(2**62), 2**62) | st.text(max_size=30) | st.none(), max_size=4)


@given(place=PLACES, tenant=st.text(max_size=10), query=st.binary(max_size=40), order=st.text(max_size=10))
def test_a_cursor_says_what_was_written_into_it(place: list, tenant: str, query: bytes, order: str) -> None:
    cursor = CURSORS.write(place, tenant=tenant, query=query, order=order)
    assert CURSORS.read(cursor, tenant=tenant, query=query, order=order) == place


@given(place=PLACES, at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_cursor_changed_in_any_bit_is_refused(place: list, at: int, bit: int) -> None:
    raw = bytearray(unb64u(CURSORS.write(place, tenant="demo", query=b"q", order="id")))
    raw[at % len(raw)] ^= 1 << bit
    with pytest.raises(Problem, match="CURSOR_INVALID"):
        CURSORS.read(b64u(bytes(raw)), tenant="demo", query=b"q", order="id")


@given(text=st.text(max_size=80))
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(Problem, match="CURSOR_INVALID"):
        CURSORS.read(text, tenant="demo", query=b"q", order="id")


@pytest.mark.parametrize("other", [{"tenant": "acme"}, {"query": b"r"}, {"order": "-id"}])
def test_a_cursor_of_another_tenant_query_or_order_is_told_apart(other: dict) -> None:
    bound = {"tenant": "demo", "query": b"q", "order": "id"}
    cursor = CURSORS.write([1], **bound)
    with pytest.raises(Problem, match="CURSOR_MISMATCH"):
        CURSORS.read(cursor, **(bound | other))


def test_a_cursor_of_another_installation_is_refused() -> None:
    cursor = Cursors(b"t" * 32).write([1], tenant="demo", query=b"q", order="id")
    with pytest.raises(Problem, match="CURSOR_INVALID"):
        CURSORS.read(cursor, tenant="demo", query=b"q", order="id")


def test_the_fingerprint_is_the_filters_and_nothing_of_the_paging() -> None:
    filters = {"actor": "u-1", "until": None}
    assert fingerprint(filters | {"limit": 5, "cursor": "x", "offset": 1, "fields": "id"}) == fingerprint(
        {"actor": "u-1"}
    )
    assert fingerprint({"actor": "u-2"}) != fingerprint({"actor": "u-1"})


def test_links_keep_the_query_and_change_the_place() -> None:
    made = links("/x", {"actor": "a b", "limit": 2, "until": None, "cursor": "old"}, following="new")
    assert made == {
        "self": "/x?actor=a+b&cursor=old&limit=2",
        "next": "/x?actor=a+b&cursor=new&limit=2",
        "prev": None,
    }
    assert links("/x", {}, following=None) == {"self": "/x", "next": None, "prev": None}


def test_offset_links_stop_at_both_ends() -> None:
    assert offset_links("/x", {"limit": 2}, offset=0, limit=2, more=False)["prev"] is None
    middle = offset_links("/x", {"limit": 2, "offset": 1}, offset=1, limit=2, more=True)
    assert middle == {
        "self": "/x?limit=2&offset=1",
        "next": "/x?limit=2&offset=3",
        "prev": "/x?limit=2&offset=0",
    }


ITEM = {"id": 1, "actor": {"id": "u", "type": "user", "deep": {"x": 1}}, "n": None, "a.b": 5}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (None, ITEM),
        ("id", {"id": 1}),
        ("id, actor.id", {"id": 1, "actor": {"id": "u"}}),
        ("actor.deep.x,actor.type", {"actor": {"deep": {"x": 1}, "type": "user"}}),
        ("actor,actor.id", {"actor": ITEM["actor"]}),
        ("n,missing,id.x,actor.missing", {"n": None, "actor": {}}),
        (["id", "n"], {"id": 1, "n": None}),
    ],
)
def test_only_the_chosen_fields_are_kept(fields: str | list[str] | None, expected: dict) -> None:
    assert select(ITEM, chosen_fields(fields)) == expected


@pytest.mark.parametrize("fields", ["", "a,,b", ".a", "a.", ",".join("abc" * 30)])
def test_an_impossible_selection_is_refused(fields: str) -> None:
    with pytest.raises(Problem, match="VALIDATION_FAILED"):
        chosen_fields(fields)


def test_selecting_does_not_change_the_item() -> None:
    item = {"actor": {"id": "u", "type": "user"}}
    select(item, chosen_fields("actor,actor.id"))
    select(item, chosen_fields("actor.id,actor"))
    assert item == {"actor": {"id": "u", "type": "user"}}
