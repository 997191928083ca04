"""The way of a request: correlation, routing, refusals that need no handler (API-08 to 13, OBS-03)."""

from __future__ import annotations

from tests.gateway.edge import Edge


def test_one_operation_is_dispatched_from_the_contract_with_an_api_key(edge: Edge) -> None:
    """API-09, SEC-01: the slice from credential to answer."""
    answer = edge.client.call("getTenant", path={"tenantId": "demo"})
    assert answer.status == 200
    assert answer.json["id"] == "demo"
    assert answer.headers["x-ratelimit-limit"] == "100"
