"""Reading the search model: one window of one access path, as a single statement.

A `Filter` is what the model can decide of a search; it errs towards too many rows, never too few. A path is
the index that a window is read through. Values travel as parameters only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from atp.engine.database import Connection, SqlValue
from atp.query.model import Both, Filter, Hit, Path, Phrase, Times, Window, WordNeed
from atp.query.store.schema import POSITION_BITS
from atp.query.store.writing import LEXEME_LENGTH_MAX, Shape

PROBE_ROWS: Final = 2_000
"""How far a path is looked into to learn how dense it is; about a fifth of a millisecond."""
SHAPES_MAX: Final = 20_000
"""Shapes of a tenant that are judged; with more of them (names made of ids) the shape decides nothing."""


@dataclass(slots=True)
class _Sql:
    """A statement being written: `bind` adds a value and returns its placeholder, so numbers come in order."""

    values: list[SqlValue] = field(default_factory=list)

    def bind(self, value: SqlValue) -> str:
        self.values.append(value)
        return f"${len(self.values)}"

    def among(self, values: frozenset[int]) -> str:
        return ",".join(self.bind(value) for value in sorted(values))


def shapes(connection: Connection, tenant_no: int) -> list[tuple[int, int, Shape]]:
    """Return (number, records, shape) of the tenant's shapes, at most one more than SHAPES_MAX."""
    rows = connection.rows(
        """SELECT shape, records, kind, type, actor_type, action, category, resource_type, outcome, level
           FROM shapes WHERE tenant_no = $1 LIMIT $2""",
        (tenant_no, SHAPES_MAX + 1),
    )
    return [(row[0], row[1], row[2:]) for row in rows]


def hits(connection: Connection, path: Path, wanted: Filter, window: Window, limit: int) -> list[Hit]:
    """Return the rows of a window that pass the filter, in order, at most `limit`."""
    sql = _Sql()
    text = _select(connection, path, wanted, window, sql, "e.position, e.occurred_us")
    order = "DESC" if window.newest_first else "ASC"
    by = (
        f"e.occurred_us {order}, e.position {order}"
        if window.times
        else f"{_place(connection, path)} {order}"
    )
    return connection.rows(f"{text} ORDER BY {by} LIMIT {sql.bind(limit)}", sql.values)


def existing(
    connection: Connection, tenant_no: int, column: Literal["actor", "resource"], keys: frozenset[int]
) -> frozenset[int]:
    """Return those keys that have records. One key left, as mostly, means rows that need no sorting."""
    sql = _Sql()
    index = _indexed(connection, column)
    text = " UNION ALL ".join(
        f"SELECT * FROM (SELECT e.{column} FROM events e{index} WHERE e.tenant_no = {sql.bind(tenant_no)} "
        f"AND e.{column} = {sql.bind(key)} LIMIT 1) AS k{number}"
        for number, key in enumerate(sorted(keys))
    )
    return frozenset(row[0] for row in connection.rows(text, sql.values)) if keys else frozenset()


def probe(connection: Connection, path: Path, wanted: Filter, window: Window) -> int | None:
    """Return the position of the PROBE_ROWS-th row of a path from where reading begins, None with fewer rows.

    Only the path's own condition counts here: what is measured is how much there is to read.
    """
    alone = Filter(
        tenant_no=wanted.tenant_no,
        shape=wanted.shape if path == "shape" else None,
        actor=wanted.actor if path == "actor" else None,
        resource=wanted.resource if path == "resource" else None,
        stream_no=wanted.stream_no if path == "stream_no" else None,
        words=wanted.words if path == "words" else None,
    )
    sql = _Sql()
    text = _select(connection, path, alone, window, sql, "e.position")
    order = "DESC" if window.newest_first else "ASC"
    row = connection.row(
        f"{text} ORDER BY {_place(connection, path)} {order} LIMIT 1 OFFSET {sql.bind(PROBE_ROWS - 1)}",
        sql.values,
    )
    return int(row[0]) if row else None


def position_at(connection: Connection, tenant_no: int, recorded_us: int) -> int | None:
    """Return the first position recorded at a time or later, None when there is none yet."""
    row = connection.row(
        """SELECT position FROM moments WHERE tenant_no = $1 AND recorded_us >= $2
           ORDER BY recorded_us LIMIT 1""",
        (tenant_no, recorded_us),
    )
    return int(row[0]) if row else None


def occurred_bounds(connection: Connection, tenant_no: int) -> tuple[int, int] | None:
    """Return the first and last time of occurrence, or None in an empty model."""
    row = connection.row(
        """SELECT (SELECT min(occurred_us) FROM events WHERE tenant_no = $1),
                  (SELECT max(occurred_us) FROM events WHERE tenant_no = $1)""",
        (tenant_no,),
    )
    return None if row is None or row[0] is None else (row[0], row[1])


def count(connection: Connection, tenant_no: int) -> int:
    """Return how many records the model holds of a tenant, by adding up its shapes."""
    row = connection.row("SELECT coalesce(sum(records), 0) FROM shapes WHERE tenant_no = $1", (tenant_no,))
    return int(row[0]) if row else 0


