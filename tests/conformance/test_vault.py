"""Keys on every engine: sealing, rotation of tenant and master keys, and everything that must not open a box."""

from collections.abc import Sequence

import pytest

from atp.engine.keys import KeyRing, KeyUnavailable
from atp.kernel.canonical import encode
from atp.kernel.hashing import sha256
from atp.streams import queries, rules
from atp.streams import store as tables
from atp.streams.commands import Sealer, Vault
from atp.streams.model import NewRecord
from tests.conformance.engines import MASTER, OTHER, TENANT, Store
from tests.streams.making import new_record

OTHER_MASTER = b"n" * 32


@pytest.fixture
def sealer(store: Store) -> Sealer:
    return Sealer(store.database, store.vault.tenant)


def _seal(store: Store, sealer: Sealer, actor: str, values: Sequence[str]) -> NewRecord:
    """Return a record that hides `values` under the key of `actor`."""
    ref = store.vault.tenant(TENANT).subject_ref("user", actor)
    key = sealer.keys_for(TENANT, [ref])[ref]
    plain = new_record(f"about {actor} {values}")
    opened = [rules.disclosure(f"/payload/{n}", value)[0] for n, value in enumerate(values)]
    box = key.box(opened, plain.content_hash)
    return NewRecord(plain.stream, plain.content, plain.content_hash, plain.packed, disclosures=(box,))


def _opened(store: Store, vault: Vault | None = None) -> dict[int, queries.Opened]:
    def read(connection):
        opener = (vault or store.vault).load(connection, TENANT)
        return queries.disclosures(connection, opener, queries.read_log(connection, TENANT))

    return store.database.read_now(read)


def test_what_was_sealed_is_read_back(store: Store, sealer: Sealer) -> None:
    """CLS-04: values come back exactly, several subjects and records, also from another process's vault."""
    store.append(
        [_seal(store, sealer, "ada", ["a@b.c", "ü"]), _seal(store, sealer, "bob", ["1"]), new_record("-")]
    )
    store.append([_seal(store, sealer, "ada", ["again"])])
    for vault in (None, Vault(store.database, KeyRing([MASTER]))):
        opened = _opened(store, vault)
        assert {p: [v[2] for v in o.values] for p, o in opened.items()} == {
            0: ["a@b.c", "ü"],
            1: ["1"],
            3: ["again"],
        }
        assert not any(o.missing_keys or o.damaged for o in opened.values())
    pointer, value = opened[0].values[1][1:]
    assert (pointer, value) == ("/payload/1", "ü")
    stored = store.database.read_now(lambda c: c.rows("SELECT box FROM disclosures"))
    assert not any(b"a@b.c" in box for (box,) in stored)


def test_one_subject_has_one_key_in_every_process(store: Store, sealer: Sealer) -> None:
    """CLS-04: another process finds the stored key instead of making one."""
    store.append([_seal(store, sealer, "ada", ["x"])])
    store.append([_seal(store, Sealer(store.database, store.vault.tenant), "ada", ["y"])])
    assert store.database.read_now(lambda c: c.row("SELECT count(*) FROM subject_keys")) == (1,)


def test_a_tenants_key_is_rotated(store: Store, sealer: Sealer) -> None:
    """CLS-04: every subject key is rewrapped under the new one, and everything still opens, old and new."""
    store.append([_seal(store, sealer, f"user{n}", [f"v{n}"]) for n in range(12)])
    before = dict(store.database.read_now(lambda c: c.rows("SELECT key_id, wrapped FROM subject_keys")))
    assert store.vault.rotate_tenant(TENANT) == 12
    after = dict(store.database.read_now(lambda c: c.rows("SELECT key_id, wrapped FROM subject_keys")))
    assert before.keys() == after.keys()
    assert not set(before.values()) & set(after.values())
    store.append([_seal(store, sealer, "user3", ["new"])])
    assert [[v[2] for v in o.values] for o in _opened(store).values()] == [[f"v{n}"] for n in range(12)] + [
        ["new"]
    ]


def test_a_rotation_that_was_interrupted_can_be_run_again(store: Store, sealer: Sealer) -> None:
    """CLS-04: with some keys under the old wrapping and some under the new, everything opens."""
    store.append([_seal(store, sealer, f"user{n}", [f"v{n}"]) for n in range(4)])
    number = store.vault.tenant(TENANT).tenant_no
    store.database.write_now(
        lambda c: store.vault._insert(c, number, "wrap", 2)
    )  # It stopped after the first step.
    fresh = Vault(store.database, KeyRing([MASTER]))
    assert len(_opened(store, fresh)) == 4
    assert fresh.rotate_tenant(TENANT) == 4
    assert not any(o.damaged for o in _opened(store, fresh).values())


