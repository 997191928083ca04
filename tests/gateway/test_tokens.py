"""Bearer JWTs against a real issuer on this machine: keys, discovery and rotation over HTTP (SEC-01, SEC-02)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from atp.gateway.tokens import REFETCH_SECONDS, IssuerSettings, TokenVerifier
from tests.client import Answer
from tests.gateway.edge import Edge
from tests.gateway.issuer import AUDIENCE, ECKey, Issuer, OctKey, OKPKey, RSAKey

Opened = Callable[..., Edge]


@pytest.fixture(scope="module")
def running() -> Iterator[Issuer]:
    issuer = Issuer()
    yield issuer
    issuer.close()


@pytest.fixture
def issuer(running: Issuer) -> Iterator[Issuer]:
    keys = dict(running.keys)
    yield running
    running.keys, running.down, running.named = keys, False, None


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def edge(opened: Opened, issuer: Issuer, clock: Clock) -> Edge:
    settings = IssuerSettings(issuer=issuer.url, audience=AUDIENCE)
    edge = opened(tokens=TokenVerifier((settings,), clock=clock))
    edge.add_tenant("acme")
    return edge


def ask(edge: Edge, token: str, operation: str = "listApiKeys", **headers: str) -> Answer:
    given = {"authorization": f"Bearer {token}"} | headers
    return edge.client.with_().call(operation, headers=given)


@pytest.mark.parametrize(
    ("kid", "alg"), [("rsa", "RS256"), ("ec", "ES256"), ("ed", "EdDSA"), ("ed", "Ed25519")]
)
def test_a_token_of_the_trusted_issuer_is_accepted(edge: Edge, issuer: Issuer, kid: str, alg: str) -> None:
    assert ask(edge, issuer.token(kid=kid, alg=alg)).status == 200


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({"exp": int(time.time()) - 3600}, "TOKEN_EXPIRED"),
        ({"exp": None}, "TOKEN_INVALID"),
        ({"exp": "soon"}, "TOKEN_INVALID"),
        ({"nbf": int(time.time()) + 3600}, "TOKEN_INVALID"),
        ({"iat": int(time.time()) + 3600}, "TOKEN_INVALID"),
        ({"aud": "https://elsewhere.example.com"}, "TOKEN_INVALID"),
        ({"aud": None}, "TOKEN_INVALID"),
        ({"sub": None}, "TOKEN_INVALID"),
        ({"iss": "https://evil.example.com"}, "TOKEN_INVALID"),
        ({"iss": None}, "TOKEN_INVALID"),
        ({"iss": ["a"]}, "TOKEN_INVALID"),
        ({"tenant_id": None}, "TOKEN_INVALID"),
        ({"tenant_id": "Not A Tenant"}, "TOKEN_INVALID"),
        ({"tenant_id": 7}, "TOKEN_INVALID"),
    ],
)
def test_a_token_with_a_wrong_claim_is_refused(
    edge: Edge, issuer: Issuer, claims: dict[str, Any], code: str
) -> None:
    assert ask(edge, issuer.token(**claims)).code == code


def test_small_differences_between_clocks_are_forgiven(edge: Edge, issuer: Issuer) -> None:
    now = int(time.time())
    assert ask(edge, issuer.token(exp=now - 20, iat=now + 20, nbf=now + 20)).status == 200


def test_a_token_signed_otherwise_than_it_says_is_refused(edge: Edge, issuer: Issuer) -> None:
    """RFC 8725: no `none`, no symmetric algorithm, no key of another kind, no key of one's own."""
    ours = issuer.keys["rsa"]
    forged = [
        issuer.token(alg="none", key=OctKey.generate_key(256)),
        issuer.confused(ours.as_pem(private=False)),
        issuer.token(alg="HS256", key=OctKey.generate_key(256)),
        issuer.token(key=RSAKey.generate_key(2048)),
        issuer.token(kid="ec", alg="ES256", key=ECKey.generate_key("P-256")),
        issuer.token(kid="ed", alg="EdDSA", key=OKPKey.generate_key("Ed25519")),
        issuer.token(kid="ec", alg="RS256", key=ours),
        issuer.token(alg="PS256"),
        issuer.token()[:-6] + "AAAAAA",
        issuer.token().rsplit(".", 1)[0] + ".",
        "a.b.c",
        "x" * 20_000,
    ]
    assert [ask(edge, token).code for token in forged] == ["TOKEN_INVALID"] * len(forged)


def test_a_changed_payload_breaks_the_signature(edge: Edge, issuer: Issuer) -> None:
    header, _, signature = issuer.token().split(".")
    _, payload, _ = issuer.token(roles=["operator"]).split(".")
    assert ask(edge, f"{header}.{payload}.{signature}").code == "TOKEN_INVALID"


def test_roles_and_scopes_of_a_token_open_what_they_open(edge: Edge, issuer: Issuer) -> None:
    """SEC-02."""
    assert ask(edge, issuer.token(roles=["reader"])).code == "FORBIDDEN"
    assert ask(edge, issuer.token(roles=["reader", "auditor"])).status == 200
    assert ask(edge, issuer.token(roles="auditor")).status == 200
    assert ask(edge, issuer.token(roles=None, scp="api_keys:read other")).status == 200
    assert ask(edge, issuer.token(roles=None)).code == "FORBIDDEN"
    assert ask(edge, issuer.token(roles=None, scp="tenants:manage"), "listTenants").code == "FORBIDDEN"
    assert ask(edge, issuer.token(roles=["operator"], tenant_id=None), "listTenants").status == 200


