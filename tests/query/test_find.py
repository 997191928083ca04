"""The search model proposes what the record confirms: every search, both engines, against a naive reading."""

import itertools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atp.query import queries as finding
from atp.query.model import All, Compare, Not, Search, Some, Times, Words
from atp.query.rules import scan
from atp.query.rules.language import parse
from atp.query.rules.matching import matcher, resolved
from atp.query.rules.view import document
from atp.query.store import reading
from atp.streams import queries
from tests.conformance.engines import OTHER, TENANT
from tests.query.conftest import Searched
from tests.query.records import SEALED, T0, content, record

WORDS = ["final", "draft", "Ärger", "x y", "doc-1", "12", "1.5", "line\nbreak", 'say "hi"', "true", "ΣΑΣ"]
VALUES = st.one_of(
    st.sampled_from(WORDS),
    st.integers(-3, 15),
    st.sampled_from([1.5, 12.0, 1e21, -0.25]),
    st.booleans(),
    st.none(),
)
KEYS = ["a", "b", "status", "a.b", "é"]
PAYLOADS = st.recursive(
    VALUES | st.just(SEALED),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=3),
    max_leaves=6,
)
CONTENTS = st.builds(
    content,
    actor=st.sampled_from(["u-1", "u-2", "~hmac:AAAA", "svc"]),
    action=st.sampled_from(["document.read", "document.write", "user.login"]),
    resource=st.sampled_from(["doc-1", "doc-2", "Ω/9"]),
    occurred=st.integers(0, 20),
    level=st.sampled_from(["public", "personal", "secret"]),
    outcome=st.sampled_from(["success", "denied"]),
    kind=st.sampled_from(["audit", "platform"]),
    payload=st.dictionaries(st.sampled_from(KEYS), PAYLOADS, max_size=3),
)
FIELDS = st.sampled_from(
    [
        ("actor", "id"),
        ("action", "name"),
        ("action", "category"),
        ("resource", "id"),
        ("outcome",),
        ("kind",),
        ("stream",),
        ("classification", "level"),
        ("payload", "a"),
        ("payload", "a", "b"),
        ("payload", "status"),
        ("payload", "b", "0"),
        ("payload", "é"),
    ]
)
TEXTS = st.sampled_from(
    [
        *WORDS,
        "u-1",
        "document.read",
        "document",
        "doc-1",
        "success",
        "document/doc-1",
        "personal",
        "secret",
        "li",
    ]
)
OPERANDS = st.one_of(
    TEXTS.map(lambda text: (text,)),
    st.integers(-3, 15).map(lambda number: (str(number), number)),
    st.sampled_from([(1.5,), (12.0,), ("true", True), (False,), (1e21,)]),
)
LEAVES = st.one_of(
    st.builds(
        lambda p, c, o: Compare(p, c, (o,)),
        FIELDS,
        st.sampled_from(["eq", "ne", "gt", "gte", "lt", "lte"]),
        OPERANDS,
    ),
    st.builds(lambda p, o: Compare(p, "in", tuple(o)), FIELDS, st.lists(OPERANDS, min_size=1, max_size=3)),
    st.builds(lambda p, c, t: Compare(p, c, ((t,),)), FIELDS, st.sampled_from(["prefix", "contains"]), TEXTS),
    st.builds(lambda p: Compare(p, "exists", ((True,),)), FIELDS),
    st.builds(
        lambda c, s: Compare(("occurredAt",), c, ((T0 + s * 1_000_000,),)),
        st.sampled_from(["eq", "gt", "gte", "lt", "lte"]),
        st.integers(0, 20),
    ),
    st.builds(
        lambda c, n: Compare(("position",), c, ((n,),)),
        st.sampled_from(["eq", "gt", "lte"]),
        st.integers(0, 30),
    ),
    st.builds(
        Words,
        st.sampled_from(
            [("final",), ("document", "read"), ("doc", "1"), ("status", "final"), ("ärger",), ("σασ",)]
        ),
        st.booleans(),
    ),
)
NODES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda parts: All(tuple(parts))),
        st.lists(inner, max_size=3).map(lambda parts: Some(tuple(parts))),
        inner.map(Not),
    ),
    max_leaves=5,
)
ORDERS = ["recordedAt", "-recordedAt", "occurredAt", "-occurredAt"]


def naive(searched: Searched, tenant, search: Search) -> list[int]:
    """Read the whole log and judge each record: slow, obvious, and the meaning of a search."""
    records = searched.store.database.read_now(lambda c: queries.read_log(c, tenant))
    matches = matcher(resolved(search.node, searched.store.vault.tenant(tenant).pseudonym))
    found = [record for record in records if matches(document(record))]
    if search.by_occurrence:
        found.sort(key=lambda record: (record.content_json["occurredAt"], record.position))
    if search.newest_first:
        found.reverse()
    return [record.position for record in found]


def pages(searched: Searched, tenant, node, order: str, limit: int) -> list[int]:
    """Follow the cursors to the end."""
    seen: list[int] = []
    after = None
    while True:
        found = searched.finder.find(tenant, Search(node=node, order=order, limit=limit, after=after))
        seen += [match.record.position for match in found.matches]
        if found.after is None:
            return seen
        after = found.after


