"""Bearer tokens of a real issuer, through the real server (SEC-01); the edge's own tests know every forgery."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.flows.events import event
from tests.gateway.issuer import AUDIENCE, Issuer
from tests.server import Server


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    issuer = Issuer()
    yield issuer
    issuer.close()


def test_a_token_of_the_trusted_issuer_opens_what_its_roles_allow(
    new_server: Callable[..., Server], issuer: Issuer
) -> None:
    """SEC-01, SEC-02: discovery, keys, claims; the record's proof and the refusals as for an API key."""
    server = new_server(settings={"OIDC_ISSUER": issuer.url, "OIDC_AUDIENCE": AUDIENCE}).start()
    admin = server.client(api_key=issuer.token())
    assert admin.call("ingestAuditEvent", json=event()).status == 201
    reader = server.client(api_key=issuer.token(roles=["reader"]))
    assert reader.call("listAuditEvents").status == 200
    for token, status, code in (
        (issuer.token(roles=["reader"]), 403, "FORBIDDEN"),
        (issuer.token(exp=1), 401, "TOKEN_EXPIRED"),
        (issuer.token(aud="https://elsewhere.example"), 401, "TOKEN_INVALID"),
        (issuer.token(iss="https://elsewhere.example"), 401, "TOKEN_INVALID"),
        (issuer.token(tenant_id="nobody"), 404, "TENANT_NOT_FOUND"),
        (issuer.token()[:-4] + "AAAA", 401, "TOKEN_INVALID"),
        ("not-a-token", 401, "TOKEN_INVALID"),
    ):
        answer = server.client(api_key=token).call("ingestAuditEvent", json=event())
        assert (answer.status, answer.code) == (status, code)


def test_without_an_issuer_no_token_is_accepted(embedded: Server, issuer: Issuer) -> None:
    """SEC-01: secure by default."""
    answer = embedded.client(api_key=issuer.token()).call("listAuditEvents")
    assert (answer.status, answer.code) == (401, "TOKEN_INVALID")
