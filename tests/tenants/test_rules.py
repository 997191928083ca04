"""Pure decisions: key texts, validity over time, escalation (SEC-01, SEC-02)."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atp.kernel.errors import Problem
from atp.kernel.hashing import sha256
from atp.kernel.ids import TenantId, encode_ulid
from atp.tenants import rules
from atp.tenants.model import ApiKey, NewApiKey
from atp.web.principal import Clearance, Principal

KEY = ApiKey(
    id="01KAKBR8MZ9V3W7T5Q2E8YH4NC",
    tenant=TenantId("demo"),
    name="k",
    roles=("reader",),
    clearance=Clearance.NONE,
    secret_hash=sha256(b"s" * 32),
    created_us=0,
    expires_us=None,
    revoked_us=None,
    last_used_us=None,
    replaced_by=None,
)


@given(
    key_id=st.binary(min_size=16, max_size=16).map(encode_ulid),
    secret=st.binary(min_size=32, max_size=32),
)
def test_a_key_text_is_read_back_and_nothing_near_it_is(key_id: str, secret: bytes) -> None:
    text = rules.key_text(key_id, secret)
    assert rules.parse_key_text(text) == (key_id, secret)
    for wrong in (text[:-1], text + "A", text.replace("atp_", "atp-", 1), " " + text, text + "\n"):
        assert rules.parse_key_text(wrong) is None


def test_only_the_right_secret_matches() -> None:
    assert rules.secret_matches(KEY, b"s" * 32)
    assert not rules.secret_matches(KEY, b"t" * 32)
    assert not rules.secret_matches(KEY, b"")


@pytest.mark.parametrize(
    ("expires", "revoked", "now", "code"),
    [
        (None, None, 10**15, None),
        (100, None, 99, None),
        (100, None, 100, "API_KEY_EXPIRED"),
        (None, 50, 60, "API_KEY_REVOKED"),
        (100, 50, 200, "API_KEY_REVOKED"),
    ],
)
def test_a_key_is_worth_what_its_times_say(
    expires: int | None, revoked: int | None, now: int, code: str | None
) -> None:
    key = msgspec.structs.replace(KEY, expires_us=expires, revoked_us=revoked)
    if code is None:
        assert rules.principal_of(key, now).scopes == rules.ROLE_SCOPES["reader"]
    else:
        with pytest.raises(Problem, match=code):
            rules.principal_of(key, now)


def test_neither_a_key_nor_an_issued_one_shows_its_secret_when_printed() -> None:
    from atp.tenants.model import IssuedKey

    issued = IssuedKey(key=KEY, secret="atp_secret")
    assert "atp_secret" not in repr(issued)
    assert "secret_hash" not in repr(KEY)


def issuer(*roles: str, clearance: Clearance = Clearance.NONE) -> Principal:
    return rules.principal_of(msgspec.structs.replace(KEY, roles=roles, clearance=clearance), 1)


@pytest.mark.parametrize(
    ("roles", "clearance", "wanted", "wanted_clearance", "allowed"),
    [
        (("admin",), Clearance.NONE, ("reader", "writer", "auditor", "admin"), Clearance.NONE, True),
        (("admin",), Clearance.NONE, ("operator",), Clearance.NONE, False),
        (("admin",), Clearance.PERSONAL, ("auditor",), Clearance.SENSITIVE, False),
        (("admin",), Clearance.SECRET, ("auditor",), Clearance.SECRET, True),
        (("operator",), Clearance.NONE, ("admin",), Clearance.SECRET, True),
    ],
)
def test_nobody_gives_a_key_more_than_their_own(
    roles: tuple[str, ...],
    clearance: Clearance,
    wanted: tuple[str, ...],
    wanted_clearance: Clearance,
    allowed: bool,
) -> None:
    new = NewApiKey(name="n", roles=wanted, clearance=wanted_clearance)
    if allowed:
        rules.refuse_escalation(issuer(*roles, clearance=clearance), new)
    else:
        with pytest.raises(Problem, match="A key cannot be given"):
            rules.refuse_escalation(issuer(*roles, clearance=clearance), new)