@pytest.fixture(params=["as it is", "in small windows"])
def proportions(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A log of a few dozen records is searched as one of millions: dense paths, many windows."""
    if request.param == "in small windows":
        for module in (reading, finding):
            monkeypatch.setattr(module, "PROBE_ROWS", 2)
        for module in (scan, finding):
            monkeypatch.setattr(module, "WINDOW_ROWS", 2)
        monkeypatch.setattr(scan, "WINDOW_SECONDS", 0.0)
        monkeypatch.setattr(scan, "CHUNK_ROWS", 3)
        monkeypatch.setattr(finding, "SECOND_US", 1)


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    contents=st.lists(CONTENTS, min_size=1, max_size=12),
    nodes=st.lists(NODES, min_size=1, max_size=6),
    order=st.sampled_from(ORDERS),
    limit=st.integers(1, 5),
)
def test_any_search_finds_what_reading_everything_finds(
    searched: Searched, contents, nodes, order, limit
) -> None:
    """QRY-01, QRY-02, QRY-03: any tree, any order, page by page; and nothing of the other tenant.

    Records pile up over the examples, so later ones search a larger log.
    """
    searched.store.append([record(value) for value in contents])
    searched.store.append([record(value) for value in contents[:2]], tenant=OTHER)
    searched.loop.catch_up()
    for node in nodes:
        wanted = naive(searched, TENANT, Search(node=node, order=order))
        assert pages(searched, TENANT, node, order, limit) == wanted


def test_the_search_language_finds_by_field_words_ranges_and_prefix(searched: Searched) -> None:
    """QRY-02: the forms of the language, on records that differ in one thing each."""
    searched.store.append(
        [
            record(content(payload={"after": {"status": "final"}, "pages": 12})),
            record(content(payload={"after": {"status": "draft"}, "pages": 3}, outcome="denied")),
            record(content(actor="u-2", action="user.login", payload={"note": "final words"})),
        ]
    )
    searched.loop.catch_up()
    for text, wanted in {
        "payload.after.status:final": [0],
        "final": [0, 2],
        '"final words"': [2],
        "payload.pages:>10": [0],
        "payload.pages:[3 TO 12]": [0, 1],
        "payload.pages:[* TO 3]": [1],
        "action:document.*": [0, 1],
        "NOT action:document.*": [2],
        "actor:u-2 OR outcome:denied": [1, 2],
        "-outcome:denied payload.after.status:*": [0],
        "(actor.id:u-1 AND outcome:denied) OR words": [1, 2],
        "payload.after.status:dr*": [1],
        "occurredAt:<2000-01-01": [],
        "*": [0, 1, 2],
    }.items():
        assert sorted(searched.positions(TENANT, Search(node=parse(text)))) == wanted, text


def test_pages_stay_what_they_are_while_events_arrive(searched: Searched) -> None:
    """API-11: a cursor goes on where it stood; what came meanwhile neither shifts nor repeats anything."""
    searched.store.append([record(content(occurred=n)) for n in range(10)])
    searched.loop.catch_up()
    later = itertools.count()
    for order in ("-recordedAt", "-occurredAt"):
        before = naive(searched, TENANT, Search(order=order))
        seen, after = [], None
        for _ in range(len(before) // 2 + 1):
            found = searched.finder.find(TENANT, Search(order=order, limit=2, after=after))
            seen += [match.record.position for match in found.matches]
            searched.store.append([record(content(occurred=1_000 + next(later)))])
            searched.loop.catch_up()
            after = found.after
            if after is None:
                break
        assert seen == before


def test_a_time_range_is_of_recording_and_half_open(searched: Searched) -> None:
    """QRY-01: `since` belongs to the range, `until` does not."""
    clock = searched.store.clock
    begin = clock.us
    for step in range(5):
        clock.us = begin + step * 1_000_000
        searched.store.append([record(content())])
    searched.loop.catch_up()
    search = Search(recorded=Times(begin + 1_000_000, begin + 3_000_000), order="recordedAt")
    assert searched.positions(TENANT, search) == [1, 2]


def test_offset_skips_and_a_limit_ends(searched: Searched) -> None:
    """API-11: a page by offset, and whether there is more."""
    searched.store.append([record(content()) for _ in range(5)])
    searched.loop.catch_up()
    found = searched.finder.find(TENANT, Search(order="recordedAt", limit=2, offset=2))
    assert [match.record.position for match in found.matches] == [2, 3]
    assert found.after is not None
    assert searched.finder.find(TENANT, Search(order="recordedAt", limit=2, offset=3)).after is None


def test_an_identifier_that_became_a_pseudonym_is_found_by_its_value(searched: Searched) -> None:
    """CLS-03: the caller need not know that the actor's id was hashed."""
    pseudonym = searched.store.vault.tenant(TENANT).pseudonym("maria@example.org")
    searched.store.append([record(content(actor=pseudonym)), record(content(actor="u-1"))])
    searched.loop.catch_up()
    assert searched.positions(TENANT, Search(node=parse("actor.id:maria@example.org"))) == [0]


def test_a_search_before_anything_was_projected_is_empty(searched: Searched) -> None:
    """QRY-05: an empty model answers, and says how far it has come."""
    searched.store.append([record(content())])
    found = searched.finder.find(TENANT, Search())
    assert (list(found.matches), found.after, found.searched_to) == ([], None, None)
