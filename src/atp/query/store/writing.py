"""Writing the search model: many rows in few statements.

Rows come prepared from the projection, inside its transaction; nothing here is evidence, all can be made again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache

import msgspec

from atp.engine.database import Connection
from atp.kernel.hashing import sha256
from atp.query.store.schema import EVENT_COLUMNS, POSITION_BITS

Shape = tuple[str, str, str, str, str | None, str, str, str]
"""kind, type, actor's type, action, category, resource's type, outcome, level."""

SHAPES_CHUNK = 200
"""Shapes looked up by one statement."""
LEXEME_LENGTH_MAX = 255
"""Characters of a word in PostgreSQL's index, which refuses some 2,000 bytes; longer ones are cut here and in
`reading`, and the check on the record sees them whole."""


class Row(msgspec.Struct, frozen=True, gc=False):
    """What the model keeps of one record."""

    tenant_no: int
    position: int
    shape: Shape
    actor: int
    resource: int
    stream_no: int
    occurred_us: int
    recorded_us: int
    text: str


def insert(connection: Connection, rows: Sequence[Row]) -> None:
    """Insert the rows of records that are not there yet."""
    ordered = sorted(rows, key=lambda row: (row.tenant_no, row.position))
    numbers = _shape_numbers(connection, Counter((row.tenant_no, row.shape) for row in ordered))
    connection.insert(
        "events",
        EVENT_COLUMNS,
        [
            (
                row.tenant_no,
                row.position,
                numbers[row.tenant_no, row.shape],
                row.actor,
                row.resource,
                row.stream_no,
                row.occurred_us,
            )
            for row in ordered
        ],
    )
    connection.many(
        """INSERT INTO moments(tenant_no, recorded_us, position) VALUES ($1, $2, $3)
           ON CONFLICT DO NOTHING""",
        _moments(ordered),
    )
    if connection.dialect == "sqlite":
        connection.insert(
            "words",
            ("rowid", "text"),
            [(row.tenant_no << POSITION_BITS | row.position, row.text) for row in ordered],
        )
    else:
        connection.many(
            """INSERT INTO words(tenant_no, position, words)
               VALUES ($1, $2, array_to_tsvector(string_to_array($3, ' ')))""",
            [
                (
                    row.tenant_no,
                    row.position,
                    " ".join({word[:LEXEME_LENGTH_MAX] for word in row.text.split()}),
                )
                for row in ordered
            ],
        )


def _moments(ordered: Sequence[Row]) -> list[tuple[int, int, int]]:
    """Return the first position of each time of recording; rows are in order of tenant and position."""
    first: dict[tuple[int, int], int] = {}
    for row in ordered:
        first.setdefault((row.tenant_no, row.recorded_us), row.position)
    return [(tenant_no, recorded_us, position) for (tenant_no, recorded_us), position in first.items()]


@lru_cache(maxsize=20_000)
def _digest(shape: Shape) -> bytes:
    return sha256("\0".join("\1" if part is None else part for part in shape).encode())[:16]


def _shape_numbers(
    connection: Connection, counts: Counter[tuple[int, Shape]]
) -> dict[tuple[int, Shape], int]:
    """Return the number of each shape, giving numbers to new ones, and count their records."""
    numbers: dict[tuple[int, Shape], int] = {}
    for tenant_no in {tenant_no for tenant_no, _ in counts}:
        digests = {_digest(shape): shape for number, shape in counts if number == tenant_no}
        known = _known(connection, tenant_no, list(digests))
        row = connection.row("SELECT coalesce(max(shape), 0) FROM shapes WHERE tenant_no = $1", (tenant_no,))
        last = int(row[0]) if row else 0
        new, old = [], []
        for digest, shape in digests.items():
            count = counts[tenant_no, shape]
            number = known.get(digest)
            if number is None:
                last += 1
                number = last
                new.append((tenant_no, number, digest, count, *shape))
            else:
                old.append((count, tenant_no, number))
            numbers[tenant_no, shape] = number
        connection.many(
            """INSERT INTO shapes(tenant_no, shape, digest, records,
                 kind, type, actor_type, action, category, resource_type, outcome, level)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)""",
            new,
        )
        connection.many("UPDATE shapes SET records = records + $1 WHERE tenant_no = $2 AND shape = $3", old)
    return numbers


def _known(connection: Connection, tenant_no: int, digests: Sequence[bytes]) -> dict[bytes, int]:
    found: dict[bytes, int] = {}
    for start in range(0, len(digests), SHAPES_CHUNK):
        chunk = list(digests[start : start + SHAPES_CHUNK])
        chunk += [chunk[-1]] * (SHAPES_CHUNK - len(chunk))  # One statement, whatever the number.
        marks = ",".join(f"${number}" for number in range(2, SHAPES_CHUNK + 2))
        found.update(
            connection.rows(
                f"SELECT digest, shape FROM shapes WHERE tenant_no = $1 AND digest IN ({marks})",
                (tenant_no, *chunk),
            )
        )
    return {bytes(digest): number for digest, number in found.items()}
