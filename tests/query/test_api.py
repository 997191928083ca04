"""Reading over HTTP, through the real edge; the client holds every answer against the contract."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from atp.engine.sqlite import SqliteDatabase
from atp.ingestion.commands import Pipeline, ingest
from atp.ingestion.model import Batch, Origin
from atp.kernel.clock import format_us
from atp.kernel.hashing import b64u
from atp.kernel.ids import TenantId, encode_ulid
from atp.projections.jobs import ProjectionLoop
from atp.query.api import QueryApi
from atp.query.commands import Disclosing
from atp.query.handlers import SearchProjection
from atp.query.jobs import Wakes
from atp.query.queries import Finder
from atp.specs import schemas
from atp.streams.api import StreamsApi
from atp.streams.commands import Appender, Sealer
from atp.streams.model import Appended
from atp.web.page import Cursors
from atp.web.principal import Clearance
from tests.gateway.edge import Edge, example, open_edge

RECEIPT = example("getAuditEventProof", 200)
EVENTS = "/api/v1/audit-events"
OPERATIONS = (
    "sealEventStream",
    "listAuditEvents",
    "searchAuditEvents",
    "getAuditEvent",
    "getEventStream",
    "tailAuditEvents",
)


class House:
    """An edge with ingestion before it and search behind it."""

    def __init__(self, folder: Path) -> None:
        handlers = {name: self._late(name) for name in OPERATIONS}
        self.edge: Edge = open_edge(folder, handlers=handlers)
        database, books = self.edge.database, self.edge.books
        projection = SearchProjection()
        self.model = SqliteDatabase(folder / "search.db", schema=projection.schema("sqlite"))
        self.arrivals, self.progress = Wakes(), Wakes()
        self.loop = ProjectionLoop(database, self.model, projection, on_progress=self.progress.notify)
        self.pipeline = Pipeline(
            contract=schemas.validator("audit-event.v1"),
            vault=books.vault,
            sealer=Sealer(database, books.vault.tenant),
        )
        self.appender = Appender(database, books.ledger, on_commit=self.committed)
        self.handlers = {
            **StreamsApi(database=database, ledger=books.ledger, committed=self.committed).handlers(),
            **QueryApi(
                records=database,
                finder=Finder(self.model, database, books.vault.tenant),
                disclosing=Disclosing(
                    database=database, ledger=books.ledger, vault=books.vault, committed=self.committed
                ),
                cursors=Cursors(b"c" * 32),
                arrivals=self.arrivals,
                progress=self.progress,
                receipts=lambda connection, tenant, record: RECEIPT | {"position": record.position},
            ).handlers(),
        }
        self.client = self.edge.client

    def _late(self, name):
        async def handler(request):
            return await self.handlers[name](request)

        return handler

    def committed(self) -> None:
        self.arrivals.notify()
        self.loop.notify()

    def send(self, number: int = 1, **members) -> dict:
        event = {
            "occurredAt": f"2026-01-01T00:00:{number:02d}Z",
            "actor": {"type": "user", "id": f"u-{number}", "email": f"person{number}@example.org"},
            "action": {"name": "document.read"},
            "resource": {"type": "document", "id": "doc-1"},
            "payload": {"number": number},
            **members,
        }
        batch = Batch([msgspec.json.encode(event)])
        [stored] = ingest(self.pipeline, self.appender, Origin(TenantId("demo")), batch).result(30)
        assert isinstance(stored, Appended)
        return {
            "id": encode_ulid(stored.id),
            "position": stored.position,
            "recordHash": b64u(stored.record_hash),
            "recordedAt": format_us(stored.recorded_us),
            "streamVersion": stored.version,
        }

    def close(self) -> None:
        self.loop.stop()
        self.model.close()
        self.edge.close()


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    opened = House(tmp_path)
    opened.loop.start()
    yield opened
    opened.close()


def test_a_list_has_the_records_that_the_filters_name(house: House) -> None:
    """API-03, QRY-01, QRY-07: filters, a time of occurrence, and the own write awaited."""
    last = [house.send(n) for n in range(1, 6)][-1]
    found = house.client.call(
        "listAuditEvents",
        query={
            "action": "document.*",
            "occurredSince": "2026-01-01T00:00:03Z",
            "waitForPosition": last["position"],
        },
    )
    assert [item["payload"]["number"] for item in found.json["items"]] == [5, 4, 3]
    assert found.json["searchedTo"] >= last["position"]
    assert found.json["page"]["hasMore"] is False
    one = house.client.call("listAuditEvents", query={"actor": "u-2"}).json["items"]
    assert [item["actor"]["id"] for item in one] == ["u-2"]


def test_links_and_cursors_lead_through_all_pages(house: House) -> None:
    """API-11: following `links.next` shows every record once; the cursor is refused with another filter."""
    last = [house.send(n) for n in range(1, 8)][-1]
    page = house.client.call(
        "listAuditEvents", query={"kind": "audit", "limit": 3, "waitForPosition": last["position"]}
    ).json
    cursor, seen = page["page"]["nextCursor"], []
    while True:
        seen += [item["payload"]["number"] for item in page["items"]]
        if page["links"]["next"] is None:
            break
        page = house.client.get(page["links"]["next"]).json
    assert seen == [7, 6, 5, 4, 3, 2, 1]
    other = house.client.call("listAuditEvents", query={"kind": "platform", "cursor": cursor})
    assert (other.status, other.code) == (400, "CURSOR_MISMATCH")
    both = house.client.call("listAuditEvents", query={"cursor": cursor, "kind": "audit", "offset": 1})
    assert (both.status, both.code) == (400, "VALIDATION_FAILED")


def test_pages_by_offset_and_chosen_fields(house: House) -> None:
    """API-11: offset and limit, and only the members asked for."""
    last = [house.send(n) for n in range(1, 5)][-1]
    page = house.client.call(
        "listAuditEvents",
        query={
            "kind": "audit",
            "offset": 1,
            "limit": 2,
            "orderBy": "occurredAt",
            "fields": "payload.number,stream",
            "waitForPosition": last["position"],
        },
    ).json
    assert [set(item) for item in page["items"]] == [{"id", "payload", "stream"}] * 2
    assert [item["payload"]["number"] for item in page["items"]] == [2, 3]
    assert page["page"]["offset"] == 1
    following = house.client.get(page["links"]["next"]).json
    assert [item["payload"]["number"] for item in following["items"]] == [4]


def test_search_takes_filters_text_and_a_structured_query(house: House) -> None:
    """QRY-02: the body of a search, and its cursor in the next body."""
    for number in range(1, 5):
        last = house.send(number)
    body = {
        "actorType": "user",
        "q": "document",
        "query": {
            "and": [{"field": "payload.number", "gte": 2}, {"not": [{"field": "actor.id", "eq": "u-3"}]}]
        },
        "limit": 1,
    }
    first = house.client.post(f"{EVENTS}/search", body | {"waitForPosition": last["position"]}).json
    second = house.client.post(f"{EVENTS}/search", body | {"cursor": first["page"]["nextCursor"]}).json
    assert [item["payload"]["number"] for item in (*first["items"], *second["items"])] == [4, 2]


@pytest.mark.parametrize(
    "text",
    [
        "(",
        "a AND",
        "nothing:x",
        "payload:x",
        "position.a:1",
        '"open',
        "occurredAt:>yesterday",
        "[1 TO 2]",
        ")",
        "a:",
    ],
)
def test_a_search_with_a_mistake_is_refused_with_its_place(house: House, text: str) -> None:
    """QRY-02: QUERY_INVALID, and where."""
    answer = house.client.call("listAuditEvents", query={"q": text})
    assert (answer.status, answer.code) == (400, "QUERY_INVALID")
    assert "character" in answer.json["detail"] or "end" in answer.json["detail"]


def test_a_position_that_is_not_reached_in_time_is_said(house: House) -> None:
    """QRY-07: the wait is bounded."""
    answer = house.client.call("listAuditEvents", query={"waitForPosition": 10_000, "waitTimeout": 20})
    assert (answer.status, answer.code) == (409, "POSITION_NOT_REACHED")


def test_one_event_is_shown_with_the_bytes_that_a_verifier_checks(house: House) -> None:
    """API-03: the flat view and, under `record`, header and content exactly as stored."""
    receipt = house.send()
    answer = house.client.call("getAuditEvent", path={"id": receipt["id"]}, query={"include": "proof"})
    assert answer.json["recordHash"] == receipt["recordHash"]
    assert answer.json["actor"]["email"].keys() == {"~sealed"}
    assert {"field": "/actor/email", "reason": "withheld"} in answer.json["absences"]
    assert answer.json["record"]["header"]["id"] == receipt["id"]
    assert answer.json["proof"]["position"] == receipt["position"]
    missing = house.client.call("getAuditEvent", path={"id": "01KAKBR8MZ9V3W7T5Q2E8YH4NC"})
    assert (missing.status, missing.code) == (404, "EVENT_NOT_FOUND")


def test_sealed_values_are_shown_by_clearance_and_the_access_is_recorded_once(house: House) -> None:
    """SEC-04: one platform record a request, durable before the answer, naming records and no value."""
    receipts = [house.send(n, payload={"number": n, "card": "4111 1111 1111 1111"}) for n in (1, 2)]
    personal = house.edge.as_("auditor", clearance=Clearance.PERSONAL)
    page = personal.call(
        "listAuditEvents",
        query={"kind": "audit", "disclose": "true", "waitForPosition": receipts[-1]["position"]},
    ).json
    assert [item["actor"]["email"] for item in page["items"]] == [
        "person2@example.org",
        "person1@example.org",
    ]
    assert all(item["payload"]["card"].keys() == {"~sealed"} for item in page["items"])
    assert all(
        {"field": "/payload/card", "reason": "withheld"} in item["absences"]
        and not any(absence["field"] == "/actor/email" for absence in item["absences"])
        for item in page["items"]
    )
    accesses = [content for type_, content in house.edge.records("demo") if type_ == "sealed_values.accessed"]
    assert len(accesses) == 1
    assert sorted(accesses[0]["payload"]["records"]) == sorted(receipt["id"] for receipt in receipts)
    assert b"example.org" not in msgspec.json.encode(accesses)
    one = house.edge.as_("auditor", clearance=Clearance.SECRET).call(
        "getAuditEvent", path={"id": receipts[0]["id"]}, query={"disclose": "true"}
    )
    assert one.json["payload"]["card"] == "4111 1111 1111 1111"
    assert one.json["absences"] == []
    assert one.headers["cache-control"] == "no-store"
    assert len(one.json["record"]["disclosures"]) == 2


def test_who_has_no_scope_or_no_clearance_sees_nothing_sealed(house: House) -> None:
    """SEC-02, SEC-04: refused before anything is read; nothing is recorded, because nothing was shown."""
    receipt = house.send()
    for client, code in (
        (house.edge.as_("reader"), "FORBIDDEN"),
        (house.edge.as_("auditor", clearance=Clearance.NONE), "CLEARANCE_REQUIRED"),
    ):
        answer = client.call("getAuditEvent", path={"id": receipt["id"]}, query={"disclose": "true"})
        assert (answer.status, answer.code) == (403, code)
    assert not [type_ for type_, _ in house.edge.records("demo") if type_ == "sealed_values.accessed"]


def test_tenants_see_only_their_own(house: House) -> None:
    """QRY-03: the same question, another tenant, another answer."""
    receipt = house.send()
    house.edge.add_tenant("other")
    other = house.edge.as_("auditor", tenant="other")
    page = other.call("listAuditEvents", query={"kind": "audit"}).json
    assert page["items"] == []
    answer = other.call("getAuditEvent", path={"id": receipt["id"]})
    assert (answer.status, answer.code) == (404, "EVENT_NOT_FOUND")


def test_a_stream_is_read_in_order_and_backward_in_pages(house: House) -> None:
    """API-04, STR-05: state, head and pages, both ways; and how it was sealed."""
    receipts = [house.send(n) for n in range(1, 6)]
    where = {"streamId": "document/doc-1"}
    answer = house.client.call("getEventStream", path=where, query={"limit": 2}).json
    assert (answer["version"], answer["headHash"], answer["state"]) == (
        5,
        receipts[-1]["recordHash"],
        "active",
    )
    seen = []
    while True:
        seen += [event["streamVersion"] for event in answer["events"]]
        if answer["links"]["next"] is None:
            break
        answer = house.client.get(answer["links"]["next"]).json
    assert seen == [1, 2, 3, 4, 5]
    backward = house.client.call(
        "getEventStream", path=where, query={"direction": "backward", "afterVersion": 4, "limit": 2}
    ).json
    assert [event["streamVersion"] for event in backward["events"]] == [3, 2]
    assert backward["page"]["nextAfterVersion"] == 2
    since = house.client.call("getEventStream", path=where, query={"since": receipts[3]["recordedAt"]}).json
    assert receipts[3]["streamVersion"] in [event["streamVersion"] for event in since["events"]]
    assert receipts[0]["recordedAt"] < since["events"][0]["recordedAt"]
    house.client.call("sealEventStream", path=where, json={"reason": "done"})
    sealed = house.client.call("getEventStream", path=where).json
    assert (sealed["state"], sealed["seal"]["finalVersion"], sealed["seal"]["reason"]) == (
        "sealed",
        5,
        "done",
    )
    missing = house.client.call("getEventStream", path={"streamId": "document/none"})
    assert (missing.status, missing.code) == (404, "STREAM_NOT_FOUND")


def _positions(opened, count: int) -> list[int]:
    """Read an open tail until it has shown `count` records."""
    seen: list[int] = []
    text = b""
    for chunk in opened.chunks():
        text += chunk
        *events, text = text.split(b"\n\n")
        for event in events:
            if event.startswith(b"id:"):
                lines = event.split(b"\n")
                shown = msgspec.json.decode(lines[2].removeprefix(b"data: "))
                assert lines[0] == b"id: %d" % shown["position"]
                seen.append(shown["position"])
        if len(seen) >= count:
            return seen
    raise AssertionError(f"the tail ended after {seen}")


def test_the_tail_shows_new_records_in_order_and_goes_on_where_it_stopped(house: House) -> None:
    """API-15: new records only, then again from a position, by `after` and by Last-Event-ID."""
    house.send(1)
    with house.client.stream(f"{EVENTS}/tail?kind=audit") as opened:
        new = [house.send(n)["position"] for n in (2, 3)]
        assert _positions(opened, 2) == new
    with house.client.stream(f"{EVENTS}/tail?after={new[0]}") as opened:
        assert _positions(opened, 1) == [new[1]]
    with house.client.stream(f"{EVENTS}/tail?after=-1", headers={"Last-Event-ID": str(new[0])}) as opened:
        assert _positions(opened, 1) == [new[1]]


def test_a_tail_with_sealed_values_is_recorded_before_it_begins(house: House) -> None:
    """SEC-04: the access is open-ended, and one record says so."""
    receipt = house.send(1)
    with house.client.stream(f"{EVENTS}/tail?disclose=true&after={receipt['position'] - 1}") as opened:
        chunks = opened.chunks()
        shown = b""
        while b"person1@example.org" not in shown:
            shown += next(chunks)
    accesses = [content for type_, content in house.edge.records("demo") if type_ == "sealed_values.accessed"]
    assert [content["payload"]["after_position"] for content in accesses] == [receipt["position"] - 1]