def test_a_token_reaches_its_tenants_and_no_others(edge: Edge, issuer: Issuer) -> None:
    """SEC-03."""
    one = issuer.token(tenant_id="acme")
    two = issuer.token(tenant_id=["acme", "demo"])
    operator = issuer.token(roles=["operator"], tenant_id=None)
    header = "X-Tenant-Id"
    assert ask(edge, one).status == 200
    assert ask(edge, one, **{header: "demo"}).code == "TENANT_MISMATCH"
    assert ask(edge, two).code == "TENANT_REQUIRED"
    assert ask(edge, two, **{header: "demo"}).status == 200
    assert ask(edge, operator).code == "TENANT_REQUIRED"
    assert ask(edge, operator, **{header: "acme"}).status == 200


def test_a_new_key_is_fetched_when_it_is_first_seen_and_never_more_often_than_allowed(
    edge: Edge, issuer: Issuer, clock: Clock
) -> None:
    assert ask(edge, issuer.token()).status == 200
    fetched = issuer.fetches
    issuer.keys["new"] = ECKey.generate_key("P-256")
    rotated = issuer.token(kid="new", alg="ES256")
    assert ask(edge, rotated).code == "TOKEN_INVALID"
    assert issuer.fetches == fetched
    clock.now += REFETCH_SECONDS
    assert ask(edge, rotated).status == 200
    for number in range(5):
        assert ask(edge, issuer.token(kid=f"guess-{number}", key=issuer.keys["rsa"])).code == "TOKEN_INVALID"
    assert issuer.fetches == fetched + 1


def test_a_withdrawn_key_ends_within_an_hour(edge: Edge, issuer: Issuer, clock: Clock) -> None:
    assert ask(edge, issuer.token()).status == 200
    old = issuer.keys.pop("rsa")
    clock.now += 3601
    assert ask(edge, issuer.token(kid="rsa", key=old)).code == "TOKEN_INVALID"


def test_an_issuer_that_is_down_is_told_and_known_keys_work_on(
    edge: Edge, issuer: Issuer, clock: Clock
) -> None:
    issuer.down = True
    assert ask(edge, issuer.token()).code == "TIMEOUT"
    issuer.down = False
    clock.now += REFETCH_SECONDS
    assert ask(edge, issuer.token()).status == 200
    issuer.down = True
    clock.now += REFETCH_SECONDS
    assert ask(edge, issuer.token(sub="u-1002")).status == 200


def test_a_discovery_document_of_another_issuer_is_not_believed(edge: Edge, issuer: Issuer) -> None:
    issuer.named = "https://evil.example.com"
    assert ask(edge, issuer.token()).code == "TIMEOUT"


def test_keys_may_be_named_directly(opened: Opened, issuer: Issuer) -> None:
    issuer.named = "https://evil.example.com"
    settings = IssuerSettings(issuer=issuer.url, audience=AUDIENCE, jwks_url=f"{issuer.url}/jwks")
    assert ask(opened(tokens=TokenVerifier((settings,))), issuer.token()).status == 200


def test_a_key_that_is_too_short_is_not_used(edge: Edge, issuer: Issuer) -> None:
    with pytest.warns(UserWarning, match="2048"):
        issuer.keys["short"] = RSAKey.generate_key(1024)
    assert ask(edge, issuer.token(kid="short")).code == "TOKEN_INVALID"


def test_a_verified_token_is_remembered_but_not_past_its_end(
    opened: Opened, issuer: Issuer, clock: Clock
) -> None:
    settings = IssuerSettings(issuer=issuer.url, audience=AUDIENCE, skew_seconds=0)
    verifier = TokenVerifier((settings,), clock=clock)
    edge = opened(tokens=verifier)
    token = issuer.token()
    now_us = int(time.time() * 1e6)
    run = edge.client.transport.run  # type: ignore[attr-defined]
    assert run(verifier.identify(token, now_us)) is run(verifier.identify(token, now_us))
    clock.now += 60
    from atp.kernel.errors import Problem

    with pytest.raises(Problem, match="TOKEN_EXPIRED"):
        run(verifier.identify(token, now_us + 601_000_000))


def test_a_person_s_address_used_as_subject_does_not_become_an_actor(edge: Edge, issuer: Issuer) -> None:
    """OBS-03 and the record's promise that nothing personal stands in it unsealed."""
    token = issuer.token(sub="jane@example.com")
    answer = edge.client.with_().call(
        "createApiKey", json={"name": "x", "roles": ["reader"]}, headers={"authorization": f"Bearer {token}"}
    )
    assert answer.status == 201
    (_, content) = edge.records("demo")[-1]
    assert content["actor"]["type"] == "user"
    assert content["actor"]["id"].startswith("token:")
    assert "jane" not in repr(content)


@pytest.mark.parametrize(
    "given",
    [
        {"issuer": "http://issuer.example.com", "audience": "a"},
        {"issuer": "https://issuer.example.com", "audience": ""},
        {"issuer": "https://issuer.example.com", "audience": "a", "algorithms": ("HS256",)},
        {"issuer": "https://issuer.example.com", "audience": "a", "algorithms": ("none",)},
        {"issuer": "https://issuer.example.com", "audience": "a", "algorithms": ()},
        {"issuer": "https://issuer.example.com", "audience": "a", "jwks_url": "file:///etc/passwd"},
    ],
)
def test_an_issuer_that_would_be_unsafe_is_refused_at_start(given: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"issuer|algorithms|audience"):
        IssuerSettings(**given)
