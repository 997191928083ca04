"""Every byte of the evidence, changed: whoever has the database file in his hands is found out, and told where.

The default run takes a sample, whose seed and size are printed; ATP_TEST_MUTATIONS is another size, or all.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import apsw
import pytest

from atp.engine.codec import CorruptValue, unpack
from atp.integrity.model import Target
from atp.kernel.ids import encode_ulid
from tests.integrity.conftest import RECORDS
from tests.integrity.holding import Held, kinds, positions, sample_size, shown
from tests.integrity.world import ACME

SAMPLE = sample_size(12)
"""Bytes changed of each kind of evidence."""


@dataclass(frozen=True)
class Byte:
    """One byte of one stored value, and the bit to flip in it."""

    table: str
    column: str
    key: tuple[Any, ...]
    offset: int
    bit: int


KEYS = {
    "records": ("tenant_no", "position"),
    "disclosures": ("tenant_no", "position", "key_id"),
    "subject_keys": ("tenant_no", "key_id"),
    "tiles": ("tenant_no", "level", "idx"),
    "trees": ("tenant_no",),
    "checkpoints": ("tenant_no",),
    "log_keys": ("tenant_no", "key_id"),
}
EVIDENCE = [
    ("records", "header"),
    ("records", "content"),
    ("records", "id"),
    ("disclosures", "box"),
    ("subject_keys", "wrapped"),
    ("subject_keys", "ref"),
    ("tiles", "hashes"),
    ("trees", "root"),
    ("checkpoints", "root"),
    ("checkpoints", "note"),
    ("log_keys", "public"),
]


@pytest.fixture(scope="module")
def number(held: Held) -> int:
    return int(held.rows("SELECT tenant_no FROM logs WHERE tenant = ?", (ACME,))[0][0])


def bytes_of(held: Held, number: int, table: str, column: str) -> Iterator[Byte]:
    """Choose bytes of a column of the tenant: all of them, or a sample spread over the rows."""
    key = KEYS[table]
    rows = held.rows(f"SELECT {', '.join(key)}, length({column}) FROM {table} WHERE tenant_no = ?", (number,))
    if SAMPLE is None:
        for *at, length in rows:
            for offset in range(length):
                yield Byte(table, column, tuple(at), offset, 1 << offset % 8)
        return
    seed = random.randrange(1 << 32)
    print(f"{table}.{column}: {SAMPLE} bytes, seed {seed}")
    chance = random.Random(seed)
    for _ in range(SAMPLE):
        *at, length = chance.choice(rows)
        yield Byte(table, column, tuple(at), chance.randrange(length), 1 << chance.randrange(8))


def flip(raw: apsw.Connection, byte: Byte) -> tuple[bytes, bytes]:
    """Flip one bit; return the value before and after."""
    where = " AND ".join(f"{name} = ?" for name in KEYS[byte.table])
    ((before,),) = raw.execute(f"SELECT {byte.column} FROM {byte.table} WHERE {where}", byte.key).fetchall()
    after = bytearray(before)
    after[byte.offset] ^= byte.bit
    raw.execute(f"UPDATE {byte.table} SET {byte.column} = ? WHERE {where}", (bytes(after), *byte.key))
    return before, bytes(after)


def same_record(before: bytes, after: bytes) -> bool:
    """Tell whether a changed stored form still decodes to the same record bytes: then no evidence changed."""
    try:
        return unpack(before) == unpack(after)
    except CorruptValue:
        return False


@pytest.mark.parametrize(("table", "column"), EVIDENCE, ids=[".".join(pair) for pair in EVIDENCE])
def test_every_changed_byte_is_found(held: Held, number: int, table: str, column: str) -> None:
    """INT-06: a flipped bit anywhere in the evidence is a finding; in a record, one that names its position."""
    missed = []
    for byte in bytes_of(held, number, table, column):
        with held.altered() as raw:
            before, after = flip(raw, byte)
            result = held.verify()
        if result.verified:
            packed = table == "records" and column != "id"
            if not (packed and same_record(before, after)):
                missed.append(str(byte))
        elif table in {"records", "disclosures"} and byte.key[1] not in positions(result):
            missed.append(f"{byte} was found, but not its position:\n{shown(result.findings)}")
    assert not missed, "\n".join(missed)


INTEGERS = [
    ("records", "shard"),
    ("records", "sequence"),
    ("records", "tenant_no"),
    ("records", "position"),
    ("records", "stream_no"),
    ("records", "version"),
    ("disclosures", "position"),
    ("disclosures", "key_id"),
    ("tiles", "level"),
    ("tiles", "idx"),
    ("trees", "size"),
    ("checkpoints", "size"),
    ("logs", "size"),
    ("logs", "recorded_us"),
    ("streams", "stream_no"),
    ("streams", "created_us"),
]


@pytest.mark.parametrize(("table", "column"), INTEGERS, ids=[".".join(pair) for pair in INTEGERS])
def test_every_changed_number_is_found(held: Held, number: int, table: str, column: str) -> None:
    """INT-06: numbers beside the hashed bytes are checked against them too."""
    rows = held.rows(f"SELECT count(*) FROM {table} WHERE tenant_no = ?", (number,))[0][0]
    chance = random.Random(random.randrange(1 << 32))
    for _ in range(3):
        nth, change = chance.randrange(rows), chance.choice((1, -1, 1_000, 1 << 40, -(1 << 40)))
        with held.altered() as raw:
            key = "rowid" if table not in ("streams", "disclosures") else None
            try:
                if key:
                    ((row,),) = raw.execute(
                        f"SELECT rowid FROM {table} WHERE tenant_no = ? LIMIT 1 OFFSET ?", (number, nth)
                    ).fetchall()
                    raw.execute(f"UPDATE {table} SET {column} = {column} + ? WHERE rowid = ?", (change, row))
                else:
                    names = {"streams": "name", "disclosures": "position"}[table]
                    ((at,),) = raw.execute(
                        f"SELECT {names} FROM {table} WHERE tenant_no = ? LIMIT 1 OFFSET ?", (number, nth)
                    ).fetchall()
                    raw.execute(
                        f"UPDATE {table} SET {column} = {column} + ? WHERE tenant_no = ? AND {names} = ?",
                        (change, number, at),
                    )
            except apsw.ConstraintError:
                continue  # The database itself refuses what would be there twice.
            result = held.verify()
        assert not result.verified, f"{table}.{column} row {nth} by {change} was not found"


def test_a_clean_store_raises_no_alarm(held: Held) -> None:
    """INT-06, INT-09: erased values, a sealed stream and rotated keys are no findings, and values are counted."""
    for values in (True, False):
        result = held.verify(Target(values=values))
        assert result.verified, shown(result.findings)
        assert result.size == RECORDS
    result = held.verify()
    assert result.values.erased > 0
    assert result.values.verified > 2_000
    assert result.values.missing == 0
    assert {signature.algorithm for signature in result.signatures} == {"Ed25519", "ML-DSA-44"}
    assert len(result.signatures) == 4


Attack = Callable[[apsw.Connection, int], int | None]


def _delete(raw: apsw.Connection, number: int) -> int:
    raw.execute("DELETE FROM records WHERE tenant_no = ? AND position = 400", (number,))
    return 400


def _swap(raw: apsw.Connection, number: int) -> int:
    rows = raw.execute(
        "SELECT position, header, content FROM records WHERE tenant_no = ? AND position IN (410, 411)",
        (number,),
    ).fetchall()
    for (position, _, _), (_, header, content) in zip(rows, reversed(rows), strict=True):
        raw.execute(
            "UPDATE records SET header = ?, content = ? WHERE tenant_no = ? AND position = ?",
            (header, content, number, position),
        )
    return 410


def _move(raw: apsw.Connection, number: int) -> int:
    """Two records change places with everything but their sequence."""
    raw.execute("UPDATE records SET position = -1 WHERE tenant_no = ? AND position = 500", (number,))
    raw.execute("UPDATE records SET position = 500 WHERE tenant_no = ? AND position = 501", (number,))
    raw.execute("UPDATE records SET position = 501 WHERE tenant_no = ? AND position = -1", (number,))
    return 500


def _splice(raw: apsw.Connection, number: int) -> int:
    """A record of another tenant takes the place of one of ours, whole."""
    ((id_, header, content),) = raw.execute(
        "SELECT id, header, content FROM records WHERE tenant_no <> ? AND position = 600", (number,)
    ).fetchall()
    raw.execute(
        "UPDATE records SET id = ?, header = ?, content = ? WHERE tenant_no = ? AND position = 600",
        (id_, header, content, number),
    )
    return 600


def _content_of_another(raw: apsw.Connection, number: int) -> int:
    raw.execute(
        """UPDATE records SET content =
           (SELECT content FROM records WHERE tenant_no = ? AND position = 701)
           WHERE tenant_no = ? AND position = 700""",
        (number, number),
    )
    return 700


def _cut_tail(raw: apsw.Connection, number: int) -> int:
    raw.execute("DELETE FROM records WHERE tenant_no = ? AND position >= 990", (number,))
    raw.execute("DELETE FROM disclosures WHERE tenant_no = ? AND position >= 990", (number,))
    raw.execute("UPDATE logs SET size = 990 WHERE tenant_no = ?", (number,))
    return 990


def _drop_disclosures(raw: apsw.Connection, number: int) -> int:
    raw.execute("DELETE FROM disclosures WHERE tenant_no = ? AND position = 710", (number,))
    return 710


def _other_disclosures(raw: apsw.Connection, number: int) -> int:
    raw.execute(
        """UPDATE disclosures SET box = (SELECT box FROM disclosures WHERE tenant_no = ? AND position = 727)
           WHERE tenant_no = ? AND position = 720""",
        (number, number),
    )
    return 720


def _destroy_key(raw: apsw.Connection, number: int) -> int:
    """A subject's key goes without a record that says so, though a table claims that one does."""
    ((key_id, position),) = raw.execute(
        "SELECT key_id, min(position) FROM disclosures WHERE tenant_no = ? GROUP BY key_id LIMIT 1", (number,)
    ).fetchall()
    ((ref,),) = raw.execute(
        "SELECT ref FROM subject_keys WHERE tenant_no = ? AND key_id = ?", (number, key_id)
    ).fetchall()
    raw.execute("DELETE FROM subject_keys WHERE tenant_no = ? AND key_id = ?", (number, key_id))
    raw.execute("INSERT INTO explanations VALUES (?, ?, 3)", (number, f"subject:{ref.hex()}"))
    return int(position)


