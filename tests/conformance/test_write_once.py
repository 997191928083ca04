"""Write-once in the database itself: what SQL may not do, by whatever hand, and the one path that is allowed."""

import pytest

from atp.engine.database import Connection, WriteRefused
from atp.streams import queries
from atp.streams import store as tables
from atp.streams.model import Disclosure, SubjectKeyRow
from tests.conformance.engines import TENANT, Store
from tests.streams.making import new_record, new_records

REF = b"\xab" * 12
KEY = SubjectKeyRow(7, REF, b"wrapped")

EVERY_TABLE = (
    "records",
    "disclosures",
    "subject_keys",
    "explanations",
    "idempotency",
    "streams",
    "logs",
    "shards",
    "dictionaries",
    "tenant_keys",
)

REFUSED = {
    "a content is changed": "UPDATE records SET content = header",
    "a header is changed": "UPDATE records SET header = content WHERE position = 0",
    "a record is moved": "UPDATE records SET position = 99 WHERE position = 2",
    "a record is deleted": "DELETE FROM records WHERE position = 1",
    "every record is deleted": "DELETE FROM records",
    "a disclosure is changed": "UPDATE disclosures SET key_id = 8",
    "a disclosure is deleted": "DELETE FROM disclosures",
    "a subject's key is deleted": "DELETE FROM subject_keys",
    "a subject's key is given to another": "UPDATE subject_keys SET key_id = 8",
    "an explanation is changed": "UPDATE explanations SET explained_by = 0",
    "an explanation is deleted": "DELETE FROM explanations",
    "an idempotency key is given to another record": "UPDATE idempotency SET position = 2",
    "an idempotency key is deleted": "DELETE FROM idempotency",
    "a stream is renamed": "UPDATE streams SET name = 'other'",
    "a stream gets another number": "UPDATE streams SET stream_no = stream_no + 50",
    "a sealed stream is opened": "UPDATE streams SET state = 'active' WHERE state = 'sealed'",
    "a stream is deleted": "DELETE FROM streams",
    "a log shrinks": "UPDATE logs SET size = size - 1",
    "a log's clock goes back": "UPDATE logs SET recorded_us = recorded_us - 1",
    "a log's identity is changed": "UPDATE logs SET log_id = 'other'",
    "a log's origin is changed": "UPDATE logs SET origin = 'other' WHERE tenant = 'acme'",
    "a log is given to another tenant": "UPDATE logs SET tenant = 'other' WHERE tenant = 'acme'",
    "a log is deleted": "DELETE FROM logs",
    "a shard goes back": "UPDATE shards SET next_sequence = 0",
    "a shard is deleted": "DELETE FROM shards",
    "a dictionary is changed": "UPDATE dictionaries SET codec = 9",
    "a dictionary is deleted": "DELETE FROM dictionaries",
    "a tenant's key is deleted": "DELETE FROM tenant_keys",
    "a tenant's key is given to another": "UPDATE tenant_keys SET tenant_no = 9",
}


@pytest.fixture
def filled(store: Store) -> Store:
    """A store with at least one row in every guarded table."""
    disclosures = (Disclosure(7, b"box", KEY),)
    store.append([new_record("a", key="k", disclosures=disclosures), *new_records(3)])
    store.append(new_records(1, stream="document/closed"))

    def finish(connection: Connection) -> None:
        number = queries.log(connection, TENANT).tenant_no
        tables.explain(connection, number, "record:999", 3)
        tables.set_stream_state(connection, number, "document/closed", "sealed")

    store.database.write_now(finish)
    for table in EVERY_TABLE:
        assert _all(store, table), f"{table} is empty: nothing is shown about it"
    return store


def _all(store: Store, table: str) -> list:
    return sorted(store.database.read_now(lambda c: c.rows(f"SELECT * FROM {table}")), key=repr)


def _everything(store: Store) -> dict[str, list]:
    return {table: _all(store, table) for table in EVERY_TABLE}


def _refuses(store: Store, statement: str, before: dict[str, list]) -> str | None:
    """Return what is wrong when the database lets the statement pass or changes anything."""
    try:
        store.database.write_now(lambda connection: connection.execute(statement))
    except WriteRefused:
        verdict = None
    else:
        verdict = f"not refused: {statement}"
    return verdict if _everything(store) == before else f"changed something: {statement}"


def test_what_sql_may_not_do(filled: Store) -> None:
    """STR-04: the database refuses each of these, and nothing has changed."""
    before = _everything(filled)
    wrong = [f"{what}: {found}" for what, sql in REFUSED.items() if (found := _refuses(filled, sql, before))]
    assert not wrong, "\n".join(wrong)


def test_no_table_can_be_emptied_at_once(filled: Store) -> None:
    """STR-04: TRUNCATE asks no row trigger, so it has one of its own; SQLite knows only DELETE without WHERE."""
    before = _everything(filled)
    form = "DELETE FROM {}" if filled.database.dialect == "sqlite" else "TRUNCATE {} CASCADE"
    wrong = [found for table in EVERY_TABLE if (found := _refuses(filled, form.format(table), before))]
    assert not wrong, "\n".join(wrong)


