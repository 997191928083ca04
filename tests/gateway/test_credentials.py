"""API keys at the door: what is refused and how, and how soon a change counts (SEC-01, SEC-02)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from atp.kernel.clock import now_us
from atp.kernel.hashing import sha256
from atp.kernel.ids import TenantId
from atp.specs import load
from atp.tenants import commands, queries, rules, store
from atp.web.principal import Clearance
from tests.gateway.edge import Edge

Opened = Callable[..., Edge]
MINUTE_US = 60_000_000
NEVER_ISSUED = "atp_01KAKBR8MZ9V3W7T5Q2E8YH4NC_" + "A" * 43


def status_of(edge: Edge, **headers: str) -> tuple[int, str | None]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    answer = edge.client.with_().get("/api/v1/tenants/demo", headers=named)
    return answer.status, None if answer.status == 200 else answer.code


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": ""},
        {"authorization": "Basic YTpi"},
        {"authorization": "Bearer"},
        {"authorization": "Bearer atp_"},
        {"authorization": f"Bearer {NEVER_ISSUED}"},
        {"authorization": "Bearer atp_01KAKBR8MZ9V3W7T5Q2E8YH4NC_tooshort"},
        {"x_api_key": NEVER_ISSUED},
    ],
)
def test_what_is_no_known_key_is_answered_alike(edge: Edge, headers: dict[str, str]) -> None:
    assert status_of(edge, **headers) == (401, "UNAUTHENTICATED")


def test_a_refusal_says_which_scheme_to_use(edge: Edge) -> None:
    assert edge.client.with_().get("/api/v1/tenants").headers["www-authenticate"] == "Bearer"


def test_a_known_key_with_another_secret_is_answered_like_an_unknown_one(edge: Edge) -> None:
    forged = edge.admin_key[:-43] + "A" * 43
    assert status_of(edge, authorization=f"Bearer {forged}") == (401, "UNAUTHENTICATED")


def test_a_token_is_refused_where_no_issuer_is_trusted(edge: Edge) -> None:
    assert status_of(edge, authorization="Bearer eyJhbGciOiJub25lIn0.e30.") == (401, "TOKEN_INVALID")


def test_a_key_may_come_in_either_header_but_not_two_keys(edge: Edge) -> None:
    key = edge.admin_key
    assert status_of(edge, x_api_key=key) == (200, None)
    assert status_of(edge, authorization=f"bearer {key}") == (200, None)
    assert status_of(edge, authorization=f"Bearer {key}", x_api_key=key) == (200, None)
    other = edge.add_key("demo", "reader").secret
    assert status_of(edge, authorization=f"Bearer {key}", x_api_key=other) == (401, "UNAUTHENTICATED")


def test_only_the_hash_of_a_secret_is_stored(edge: Edge) -> None:
    """SEC-01: the secret is in no column of no table."""
    secret = rules.parse_key_text(edge.admin_key)[1]  # type: ignore[index]
    key = edge.database.read_now(lambda c: store.find_key(c, edge.admin_key[4:30]))
    assert key is not None
    assert key.secret_hash == sha256(secret)
    files = b"".join(path.read_bytes() for path in edge.folder.iterdir() if path.is_file())
    assert key.secret_hash in files
    assert secret not in files
    assert edge.admin_key[31:].encode() not in files


def test_an_expired_key_is_told_apart_from_a_revoked_one(edge: Edge) -> None:
    issued = edge.add_key("demo", "admin", expires_us=now_us() + 60 * MINUTE_US)
    bearer = {"authorization": f"Bearer {issued.secret}"}
    assert status_of(edge, **bearer) == (200, None)
    edge.database.write_now(
        lambda c: c.execute("UPDATE api_keys SET expires_us = $1 WHERE id = $2", (1, issued.key.id))
    )
    edge.directory.forget(issued.key.id)
    assert status_of(edge, **bearer) == (401, "API_KEY_EXPIRED")
    edge.client.call("revokeApiKey", path={"keyId": issued.key.id}, json={})
    assert status_of(edge, **bearer) == (401, "API_KEY_REVOKED")


def test_a_key_expires_at_its_moment_even_when_it_is_remembered(edge: Edge) -> None:
    key = edge.add_key("demo", "admin", expires_us=now_us() + 60 * MINUTE_US).key
    assert queries.principal_of(key, key.expires_us - 1).id == key.id  # type: ignore[operator]
    assert key.status(key.expires_us) == "expired"  # type: ignore[arg-type]


def test_a_revocation_counts_at_once_in_the_same_process(edge: Edge) -> None:
    issued = edge.add_key("demo", "admin")
    bearer = {"authorization": f"Bearer {issued.secret}"}
    assert status_of(edge, **bearer) == (200, None)
    assert (
        edge.client.call("revokeApiKey", path={"keyId": issued.key.id}, json={"reason": "Lost."}).status
        == 200
    )
    assert status_of(edge, **bearer) == (401, "API_KEY_REVOKED")


def test_a_revocation_by_another_process_counts_within_a_second(opened: Opened) -> None:
    """The directory believes what it has read for one second of its clock, and no longer."""
    time = [100.0]
    edge = opened(monotonic=lambda: time[0])
    issued = edge.add_key("demo", "admin")
    bearer = {"authorization": f"Bearer {issued.secret}"}
    assert status_of(edge, **bearer) == (200, None)
    edge.database.write_now(
        lambda c: commands.revoke_api_key(c, TenantId("demo"), issued.key.id, change=edge.change())
    )
    time[0] += queries.FRESH_SECONDS
    assert queries.FRESH_SECONDS <= 1.0
    assert status_of(edge, **bearer) == (401, "API_KEY_REVOKED")


def test_guesses_do_not_grow_the_directory_without_bound(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(queries, "ENTRIES_MAX", 5)
    edge = opened()
    for number in range(20):
        guess = f"atp_01KAKBR8MZ9V3W7T5Q2E8YH4{number:02d}_" + "A" * 43
        assert status_of(edge, authorization=f"Bearer {guess}")[0] == 401
    assert len(edge.directory._keys._entries) <= 5


def test_last_used_is_written_late_and_coarse(edge: Edge) -> None:
    """The request itself writes nothing; the job does, and a time once written never goes back."""
    key_id = edge.admin_key[4:30]

    def shown() -> str | None:
        items = edge.client.call("listApiKeys").json["items"]
        return next(item["lastUsedAt"] for item in items if item["id"] == key_id)

    assert shown() is None
    edge.client.transport.run(edge.last_used.flush())  # type: ignore[attr-defined]
    first = shown()
    assert first is not None
    edge.database.write_now(lambda c: store.mark_used(c, [(1, key_id)]))
    assert shown() == first


@pytest.mark.parametrize("role", sorted(rules.ROLE_SCOPES))
def test_each_role_opens_exactly_the_operations_whose_scopes_it_holds(edge: Edge, role: str) -> None:
    """SEC-02: the contract's scopes, enforced for every operation that needs a credential."""
    client = edge.as_(role)
    wrong = []
    for operation in load().operations.values():
        if operation.public:
            continue
        example = {"tenantId": "demo", "streamId": "document/doc-1"}
        address = operation.path_template
        for parameter in operation.parameters:
            address = address.replace(
                f"{{{parameter.name}}}", example.get(parameter.name, "01KAKBR8MZ9V3W7T5Q2E8YH4NC")
            )
        answer = client.request(operation.method, address, headers={"content-type": "text/plain"})
        refused = answer.status == 403 and answer.code == "FORBIDDEN"
        if refused == (operation.scopes <= rules.ROLE_SCOPES[role]):
            wrong.append((operation.id, answer.status))
    assert not wrong


def test_a_refusal_names_the_missing_scope(edge: Edge) -> None:
    answer = edge.as_("writer").call("listApiKeys")
    assert answer.code == "FORBIDDEN"
    assert answer.json["scopes"] == ["api_keys:read"]


def test_roles_and_scopes_are_the_contract_s() -> None:
    specification = load()
    assert dict(rules.ROLE_SCOPES) == dict(specification.roles)
    needed = {scope for operation in specification.operations.values() for scope in operation.scopes}
    granted = {scope for scopes in rules.ROLE_SCOPES.values() for scope in scopes}
    assert needed <= granted == set(specification.scopes)


def test_clearances_are_ordered() -> None:
    assert [level.label for level in sorted(Clearance)] == ["none", "personal", "sensitive", "secret"]
    assert [Clearance.named(level.label) for level in Clearance] == list(Clearance)
    with pytest.raises(ValueError, match="Secret"):
        Clearance.named("Secret")