def _place(connection: Connection, path: Path) -> str:
    """Return the column that orders a path by position without sorting."""
    if path != "words":
        return "e.position"
    return "w.rowid" if connection.dialect == "sqlite" else "w.position"


def _select(
    connection: Connection, path: Path, wanted: Filter, window: Window, sql: _Sql, columns: str
) -> str:
    """Return the statement without order and limit.

    A unary plus keeps the planner of either engine from using a column's index: the path has been chosen.
    """
    tenant = wanted.tenant_no
    if path == "words":
        text = _words_source(connection, wanted, window, sql, columns)
        position = "+e.position"
    else:
        index = _indexed(connection, path)
        text = f"SELECT {columns} FROM events e{index} WHERE e.tenant_no = {sql.bind(tenant)}"
        position = "+e.position" if path == "occurred_us" else "e.position"
        text += f" AND {position} >= {sql.bind(window.first)} AND {position} <= {sql.bind(window.last)}"
    for name, values in (
        ("shape", wanted.shape),
        ("actor", wanted.actor),
        ("resource", wanted.resource),
        ("stream_no", wanted.stream_no),
    ):
        if values is not None:
            column = f"e.{name}" if name == path else f"+e.{name}"
            text += f" AND {column} IN ({sql.among(values)})"
    text += _occurred(path, wanted, window, sql)
    if window.after is not None:
        text += _behind(window, sql)
    return text


def _indexed(connection: Connection, path: Path) -> str:
    """Return SQLite's way of naming the index to use; PostgreSQL's planner has statistics to go by."""
    if path == "log" or connection.dialect != "sqlite":
        return ""
    return f" INDEXED BY events_{path.removesuffix('_no').removesuffix('_us')}"


def _occurred(path: Path, wanted: Filter, window: Window, sql: _Sql) -> str:
    column, text = "e.occurred_us" if path == "occurred_us" else "+e.occurred_us", ""
    for times in (wanted.occurred, window.times or Times()):
        if times.start is not None:
            text += f" AND {column} >= {sql.bind(times.start)}"
        if times.end is not None:
            text += f" AND {column} < {sql.bind(times.end)}"
    return text


def _behind(window: Window, sql: _Sql) -> str:
    after, sign = window.after, "<" if window.newest_first else ">"
    assert after is not None
    if after.occurred_us is None:
        return f" AND e.position {sign} {sql.bind(after.position)}"
    return f" AND (+e.occurred_us, e.position) {sign} ({sql.bind(after.occurred_us)}, {sql.bind(after.position)})"


def _words_source(connection: Connection, wanted: Filter, window: Window, sql: _Sql, columns: str) -> str:
    assert wanted.words is not None
    tenant = wanted.tenant_no
    if connection.dialect == "sqlite":
        offset = tenant << POSITION_BITS
        return (
            f"SELECT {columns} FROM words w CROSS JOIN events e "
            f"WHERE w.words MATCH {sql.bind(_fts5(wanted.words))} "
            f"AND w.rowid >= {sql.bind(offset + window.first)} AND w.rowid <= {sql.bind(offset + window.last)} "
            f"AND e.tenant_no = {sql.bind(tenant)} AND e.position = w.rowid - {sql.bind(offset)}"
        )
    return (
        f"SELECT {columns} FROM words w JOIN events e "
        f"ON e.tenant_no = w.tenant_no AND e.position = w.position "
        f"WHERE w.words @@ {sql.bind(_tsquery(wanted.words))}::tsquery "
        f"AND w.tenant_no = {sql.bind(tenant)} AND e.tenant_no = {sql.bind(tenant)} "
        f"AND w.position >= {sql.bind(window.first)} AND w.position <= {sql.bind(window.last)}"
    )


def _fts5(need: WordNeed) -> str:
    """Return the need in FTS5's query language; words are letters and digits only, so nothing needs escaping."""
    if isinstance(need, Phrase):
        return f'"{" ".join(need.words)}"{" *" if need.prefix else ""}'
    joint = " AND " if isinstance(need, Both) else " OR "
    return "(" + joint.join(map(_fts5, need.parts)) + ")"


def _tsquery(need: WordNeed) -> str:
    """Return the need as a tsquery. Places of words are not kept there: the check on the record sees to order."""
    if isinstance(need, Phrase):
        *whole, last = [word[:LEXEME_LENGTH_MAX] for word in need.words]
        return " & ".join([*(f"'{word}'" for word in whole), f"'{last}'{':*' if need.prefix else ''}"])
    joint = " & " if isinstance(need, Both) else " | "
    return "(" + joint.join(f"({_tsquery(part)})" for part in need.parts) + ")"


def paths(wanted: Filter) -> Sequence[Path]:
    """Return the indexes that a filter could be answered through, those that cost least a row first."""
    found: list[Path] = []
    if wanted.resource is not None:
        found.append("resource")
    if wanted.actor is not None:
        found.append("actor")
    if wanted.stream_no is not None:
        found.append("stream_no")
    if wanted.shape is not None:
        found.append("shape")
    if wanted.words is not None:
        found.append("words")
    return found
