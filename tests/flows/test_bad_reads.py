"""What a reader may not ask: wrong parameters, foreign cursors, ids of nothing (API-10, API-11, QRY-03)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.flows.events import event, until
from tests.server import Server

NOBODY = "01KAKBR8MZ9V3W7T5Q2E8YH4NC"

BAD_PARAMETERS: list[tuple[str, str, str]] = [
    ("/api/v1/audit-events?limit=0", "VALIDATION_FAILED", "limit"),
    ("/api/v1/audit-events?limit=1001", "VALIDATION_FAILED", "limit"),
    ("/api/v1/audit-events?limit=ten", "VALIDATION_FAILED", "limit"),
    ("/api/v1/audit-events?limit=1e1", "VALIDATION_FAILED", "limit"),
    ("/api/v1/audit-events?limit=5&limit=6", "VALIDATION_FAILED", "limit"),
    ("/api/v1/audit-events?orderBy=actor", "VALIDATION_FAILED", "orderBy"),
    ("/api/v1/audit-events?since=yesterday", "VALIDATION_FAILED", "since"),
    ("/api/v1/audit-events?since=2026-02-30T00:00:00Z", "VALIDATION_FAILED", "since"),
    ("/api/v1/audit-events?outcome=perhaps", "VALIDATION_FAILED", "outcome"),
    ("/api/v1/audit-events?kind=secret", "VALIDATION_FAILED", "kind"),
    ("/api/v1/audit-events?disclose=maybe", "VALIDATION_FAILED", "disclose"),
    ("/api/v1/audit-events?nobody=1", "VALIDATION_FAILED", "nobody"),
    ("/api/v1/audit-events?actor=", "VALIDATION_FAILED", "actor"),
    ("/api/v1/audit-events?q=%00", "VALIDATION_FAILED", "q"),
    ("/api/v1/audit-events?actor=%ff", "INVALID_UTF8", ""),
    ("/api/v1/audit-events?waitForPosition=-1", "VALIDATION_FAILED", "waitForPosition"),
    ("/api/v1/audit-events?waitForPosition=99999999999999999999", "VALIDATION_FAILED", "waitForPosition"),
    ("/api/v1/audit-events?q=actor.id:(", "QUERY_INVALID", ""),
    ("/api/v1/audit-events?q=AND", "QUERY_INVALID", ""),
    ("/api/v1/audit-events?q=(((((((((((((((((((((((((((((((((((((((((((((((((", "QUERY_INVALID", ""),
    ("/api/v1/audit-events?cursor=AAAA.BBBB", "CURSOR_INVALID", ""),
    ("/api/v1/audit-events?cursor=%20", "VALIDATION_FAILED", "cursor"),
    ("/api/v1/audit-events/x", "VALIDATION_FAILED", "id"),
    (f"/api/v1/audit-events/{NOBODY}", "EVENT_NOT_FOUND", ""),
    (f"/api/v1/audit-events/{NOBODY.lower()}", "VALIDATION_FAILED", "id"),
    (f"/api/v1/audit-events/{NOBODY}/proof", "EVENT_NOT_FOUND", ""),
    ("/api/v1/audit-events/%00", "VALIDATION_FAILED", "id"),
    ("/api/v1/event-streams/document/nothing", "STREAM_NOT_FOUND", ""),
    ("/api/v1/event-streams/document", "VALIDATION_FAILED", "streamId"),
    ("/api/v1/integrity/verifications/" + NOBODY, "VERIFICATION_NOT_FOUND", ""),
    ("/api/v1/integrity/verifications?cursor=AAAA.BBBB", "CURSOR_INVALID", ""),
    ("/api/v1/api-keys?cursor=AAAA.BBBB", "CURSOR_INVALID", ""),
    ("/api/v1/tenants?cursor=AAAA.BBBB", "CURSOR_INVALID", ""),
    ("/api/v1/tenants/nobody", "TENANT_NOT_FOUND", ""),
    ("/api/v1/tenants/Not%20A%20Slug", "TENANT_NOT_FOUND", ""),
    (f"/tlog/{NOBODY.lower()}/checkpoint", "LOG_NOT_FOUND", ""),
    ("/tlog/x/checkpoint", "VALIDATION_FAILED", "logId"),
    ("/api/v1/nothing", "NOT_FOUND", ""),
    ("/api/v2/audit-events", "NOT_FOUND", ""),
    ("/api/v1/audit-events/../../../etc/passwd", "NOT_FOUND", ""),
    ("/api/v1/audit-events?q=" + "x" * 17_000, "URI_TOO_LONG", ""),
]


@pytest.mark.parametrize(("address", "code", "field"), BAD_PARAMETERS, ids=lambda value: str(value)[:60])
def test_a_bad_question_is_refused_and_its_parameter_named(
    standing: Server, address: str, code: str, field: str
) -> None:
    """API-10, API-11: the catalogued code; `details` names the parameter."""
    answer = standing.admin.get(address)
    assert answer.code == code, answer.content
    if field:
        assert {detail["field"] for detail in answer.details} == {field}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"limit": "5"}, "VALIDATION_FAILED"),
        ({"limit": 5.5}, "VALIDATION_FAILED"),
        ({"cursor": "AAAA.BBBB"}, "CURSOR_INVALID"),
        ({"cursor": 1}, "VALIDATION_FAILED"),
        ({"query": {}}, "VALIDATION_FAILED"),
        ({"query": {"field": "outcome"}}, "VALIDATION_FAILED"),
        ({"query": {"field": "outcome", "in": []}}, "VALIDATION_FAILED"),
        ({"query": {"and": []}}, "VALIDATION_FAILED"),
        ({"query": {"nobody": []}}, "VALIDATION_FAILED"),
        ({"q": 'an "open phrase'}, "QUERY_INVALID"),
        ({"since": "2026-13-01T00:00:00Z"}, "VALIDATION_FAILED"),
    ],
    ids=str,
)
def test_a_bad_search_is_refused(standing: Server, body: dict[str, Any], code: str) -> None:
    """QRY-02: the structured form is as strict as the parameters."""
    answer = standing.admin.call("searchAuditEvents", json=body)
    assert (answer.status, answer.code) == (400, code), answer.content


def test_a_cursor_goes_on_only_with_the_query_it_was_made_for(standing: Server) -> None:
    """API-11: other filters, another order, another operation, another tenant's: CURSOR_MISMATCH or INVALID."""
    for number in range(5):
        stored = standing.admin.call("ingestAuditEvent", json=event(number)).json["position"]
    asked = {"limit": 2, "resourceType": "document"}
    first = standing.admin.call("listAuditEvents", query=asked | {"waitForPosition": stored})
    cursor = first.json["page"]["nextCursor"]
    assert cursor
    assert standing.admin.call("listAuditEvents", query=asked | {"cursor": cursor}).status == 200
    assert standing.admin.call("listAuditEvents", query=asked | {"cursor": cursor, "limit": 3}).status == 200
    for other in ({"actor": "u-1"}, {"orderBy": "recordedAt"}, {"q": "x"}, {"resourceType": "case"}):
        answer = standing.admin.call("listAuditEvents", query=asked | {"cursor": cursor} | other)
        assert (answer.status, answer.code) == (400, "CURSOR_MISMATCH"), other
    changed = cursor[:-1] + ("A" if cursor[-1] != "A" else "B")
    for broken in (changed, cursor[:-4], cursor + "A"):
        answer = standing.admin.call("listAuditEvents", query=asked | {"cursor": broken})
        assert answer.code == "CURSOR_INVALID", broken
    assert standing.admin.call("listApiKeys", query={"cursor": cursor}).status == 400
    both = standing.admin.call("listAuditEvents", query=asked | {"cursor": cursor, "offset": 1})
    assert both.code == "VALIDATION_FAILED"


