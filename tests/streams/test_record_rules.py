"""The record's pure rules: the header written by hand is canonical, digests bind, refusals say what to do."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from atp.kernel import canonical
from atp.kernel.clock import format_us
from atp.kernel.hashing import b64u, sha256
from atp.kernel.ids import TenantId, encode_ulid
from atp.streams import events, rules
from atp.streams.model import StreamHead
from tests.streams.making import new_record

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)
hashes = st.binary(min_size=32, max_size=32)
tenants = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)


@given(
    stream=texts,
    tenant=tenants,
    previous=st.none() | hashes,
    version=st.integers(0, 2**62),
    position=st.integers(0, 2**62),
    ulid=st.binary(min_size=16, max_size=16),
    us=st.integers(0, 4 * 10**15),
)
def test_the_header_is_the_canonical_form_of_its_values(
    stream, tenant, previous, version, position, ulid, us
) -> None:
    """Design section 4: the header is made by hand under the lock, and is byte for byte what `encode` writes."""
    record = new_record("x", stream=stream)
    head = StreamHead(1, stream, version, previous, "active")
    made = rules.header_bytes(
        head,
        position=position,
        ulid=encode_ulid(ulid),
        recorded=format_us(us),
        record=record,
        tenant=TenantId(tenant),
    )
    assert made == canonical.encode(
        {
            "contentHash": b64u(sha256(record.content)),
            "format": "atp.record.v1",
            "id": encode_ulid(ulid),
            "position": position,
            "previousHash": None if previous is None else b64u(previous),
            "recordedAt": format_us(us),
            "stream": stream,
            "streamVersion": version + 1,
            "tenant": tenant,
        }
    )


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3)))  # fmt: skip
def test_a_disclosure_is_bound_by_its_digest(value: object) -> None:
    """The SD-JWT construction: digest of the canonical [salt, pointer, value], a fresh salt each time."""
    opened, marker = rules.disclosure("/payload/a~1b", value)
    again, _ = rules.disclosure("/payload/a~1b", value)
    salt, pointer, _ = msgspec.json.decode(opened)
    assert marker == {"~sealed": b64u(sha256(opened))}
    assert (len(salt), pointer) == (22, "/payload/a~1b")
    assert opened == canonical.encode([salt, pointer, value])
    assert opened != again


@given(st.lists(texts, max_size=4))
def test_a_box_holds_its_disclosures_byte_for_byte(values: list[str]) -> None:
    """What was hashed is what is read back: the box is a JSON array of the very bytes."""
    opened = [rules.disclosure(f"/{n}", value)[0] for n, value in enumerate(values)]
    parts = msgspec.json.decode(rules.seal_box(opened), type=list[msgspec.Raw])
    assert [bytes(part) for part in parts] == opened


def test_platform_events_have_the_form_of_every_record() -> None:
    """STR-10: canonical, of kind platform, with a salt of their own."""
    content = events.platform_content(
        type="tenant.created", actor={"type": "system", "id": "atp"}, resource={"type": "tenant", "id": "acme"},
        payload={"ünï": [1, None]}, occurred_us=0, correlation={"traceId": "t"},
    )  # fmt: skip
    value = msgspec.json.decode(content)
    assert content == canonical.encode(value)
    assert (value["kind"], value["type"], value["occurredAt"]) == (
        "platform",
        "tenant.created",
        "1970-01-01T00:00:00.000000Z",
    )
    assert len(value["salt"]) == 22


def test_pseudonyms_are_the_same_within_one_key_only() -> None:
    """CLS-03, hash: searchable inside a tenant, meaningless outside."""
    one, again, other = (
        rules.pseudonym(b"k", "ada"),
        rules.pseudonym(b"k", "ada"),
        rules.pseudonym(b"l", "ada"),
    )
    assert one == again != other
    assert one.startswith("~hmac:")
    assert "ada" not in one