def test_the_master_key_is_rotated(store: Store, sealer: Sealer) -> None:
    """CLS-04: with both in the ring tenants' keys are rewrapped; then the old one is not needed any more."""
    store.append([_seal(store, sealer, "ada", ["x"])])
    both = Vault(store.database, KeyRing([OTHER_MASTER, MASTER]))
    assert both.rewrap_tenants() == 4  # Index and wrapping key of two tenants.
    assert both.rewrap_tenants() == 0
    assert [
        o.values[0][2] for o in _opened(store, Vault(store.database, KeyRing([OTHER_MASTER]))).values()
    ] == ["x"]
    with pytest.raises(KeyUnavailable):
        _opened(store, Vault(store.database, KeyRing([MASTER])))


def test_the_wrong_master_key_opens_nothing(store: Store) -> None:
    with pytest.raises(KeyUnavailable):
        Vault(store.database, KeyRing([OTHER_MASTER])).tenant(TENANT)


def test_pseudonyms_and_references_outlive_every_rotation(store: Store) -> None:
    """CLS-03: what is searched by must stay the same, and must differ between tenants."""
    vault = store.vault.tenant(TENANT)
    before = (vault.pseudonym("ada"), vault.subject_ref("user", "ada"), vault.idempotency("k", b"e"))
    store.vault.rotate_tenant(TENANT)
    Vault(store.database, KeyRing([OTHER_MASTER, MASTER])).rewrap_tenants()
    after = Vault(store.database, KeyRing([OTHER_MASTER])).tenant(TENANT)
    assert (after.pseudonym("ada"), after.subject_ref("user", "ada"), after.idempotency("k", b"e")) == before
    other = (
        store.vault.tenant(OTHER) if False else Vault(store.database, KeyRing([OTHER_MASTER])).tenant(OTHER)
    )
    assert other.pseudonym("ada") != before[0]
    assert vault.subject_ref("user", "ada") != vault.subject_ref("usera", "da")


def test_boxes_and_keys_do_not_open_in_anothers_place(store: Store, sealer: Sealer) -> None:
    """CLS-04: a box belongs to its record, a subject key to its subject and tenant, a tenant key to its purpose."""
    vault = store.vault.tenant(TENANT)
    ada, bob = (vault.subject_ref("user", name) for name in ("ada", "bob"))
    keys = sealer.keys_for(TENANT, [ada, bob])
    box = keys[ada].box([encode(["s", "/p", "v"])], sha256(b"record")).box
    assert keys[ada].open(box, sha256(b"record")) == b'[["s","/p","v"]]'
    row = keys[ada].row
    for attempt in (
        lambda: keys[ada].open(box, sha256(b"another record")),
        lambda: keys[bob].open(box, sha256(b"record")),
        lambda: keys[ada].open(box[:-1] + bytes([box[-1] ^ 1]), sha256(b"record")),
        lambda: keys[ada].open(b"", sha256(b"record")),
        lambda: vault.open_subject(row.key_id, bob, row.wrapped),
        lambda: vault.open_subject(row.key_id + 1, ada, row.wrapped),
        lambda: vault.open_subject(row.key_id, ada, keys[bob].row.wrapped),
        lambda: store.vault.tenant(OTHER).open_subject(row.key_id, ada, row.wrapped),
    ):
        with pytest.raises(KeyUnavailable):
            attempt()


def test_a_destroyed_key_is_reported_not_guessed(store: Store, sealer: Sealer) -> None:
    """INT-09: the record stays readable, the values are gone, and the reader is told how many keys are missing."""
    store.append([_seal(store, sealer, "ada", ["x"]), _seal(store, sealer, "bob", ["y"])])
    vault = store.vault.tenant(TENANT)
    ref = vault.subject_ref("user", "ada")
    why = store.append([new_record("erased")])[0].position

    def destroy(connection):
        tables.explain(connection, vault.tenant_no, f"subject:{ref.hex()}", why)
        tables.destroy_subject(connection, vault.tenant_no, ref)

    store.database.write_now(destroy)
    opened = _opened(store)
    assert (opened[0].values, opened[0].missing_keys) == ([], 1)
    assert opened[1].values[0][2] == "y"
    sealer.forget(TENANT, ref)
    store.append([_seal(store, sealer, "ada", ["anew"])])
    assert _opened(store)[3].values[0][2] == "anew"