def test_a_position_that_is_not_reached_in_time_is_said_so(standing: Server) -> None:
    """QRY-07: read your own writes waits, but not for ever."""
    far = standing.size() + 1_000
    query = {"waitForPosition": far, "waitTimeout": 50}
    answer = standing.admin.call("listAuditEvents", query=query)
    assert (answer.status, answer.code) == (409, "POSITION_NOT_REACHED")


def test_a_method_that_a_path_does_not_know_is_refused_with_those_it_knows(standing: Server) -> None:
    """API-10: records cannot be changed or deleted by any of them."""
    kept = standing.admin.call("ingestAuditEvent", json=event()).json["id"]
    for method in ("PUT", "PATCH", "DELETE", "POST"):
        answer = standing.admin.request(method, f"/api/v1/audit-events/{kept}")
        assert (answer.status, answer.code) == (405, "METHOD_NOT_ALLOWED")
        assert "GET" in answer.headers["allow"] and "DELETE" not in answer.headers["allow"]
    assert standing.admin.call("getAuditEvent", path={"id": kept}).status == 200


def test_a_media_type_that_nobody_can_write_is_refused(standing: Server) -> None:
    """API-10: 406 with what there is."""
    kept = standing.admin.call("ingestAuditEvent", json=event()).json["id"]
    until(lambda: standing.status()["lagRecords"] == 0)
    answer = standing.admin.get(f"/api/v1/audit-events/{kept}/proof", headers={"accept": "image/png"})
    assert (answer.status, answer.code) == (406, "NOT_ACCEPTABLE")


def test_tiles_that_are_not_there_are_not_invented(standing: Server) -> None:
    """INT-04: beyond the tree, an impossible width, an impossible level."""
    log = standing.status()["logId"]
    for path in ("tile/0/x001/000", "tile/0/000.p/255", "tile/9/000", "tile/entries/x001/000"):
        answer = standing.admin.get(f"/tlog/{log}/{path}")
        assert answer.code == "TILE_NOT_FOUND", path
    for path in ("tile/0/1", "tile/0/000.p/0", "tile/0/000.p/256", "tile/x/000", "tile/64/000"):
        assert standing.admin.get(f"/tlog/{log}/{path}").code in ("VALIDATION_FAILED", "NOT_FOUND"), path
