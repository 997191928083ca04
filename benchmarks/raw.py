"""The raw engines: the rows a server has just written, inserted again by the fastest plain loop we know.

Same schema (tables and indexes, without our triggers), same bytes, same durability (WAL and synchronous=FULL;
synchronous_commit=on), transactions of the size the server committed. Everything but inserting and committing is
done before the clock starts. A second rate has headers and contents uncompressed, because compressing is part of
what ATP does for its disk.
"""

from __future__ import annotations

import struct
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import apsw
import psycopg
from psycopg.types.numeric import Int8BinaryDumper

from atp.engine.codec import unpack
from benchmarks.server import TENANT

CHUNK: Final = 256
"""Rows of one multi-row INSERT; measured faster than executemany, whose every row is a step of its own."""
PACKED: Final = ("header", "content")
LOG_TABLES: Final = ("records", "disclosures")
"""Tables in the order of the log; of the others only what is new since the last reading is taken."""
OTHER_TABLES: Final = ("streams", "subject_keys")


@dataclass
class Rows:
    """What a server wrote in one run: per table its columns and rows."""

    columns: dict[str, list[str]]
    rows: dict[str, list[tuple[Any, ...]]]

    @property
    def events(self) -> int:
        return len(self.rows["records"])

    def unpacked(self) -> Rows:
        """Return the same with headers and contents as they were hashed."""
        names = self.columns["records"]
        packed = [names.index(name) for name in PACKED]
        plain = [
            tuple(unpack(value) if place in packed else value for place, value in enumerate(row))
            for row in self.rows["records"]
        ]
        return Rows(self.columns, self.rows | {"records": plain})

    def groups(self, size: int) -> list[dict[str, list[tuple[Any, ...]]]]:
        """Cut into transactions of `size` records; what the other tables hold is spread evenly."""
        count = max(1, round(self.events / size))
        return [
            {
                table: rows[len(rows) * number // count : len(rows) * (number + 1) // count]
                for table, rows in self.rows.items()
            }
            for number in range(count)
        ]


# -- SQLite ------------------------------------------------------------------------------------------------


class SqliteStore:
    """The store of an embedded server, read beside it."""

    def __init__(self, data: Path) -> None:
        self._path = data / "atp.db"
        self._raw = apsw.Connection(str(self._path), flags=apsw.SQLITE_OPEN_READONLY)
        self._seen: dict[str, set[Any]] = {table: set() for table in OTHER_TABLES}
        self.read_from(0)

    def commits(self) -> int:
        """Return how many transactions were ever committed: the change counter in the wal-index header.

        https://sqlite.org/walformat.html#the_wal_index_file_format, offset 8 of the -shm file.
        """
        with Path(f"{self._path}-shm").open("rb") as file:
            return int(struct.unpack_from("=I", file.read(12), 8)[0])

    def read_from(self, position: int) -> Rows:
        """Return what belongs to the tenant's records from `position` on."""
        ((number,),) = self._raw.execute("SELECT tenant_no FROM logs WHERE tenant = ?", (TENANT,)).fetchall()
        columns, rows = {}, {}
        for table in (*LOG_TABLES, *OTHER_TABLES):
            columns[table] = [row[1] for row in self._raw.execute(f"PRAGMA table_info({table})")]
            condition = "AND position >= ? ORDER BY position" if table in LOG_TABLES else "AND ? >= 0"
            found = self._raw.execute(
                f"SELECT * FROM {table} WHERE tenant_no = ? {condition}", (number, position)
            ).fetchall()
            if table in OTHER_TABLES:
                found = [row for row in found if row[:2] not in self._seen[table]]
                self._seen[table].update(row[:2] for row in found)
            rows[table] = found
        return Rows(columns, rows)

    def schema(self) -> list[str]:
        """Return the statements that made the four tables and their indexes."""
        tables = (*LOG_TABLES, *OTHER_TABLES)
        marks = ",".join("?" * len(tables))
        return [
            row[0]
            for row in self._raw.execute(
                f"SELECT sql FROM sqlite_master WHERE tbl_name IN ({marks}) AND type IN ('table', 'index') "
                "AND sql IS NOT NULL ORDER BY type DESC",
                tables,
            )
        ]

    def insert(self, rows: Rows, group: int) -> float:
        """Insert into a fresh file beside the store; return records a second."""
        with tempfile.TemporaryDirectory(prefix="raw-", dir=self._path.parent.parent) as folder:
            raw = apsw.Connection(str(Path(folder) / "raw.db"))
            for name, value in (("page_size", 4096), ("journal_mode", "wal"), ("synchronous", "full")):
                raw.pragma(name, value)
            raw.pragma("cache_size", -32 * 1024)
            raw.wal_autocheckpoint(8_000)
            for statement in self.schema():
                raw.execute(statement)
            work = [list(_statements(rows.columns, part)) for part in rows.groups(group)]
            begun = time.perf_counter()
            for statements in work:
                raw.execute("BEGIN IMMEDIATE")
                for sql, values in statements:
                    raw.execute(sql, values)
                raw.execute("COMMIT")
            seconds = time.perf_counter() - begun
            raw.close()
        return rows.events / seconds


def _statements(
    columns: dict[str, list[str]], part: dict[str, list[tuple[Any, ...]]]
) -> Iterator[tuple[str, list[Any]]]:
    for table, rows in part.items():
        names = columns[table]
        row = "(" + ",".join("?" * len(names)) + ")"
        start, size = 0, CHUNK
        while start < len(rows):
            while size > len(rows) - start:
                size //= 2
            sql = f"INSERT INTO {table}({','.join(names)}) VALUES {','.join([row] * size)}"
            yield sql, [value for row_ in rows[start : start + size] for value in row_]
            start += size


# -- PostgreSQL --------------------------------------------------------------------------------------------


class PostgresStore:
    """The database of servers on PostgreSQL; the raw rows go into a schema of their own in it."""

    def __init__(self, url: str) -> None:
        self._raw = psycopg.connect(url, autocommit=True)
        self._raw.adapters.register_dumper(int, Int8BinaryDumper)
        self._seen: dict[str, set[Any]] = {table: set() for table in OTHER_TABLES}
        self.read_from(0)

    def groups_from(self, position: int) -> int:
        """Return how many transactions wrote the tenant's records from `position` on."""
        row = self._raw.execute(
            """SELECT count(DISTINCT r.xmin::text) FROM records r JOIN logs USING (tenant_no)
               WHERE tenant = %s AND r.position >= %s""",
            (TENANT, position),
        ).fetchone()
        assert row
        return int(row[0])

    def read_from(self, position: int) -> Rows:
        """Return what belongs to the tenant's records from `position` on."""
        columns, rows = {}, {}
        for table in (*LOG_TABLES, *OTHER_TABLES):
            of_log = table in LOG_TABLES
            cursor = self._raw.cursor(binary=True)
            cursor.execute(
                f"SELECT t.* FROM {table} t JOIN logs USING (tenant_no) WHERE tenant = %s "
                + ("AND t.position >= %s ORDER BY t.position" if of_log else "AND %s >= 0"),
                (TENANT, position),
            )
            assert cursor.description
            columns[table] = [column.name for column in cursor.description]
            found = cursor.fetchall()
            if not of_log:
                found = [row for row in found if row[:2] not in self._seen[table]]
                self._seen[table].update(row[:2] for row in found)
            rows[table] = found
        return Rows(columns, rows)

    def insert(self, rows: Rows, group: int) -> float:
        """COPY into fresh tables of the same form; return records a second."""
        self._raw.execute("DROP SCHEMA IF EXISTS raw CASCADE")
        self._raw.execute("CREATE SCHEMA raw")
        self._raw.execute("SET synchronous_commit = 'on'")
        for table in rows.rows:
            self._raw.execute(f"CREATE TABLE raw.{table} (LIKE public.{table} INCLUDING ALL)")
        types = {table: self._types(table, rows.columns[table]) for table in rows.rows}
        work = rows.groups(group)
        self._raw.execute("CHECKPOINT")
        begun = time.perf_counter()
        for part in work:
            with self._raw.transaction():
                for table, found in part.items():
                    if found:
                        self._copy(table, rows.columns[table], types[table], found)
        seconds = time.perf_counter() - begun
        self._raw.execute("DROP SCHEMA raw CASCADE")
        return rows.events / seconds

    def _copy(
        self, table: str, columns: Sequence[str], types: Sequence[int], rows: Sequence[tuple[Any, ...]]
    ) -> None:
        statement = f"COPY raw.{table}({','.join(columns)}) FROM STDIN (FORMAT BINARY)"
        with self._raw.cursor().copy(statement.encode()) as copy:
            copy.set_types(types)
            for row in rows:
                copy.write_row(row)

    def _types(self, table: str, columns: Sequence[str]) -> list[int]:
        known: dict[str, int] = dict(
            self._raw.execute(
                "SELECT attname::text, atttypid::int8 FROM pg_attribute WHERE attrelid = %s::regclass",
                (f"raw.{table}",),
            ).fetchall()
        )
        return [known[column] for column in columns]

    def close(self) -> None:
        self._raw.close()
