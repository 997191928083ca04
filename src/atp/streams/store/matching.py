"""Looking up many keys in one statement, in the form each engine does best.

A list of values goes in; out come the condition to put into the statement and its parameters, in pieces that an
engine can take.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from atp.engine.database import Connection

IN_CHUNK: Final = 256
"""Keys looked up by one statement on SQLite; lists are padded to this size so that few statements are prepared."""


def matching(connection: Connection, values: Sequence[Any]) -> Iterator[tuple[str, list[Any]]]:
    """Yield (condition on a column, its parameters from $2 on) until every value was asked for.

    PostgreSQL takes them all as one array. SQLite has no arrays: chunks of IN_CHUNK (or one), the last one
    filled up with repeats.
    """
    if not values:
        return
    if connection.dialect == "postgresql":
        yield "= ANY($2)", [list(values)]
    elif len(values) == 1:
        yield "= $2", list(values)
    else:
        marks = ",".join(f"${number}" for number in range(2, IN_CHUNK + 2))
        for start in range(0, len(values), IN_CHUNK):
            chunk = list(values[start : start + IN_CHUNK])
            yield f"IN ({marks})", chunk + [chunk[-1]] * (IN_CHUNK - len(chunk))