def _falsely_explained(raw: apsw.Connection, number: int) -> int:
    raw.execute("INSERT INTO explanations VALUES (?, 'record:420', 3)", (number,))
    raw.execute("DELETE FROM records WHERE tenant_no = ? AND position = 420", (number,))
    return 420


def _drop_tile(raw: apsw.Connection, number: int) -> int:
    raw.execute("DELETE FROM tiles WHERE tenant_no = ? AND level = -1 AND idx = 1", (number,))
    return 256


def _unseal(raw: apsw.Connection, number: int) -> int:
    raw.execute(
        "UPDATE streams SET state = 'active' WHERE tenant_no = ? AND name = 'document/doc-5'", (number,)
    )
    return 300


def _seal_silently(raw: apsw.Connection, number: int) -> None:
    raw.execute(
        "UPDATE streams SET state = 'sealed' WHERE tenant_no = ? AND name = 'document/doc-6'", (number,)
    )


def _forget_checkpoint_key(raw: apsw.Connection, number: int) -> None:
    raw.execute("DELETE FROM log_keys WHERE tenant_no = ? AND algorithm = 'Ed25519'", (number,))


def _replace_dictionary(raw: apsw.Connection, _number: int) -> None:
    raw.execute("UPDATE dictionaries SET dictionary = x'00'")