# What a forger would overwrite, and the columns that make PostgreSQL see the same row.
OVERWRITTEN = {
    "records": ("content", "tenant_no, position"),
    "disclosures": ("box", "tenant_no, position, key_id"),
    "subject_keys": ("ref", "tenant_no, key_id"),
    "explanations": ("explained_by", "tenant_no, target"),
    "idempotency": ("position", "tenant_no, key"),
    "streams": ("created_us", "tenant_no, name"),
    "logs": ("size", "tenant_no"),
    "shards": ("next_stream", "shard"),
    "dictionaries": ("dictionary", "codec"),
    "tenant_keys": ("created_us", "tenant_no, purpose, version"),
}
PASSED_OVER = {"subject_keys", "explanations", "shards", "dictionaries"}
"""SQLite passes over the row in silence here, because the program inserts them ON CONFLICT DO NOTHING."""


@pytest.mark.parametrize("engine", ["sqlite"], indirect=True)
def test_no_row_can_be_replaced(filled: Store) -> None:
    """STR-04: SQLite's REPLACE deletes without asking the triggers for DELETE, so it is stopped before."""
    before = _everything(filled)
    wrong = []
    for table, (column, _) in OVERWRITTEN.items():
        value = "X'00'" if column in {"content", "box", "ref", "dictionary"} else "0"
        names = [name for (name,) in filled.database.read_now(
            lambda c, t=table: c.rows(f"SELECT name FROM pragma_table_info('{t}')")
        )]  # fmt: skip
        listed = ", ".join(value if name == column else name for name in names)
        found = _refuses(filled, f"INSERT OR REPLACE INTO {table} SELECT {listed} FROM {table}", before)
        if found and not (table in PASSED_OVER and found.startswith("not refused")):
            wrong.append(found)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("engine", ["postgresql"], indirect=True)
def test_no_row_can_be_overwritten_by_an_upsert(filled: Store) -> None:
    """STR-04: PostgreSQL's ON CONFLICT DO UPDATE meets the triggers for UPDATE."""
    before = _everything(filled)
    wrong = []
    for table, (column, keys) in OVERWRITTEN.items():
        value = "'forged'" if column in {"content", "box", "ref", "dictionary"} else "-1"
        upsert = f"ON CONFLICT ({keys}) DO UPDATE SET {column} = {value}"
        if found := _refuses(filled, f"INSERT INTO {table} SELECT * FROM {table} {upsert}", before):
            wrong.append(found)
    assert not wrong, "\n".join(wrong)


def test_a_record_goes_after_the_record_that_explains_it(filled: Store) -> None:
    """STR-04, INT-09: erasure and expiry first append why, then delete exactly what that covers."""
    number = filled.database.read_now(lambda c: queries.log(c, TENANT)).tenant_no

    def purge(connection: Connection, position: int) -> int:
        return connection.execute(
            "DELETE FROM records WHERE tenant_no = $1 AND position = $2", (number, position)
        )

    filled.database.write_now(lambda c: tables.explain(c, number, "record:1", 1_000))
    with pytest.raises(WriteRefused):  # The explaining record does not exist.
        filled.database.write_now(lambda c: purge(c, 1))
    why = filled.append([new_record("expired", stream="atp.retention/1")])[0]
    filled.database.write_now(lambda c: tables.explain(c, number, "record:2", why.position))
    with pytest.raises(WriteRefused):  # It explains another one.
        filled.database.write_now(lambda c: purge(c, 0))
    assert filled.database.write_now(lambda c: purge(c, 2)) == 1


def test_a_subjects_key_and_disclosures_go_after_the_record_that_explains_it(filled: Store) -> None:
    """STR-04, CLS-04: a key is destroyed after its explanation, and then the boxes under it may go too."""
    number = filled.database.read_now(lambda c: queries.log(c, TENANT)).tenant_no
    why = filled.append([new_record("erased", stream="atp.erasure/1")])[0]

    def erase(connection: Connection) -> int:
        tables.explain(connection, number, f"subject:{REF.hex()}", why.position)
        return tables.destroy_subject(connection, number, REF)

    assert filled.database.write_now(erase) == 1
    removed = filled.database.write_now(
        lambda c: c.execute("DELETE FROM disclosures WHERE tenant_no = $1 AND key_id = $2", (number, 7))
    )
    assert removed == 1


def test_a_disclosure_cannot_be_slipped_in_later(filled: Store) -> None:
    """STR-04: on SQLite a box comes with its record or not at all; on PostgreSQL its key (position, key) is taken."""
    with pytest.raises(WriteRefused):
        filled.database.write_now(
            lambda c: c.execute(
                "INSERT INTO disclosures(tenant_no, position, key_id, box) VALUES ($1, $2, $3, $4)",
                (1, 0, 7, b"forged"),
            )
        )


def test_what_may_change_can_change(filled: Store) -> None:
    """The guards let through what the program does: sealing, growing, rewrapping keys."""
    number = filled.database.read_now(lambda c: queries.log(c, TENANT)).tenant_no

    def change(connection: Connection) -> None:
        tables.set_stream_state(connection, number, "document/d1", "sealed")
        tables.set_stream_state(connection, number, "document/closed", "archived")
        tables.replace_subject_key(connection, number, 7, b"other wrapping")
        tables.replace_tenant_key(connection, number, "wrap", 1, b"other wrapping")

    filled.database.write_now(change)
    assert (number, "wrap", 1, b"other wrapping") in [row[:4] for row in _all(filled, "tenant_keys")]
