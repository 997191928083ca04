"""The search model as a projection: rebuilt it is the same, and nothing sealed is in it."""

from pathlib import Path

from atp.engine.sqlite import SqliteDatabase
from atp.projections.jobs import ProjectionLoop
from atp.query.handlers import SearchProjection
from atp.query.model import Search
from atp.query.rules.language import parse
from atp.query.rules.words import folded, text_of, words
from atp.streams import rules
from tests.conformance.engines import OTHER, TENANT, Store, sqlite_database
from tests.query.conftest import Searched
from tests.query.records import content, record

__all__ = ["sqlite_database"]


def dump(model: SqliteDatabase) -> dict[str, list[tuple]]:
    """Return every row of the model; of the words, those that each term leads to."""
    model.write_now(
        lambda c: c.execute("CREATE VIRTUAL TABLE IF NOT EXISTS terms USING fts5vocab(words, instance)")
    )
    return model.read_now(
        lambda c: {
            table: c.rows(f"SELECT * FROM {table} ORDER BY {order}")
            for table, order in (
                ("shapes", "tenant_no, shape"),
                ("events", "tenant_no, position"),
                ("terms", "term, doc, offset"),
                ("projection_reached", "tenant_no"),
                ("projection_heads", "shard"),
            )
        }
    )


def fill(store: Store, step) -> None:
    for number in range(12):
        tenant = TENANT if number % 3 else OTHER
        store.append(
            [record(content(actor=f"u-{number % 4}", action=f"a.{number % 5}", payload={"n": number}))],
            tenant=tenant,
        )
        step()


def test_a_model_that_is_built_again_is_the_same(sqlite_database: SqliteDatabase, tmp_path: Path) -> None:
    """QRY-05: record by record or all at once, the rows are equal; the model may be deleted at any time."""
    store = Store(sqlite_database).open_tenants()
    projection = SearchProjection()
    one = SqliteDatabase(tmp_path / "one.db", schema=projection.schema("sqlite"))
    all_ = SqliteDatabase(tmp_path / "all.db", schema=projection.schema("sqlite"))
    incremental = ProjectionLoop(store.database, one, projection)
    fill(store, incremental.catch_up)
    ProjectionLoop(store.database, all_, projection).catch_up()
    rebuilt = dump(all_)
    assert dump(one) == rebuilt
    assert len(rebuilt["events"]) == 12
    assert len(rebuilt["terms"]) > 12
    one.close()
    all_.close()


def test_nothing_sealed_is_findable_or_in_the_files(sqlite_database: SqliteDatabase, tmp_path: Path) -> None:
    """CLS-05: neither the value nor its digest is in an index, and no byte of the value in the files."""
    store = Store(sqlite_database).open_tenants()
    opened, marker = rules.disclosure("/payload/note", "Zanzibar cinnamon")
    assert b"Zanzibar" in opened
    projection = SearchProjection()
    model = SqliteDatabase(tmp_path / "search.db", schema=projection.schema("sqlite"))
    searched = Searched(store, model)
    store.append([record(content(payload={"note": marker, "open": "Madagascar vanilla"}))])
    searched.loop.catch_up()
    digest = marker["~sealed"]
    for text in ("zanzibar", "cinnamon", "payload.note:Zanzibar*", "sealed", f'"{digest}"'):
        assert searched.positions(TENANT, Search(node=parse(text))) == [], text
    assert searched.positions(TENANT, Search(node=parse("vanilla payload.note:*"))) == [0]
    model.close()
    stored = b"".join(path.read_bytes() for path in tmp_path.glob("search.db*")).lower()
    assert b"vanilla" in stored
    assert b"cinnamon" not in stored
    assert digest.lower().encode() not in stored


def test_words_are_the_same_however_the_text_is_written() -> None:
    """QRY-02: the text of a record and the words of a search are folded alike, escapes and case included."""
    plain = 'C:\\Windows\\new "Ärger" line\nbreak\ttab ΣΑΣ straße_x ﬁ'
    raw = record(content(payload={"text": plain})).content
    assert " ".join(words(plain)) in " ".join(text_of(raw).split())
    assert folded(b'{"a":"x\\nnew"}').split() == ["a", "x", "new"]