ATTACKS: list[Attack] = [
    _delete,
    _swap,
    _move,
    _splice,
    _content_of_another,
    _cut_tail,
    _drop_disclosures,
    _other_disclosures,
    _destroy_key,
    _falsely_explained,
    _drop_tile,
    _unseal,
    _seal_silently,
    _forget_checkpoint_key,
    _replace_dictionary,
]


@pytest.mark.parametrize("attack", ATTACKS, ids=[attack.__name__.strip("_") for attack in ATTACKS])
def test_what_a_hand_in_the_store_does_is_found(held: Held, number: int, attack: Attack) -> None:
    """INT-06: deletion, reordering, splicing and cutting are findings that name the position."""
    with held.altered() as raw:
        position = attack(raw, number)
        result = held.verify()
    assert not result.verified
    if position is not None:
        assert position in positions(result), shown(result.findings)


def test_a_record_of_another_tenant_does_not_pass_with_its_row(held: Held, number: int) -> None:
    """SEC: a row moved between tenants is missing from one log and foreign to the other."""
    with held.altered() as raw:
        ((other,),) = raw.execute("SELECT tenant_no FROM logs WHERE tenant_no <> ?", (number,)).fetchall()
        raw.execute("DELETE FROM records WHERE tenant_no = ? AND position = 999", (other,))
        raw.execute("DELETE FROM disclosures WHERE tenant_no = ? AND position = 999", (other,))
        raw.execute(
            "UPDATE records SET tenant_no = ?, stream_no = 999 WHERE tenant_no = ? AND position = 999",
            (other, number),
        )
        result = held.verify()
    assert 999 in positions(result)
    assert "record_missing" in kinds(result)


