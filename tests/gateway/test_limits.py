"""Rate limits per tenant and operation: what is counted, what is told, what raises them (API-12)."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from atp.gateway import limits
from atp.gateway.limits import RateLimits
from atp.specs import load
from tests.gateway.edge import Edge


def test_the_defaults_are_the_promised_ones() -> None:
    """API-12: ingest 1000, list 100, search 50, get 100, streams 100 a minute."""
    found = {
        name: operation.rate_limit.per_minute
        for name, operation in load().operations.items()
        if operation.rate_limit is not None
    }
    promised = {
        "ingestAuditEvent": 1000,
        "listAuditEvents": 100,
        "searchAuditEvents": 50,
        "getAuditEvent": 100,
        "getEventStream": 100,
    }
    assert found.items() >= promised.items()


def test_the_request_over_the_limit_is_refused_and_told_when_to_come_back(edge: Edge) -> None:
    edge.add_tenant("acme", rate_limits={"listApiKeys": 3})
    client = edge.as_("admin", tenant="acme")
    told = [client.call("listApiKeys").headers for _ in range(3)]
    assert [headers["x-ratelimit-remaining"] for headers in told] == ["2", "1", "0"]
    assert {headers["x-ratelimit-limit"] for headers in told} == {"3"}
    refused = client.call("listApiKeys")
    assert refused.code == "RATE_LIMITED"
    assert 1 <= int(refused.headers["retry-after"]) <= 20
    assert refused.headers["x-ratelimit-remaining"] == "0"
    assert refused.json["retryable"] is True


def test_one_tenant_s_haste_costs_no_other_and_no_other_operation(edge: Edge) -> None:
    edge.add_tenant("acme", rate_limits={"listApiKeys": 1})
    client = edge.as_("admin", tenant="acme")
    codes = [client.call("listApiKeys").status for _ in range(2)]
    assert codes == [200, 429]
    assert edge.client.call("listApiKeys").status == 200
    assert client.call("getTenant", path={"tenantId": "acme"}).status == 200


def test_a_limit_is_raised_for_a_tenant_while_it_runs(edge: Edge) -> None:
    edge.add_tenant("acme")
    client = edge.as_("admin", tenant="acme")
    assert client.call("listApiKeys").headers["x-ratelimit-limit"] == "100"
    changes = {"rateLimits": {"listApiKeys": 100_000}}
    assert edge.client.call("updateTenant", path={"tenantId": "acme"}, json=changes).status == 200
    assert client.call("listApiKeys").headers["x-ratelimit-limit"] == "100000"


def test_health_is_not_limited(edge: Edge) -> None:
    assert "x-ratelimit-limit" not in edge.client.get("/livez").headers


@given(
    per_minute=st.integers(1, 2000),
    steps=st.lists(st.floats(0, 30, allow_nan=False), min_size=1, max_size=300),
)
def test_no_minute_admits_more_than_twice_the_limit_and_waiting_as_told_suffices(
    per_minute: int, steps: list[float]
) -> None:
    now = [0.0]
    buckets = RateLimits(clock=lambda: now[0])
    admitted: list[float] = []
    for step in steps:
        now[0] += step
        for _ in range(5):
            allowance, wait = buckets.take("acme", "list", per_minute=per_minute)
            assert 0 <= allowance.remaining <= per_minute
            assert 0 <= allowance.reset_seconds <= 60
            if wait is None:
                admitted.append(now[0])
            else:
                now[0] += wait + 1e-6
                assert buckets.take("acme", "list", per_minute=per_minute)[1] is None
                admitted.append(now[0])
    for at in admitted:
        assert sum(1 for other in admitted if at <= other < at + 60) <= 2 * per_minute


def test_buckets_are_bounded() -> None:
    buckets = RateLimits(clock=lambda: 0.0)
    for number in range(limits.BUCKETS_MAX + 10):
        buckets.take(str(number), "list", per_minute=1)
    assert len(buckets._buckets) == limits.BUCKETS_MAX
    assert buckets.take(str(limits.BUCKETS_MAX), "list", per_minute=1)[1] is not None
