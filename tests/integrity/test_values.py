"""Sealed values of every kind: nested, in arrays, pseudonymised, misplaced, superfluous; both ways of checking."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from atp.engine.codec import pack
from atp.integrity.model import Target, VerificationResult
from atp.integrity.queries.access import Access
from atp.integrity.queries.shapes import shape
from atp.integrity.queries.verification import Verifier, find_logs
from atp.kernel import canonical
from atp.kernel.hashing import b64u, sha256
from atp.kernel.ids import TenantId
from atp.streams import rules
from atp.streams.model import NewRecord
from tests.integrity.holding import kinds, shown
from tests.integrity.world import ACME, MASTER, World

Sealing = Mapping[str, object]


def record(
    world: World,
    content: dict[str, Any],
    sealed: Sealing,
    *,
    findings: list[list[str]] | None = None,
    tenant: TenantId = ACME,
) -> NewRecord:
    """Return a record with these sealed values; `content` holds markers where it calls for them by pointer."""
    ref = world.vault.tenant(tenant).subject_ref("user", "u")
    disclosures: list[bytes] = []
    markers = {}
    for pointer, value in sealed.items():
        opened, markers[pointer] = rules.disclosure(pointer, value)
        disclosures.append(opened)

    def place(value: Any) -> Any:
        if isinstance(value, str) and value.startswith("->"):
            return markers[value[2:]]
        if isinstance(value, dict):
            return {name: place(inner) for name, inner in value.items()}
        return [place(inner) for inner in value] if isinstance(value, list) else value

    full = {"classification": {"findings": findings or [], "level": "personal", "subject": b64u(ref)}}
    raw = canonical.encode(full | place(content))
    box = world.sealer.keys_for(tenant, [ref])[ref].box(disclosures, sha256(raw))
    return NewRecord("document/1", raw, sha256(raw), pack(raw), None, None, (box,) if sealed else ())


def verify(world: World) -> VerificationResult:
    world.integrate()
    access = Access(str(world.guard_path.with_name("atp.db")), b64u(MASTER))
    log = next(log for log in find_logs(world.database, None) if log.tenant == ACME)
    return Verifier(access=access)(log, Target(), lambda _done, _total: None)


RIGHT: list[tuple[dict[str, Any], Sealing]] = [
    ({"actor": {"name": "->/actor/name"}}, {"/actor/name": "A"}),
    (
        {"actor": {"a": {"b": "->/actor/a/b"}, "b": "->/actor/b"}},
        {"/actor/a/b": 1, "/actor/b": {"x": [None]}},
    ),
    (
        {"payload": {"list": ["->/payload/list/0", {"x": "->/payload/list/1/x"}]}},
        {"/payload/list/0": 1, "/payload/list/1/x": 2},
    ),
    ({"payload": {"a/b": {"c~d": "->/payload/a~1b/c~0d"}}}, {"/payload/a~1b/c~0d": "odd"}),
    ({"payload": {'q"uote': '->/payload/q"uote'}}, {'/payload/q"uote': "odder"}),
    ({"payload": "->/payload"}, {"/payload": {"all": "of it"}}),
    (
        {"context": {"ip": "->/context/ip"}, "payload": {"\u00e9": "->/payload/\u00e9"}},
        {"/context/ip": "1", "/payload/\u00e9": "2"},
    ),
]


@pytest.mark.parametrize(("content", "sealed"), RIGHT)
def test_values_are_found_wherever_they_stand(world: World, content: dict[str, Any], sealed: Sealing) -> None:
    """INT-06: nested objects, arrays, escaped names and whole parts; none is an alarm, all are verified."""
    world.append([record(world, content, sealed)])
    result = verify(world)
    assert result.verified, shown(result.findings)
    assert result.values.verified == len(sealed)


def test_a_pseudonym_is_checked_against_its_value(world: World) -> None:
    """CLS-03, INT-06: the value behind a pseudonym gives that pseudonym, or it is not the value."""
    vault = world.vault.tenant(ACME)
    finding = [["/resource/id", "email", "high", "detector", "hash"]]
    for value, right in (("a@example.com", True), ("b@example.com", False)):
        content = {"resource": {"id": vault.pseudonym("a@example.com")}}
        world.append([record(world, content, {"/resource/id": value}, findings=finding)])
        result = verify(world)
        assert result.verified is right
    assert kinds(result) == {"disclosure_unexplained", "value_missing"}
    assert (result.values.verified, result.values.missing) == (1, 1)


WRONG: list[tuple[dict[str, Any], Sealing, set[str]]] = [
    ({"actor": {"email": "->/actor/name"}}, {"/actor/name": "A"}, {"disclosure_misplaced"}),
    ({"actor": {"x": 1}}, {"/actor/name": "A"}, {"disclosure_unexplained"}),
    ({"actor": {"x": {"~sealed": "A" * 43}}}, {}, {"value_missing"}),
    ({"actor": {"x": {"~sealed": "A" * 43}, "y": "->/actor/y"}}, {"/actor/y": 1}, {"value_missing"}),
]


@pytest.mark.parametrize(("content", "sealed", "found"), WRONG)
def test_values_that_do_not_match_their_record_are_found(
    world: World, content: dict[str, Any], sealed: Sealing, found: set[str]
) -> None:
    """INT-06: a disclosure in another place, one too many, one too few."""
    world.append([record(world, content, sealed)])
    result = verify(world)
    assert kinds(result) == found, shown(result.findings)
    assert {finding.position for finding in result.findings} == {0}


def test_shapes_are_made_only_for_what_they_can_find() -> None:
    """What the fast way cannot hold is left to the general one; what it does hold must be a marker."""
    assert shape(("/payload/list/0",)) is None
    assert shape(("/payload/a~1b",)) is None
    assert shape(("",)) is None
    assert shape(("/actor/name", "/actor/name")) is None
    assert shape(("/actor", "/actor/name")) is None
    assert shape(("/actor/name", "/actor")) is None
    find = shape(("/actor/name", "/context/ip"))
    assert find is not None
    content = {"actor": {"name": {"~sealed": "x"}, "o": 1}, "context": {"ip": {"~sealed": "y"}}}
    assert find(canonical.encode(content)) == ("x", "y")
    for wrong in ({"actor": {"name": "x"}}, {"actor": 1}, {}, {"actor": {"name": {"~sealed": "x", "z": 1}}}):
        with pytest.raises(ValueError, match=r"Expected|Object"):
            find(canonical.encode({"context": {"ip": {"~sealed": "y"}}} | wrong))