def test_one_damaged_record_is_named_alone(held: Held, number: int) -> None:
    """INT-06: a damaged content is one finding, with position, id and stream, and nothing else is accused."""
    with held.altered() as raw:
        raw.execute(
            """UPDATE records SET content = (SELECT content FROM records WHERE tenant_no = ? AND position = 0)
               WHERE tenant_no = ? AND position = 777""",
            (number, number),
        )
        result = held.verify(Target(values=False))
    (finding,) = result.findings
    assert (finding.kind, finding.position) == ("content_hash", 777)
    assert finding.id is not None
    assert finding.stream is not None


def test_findings_are_counted_beyond_those_that_are_kept(held: Held, number: int) -> None:
    """INT-06: a log that is wrong everywhere gives an exact count and a bounded list."""
    with held.altered() as raw:
        raw.execute("UPDATE records SET content = x'007b7d' WHERE tenant_no = ?", (number,))
        raw.execute("UPDATE records SET id = zeroblob(16) || x'' WHERE tenant_no = -1")
        result = held.verify(Target(values=False))
    assert result.finding_count >= RECORDS
    assert len(result.findings) <= RECORDS


def test_a_stream_and_a_record_are_verified_alone(held: Held, number: int) -> None:
    """INT-06: scopes stream and record find what is wrong in them, and only that."""
    ((id_, header),) = held.rows(
        "SELECT id, header FROM records WHERE tenant_no = ? AND position = 800", (number,)
    )

    stream = unpack(header).split(b'"stream":"')[1].split(b'"')[0].decode()
    targets = (Target(scope="record", record_id=encode_ulid(id_)), Target(scope="stream", stream=stream))
    for target in (*targets, Target(scope="stream", stream="document/doc-5")):
        clean = held.verify(target)
        assert clean.verified, shown(clean.findings)
        assert clean.root_hash is None
    with held.altered() as raw:
        raw.execute(
            "UPDATE records SET content = x'007b7d' WHERE tenant_no = ? AND position = 800", (number,)
        )
        for target in targets:
            assert positions(held.verify(target)) == {800}
        assert held.verify(Target(scope="stream", stream="document/doc-5")).verified


FORGED = [
    b"",
    b"{",
    b"[]",
    b'{"classification":1,"x":["~hmac:",1,"hash"]}',
    b'{"classification":{"findings":[["/a","t","high","r","hash"]]},"a":"~hmac:x"}',
    b'{"classification":{"findings":7},"b":["~hmac:x","hash"],"c":{"~sealed":"short"}}',
    b'{"kind":"platform","payload":{"stream":["x"],"final_version":"y","merkle_root":1},"type":"event_stream.sealed"}',
]


@pytest.mark.parametrize("content", FORGED)
@pytest.mark.parametrize("values", [True, False])
def test_nothing_that_a_record_could_hold_breaks_the_verification(
    held: Held, number: int, content: bytes, *, values: bool
) -> None:
    """INT-06: forged contents and headers are findings at their positions, never a traceback."""
    ((seal,),) = held.rows(
        """SELECT r.position FROM records r JOIN streams s ON s.tenant_no = r.tenant_no AND s.stream_no = r.stream_no
           WHERE s.tenant_no = ? AND s.name LIKE 'atp.event_stream/%'""",
        (number,),
    )
    with held.altered() as raw:
        for position, column in ((seal, "content"), (650, "content"), (660, "header")):
            raw.execute(
                f"UPDATE records SET {column} = ? WHERE tenant_no = ? AND position = ?",
                (b"\x00" + content, number, position),
            )
        result = held.verify(Target(values=values))
    assert {seal, 650, 660} <= positions(result)
