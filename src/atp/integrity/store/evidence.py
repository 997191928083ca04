"""What verification reads: the rows of the record store as they lie there, undecoded.

These statements are the one exception to the rule that a table is read by its owner only: whoever checks the
books reads them himself, and trusts neither the code that wrote them nor the code that usually reads them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from atp.engine.database import Connection

PAIRS = 128
"""Predecessors looked up by one statement; the last one is filled up with repeats, so one form is prepared."""
NAMES = 256


class Row(NamedTuple):
    """A record's row. `indexed` is the position that the index told, `position` the one in the row itself."""

    indexed: int
    shard: int
    sequence: int
    tenant_no: int
    position: int
    stream_no: int
    version: int
    id: bytes
    header: bytes
    content: bytes


_ROW = "t.position, t.shard, t.sequence, t.tenant_no, t.position, t.stream_no, t.version, t.id, t.header, t.content"
# SQLite takes indexed columns from the index; joining the table with itself makes it read the row.
_SQLITE_ROW = _ROW.replace("t.position", "i.position", 1)
_SQLITE_FROM = "FROM records i CROSS JOIN records t ON t.sequence = i.sequence"


def _select(connection: Connection, where: str) -> str:
    if connection.dialect == "sqlite":
        return f"SELECT {_SQLITE_ROW} {_SQLITE_FROM} WHERE i.tenant_no = $1 AND {where.replace('t.', 'i.')}"
    return f"SELECT {_ROW} FROM records t WHERE t.tenant_no = $1 AND {where}"


def rows(connection: Connection, tenant_no: int, *, start: int, end: int) -> list[tuple[Any, ...]]:
    """Return rows in the form of `Row` with start <= position < end, in that order."""
    where = "t.position >= $2 AND t.position < $3 ORDER BY t.position"
    return connection.rows(_select(connection, where), (tenant_no, start, end))


def stream_rows(
    connection: Connection, tenant_no: int, stream_no: int, *, after: int, limit: int
) -> list[tuple[Any, ...]]:
    """Return rows in the form of `Row` of one stream behind version `after`, in order."""
    where = "t.stream_no = $2 AND t.version > $3 ORDER BY t.version LIMIT $4"
    return connection.rows(_select(connection, where), (tenant_no, stream_no, after, limit))


def position_of(connection: Connection, tenant_no: int, id_: bytes) -> int | None:
    """Return where the record with an id stands."""
    row = connection.row("SELECT position FROM records WHERE tenant_no = $1 AND id = $2", (tenant_no, id_))
    return row[0] if row else None


def beyond(connection: Connection, tenant_no: int, size: int) -> int | None:
    """Return the first position at or behind `size` that has a record."""
    row = connection.row(
        "SELECT position FROM records WHERE tenant_no = $1 AND position >= $2 ORDER BY position LIMIT 1",
        (tenant_no, size),
    )
    return row[0] if row else None


def last_before(connection: Connection, tenant_no: int, end: int) -> int:
    """Return the last position below `end` that has a record, -1 without one."""
    row = connection.row(
        """SELECT position FROM records WHERE tenant_no = $1 AND position >= 0 AND position < $2
           ORDER BY position DESC LIMIT 1""",
        (tenant_no, end),
    )
    return row[0] if row else -1


def before_first(connection: Connection, tenant_no: int) -> int | None:
    """Return a position below 0, where no record may be."""
    row = connection.row(
        "SELECT position FROM records WHERE tenant_no = $1 AND position < 0 LIMIT 1", (tenant_no,)
    )
    return row[0] if row else None


def predecessors(
    connection: Connection, tenant_no: int, wanted: Sequence[tuple[int, int]]
) -> dict[tuple[int, int], bytes]:
    """Return {(stream number, version): stored header} of those records that exist."""
    found: dict[tuple[int, int], bytes] = {}
    for start in range(0, len(wanted), PAIRS):
        chunk = list(wanted[start : start + PAIRS])
        chunk += [chunk[-1]] * (PAIRS - len(chunk))
        marks = ",".join(f"(${2 * n + 1},${2 * n + 2})" for n in range(PAIRS))
        for stream_no, version, header in connection.rows(
            f"""WITH wanted(stream_no, version) AS (VALUES {marks})
                SELECT r.stream_no, r.version, r.header FROM wanted w CROSS JOIN records r
                WHERE r.tenant_no = ${2 * PAIRS + 1} AND r.stream_no = w.stream_no AND r.version = w.version""",
            (*(number for pair in chunk for number in pair), tenant_no),
        ):
            found[stream_no, version] = header
    return found


def streams(connection: Connection, tenant_no: int, names: Sequence[str]) -> dict[str, tuple[int, str, int]]:
    """Return {name: (stream number, state, created)} of those streams that exist."""
    found: dict[str, tuple[int, str, int]] = {}
    for start in range(0, len(names), NAMES):
        chunk = list(names[start : start + NAMES])
        chunk += [chunk[-1]] * (NAMES - len(chunk))
        marks = ",".join(f"${n + 2}" for n in range(NAMES))
        for name, *rest in connection.rows(
            f"SELECT name, stream_no, state, created_us FROM streams WHERE tenant_no = $1 AND name IN ({marks})",
            (tenant_no, *chunk),
        ):
            found[name] = (rest[0], rest[1], rest[2])
    return found


def closed_streams(connection: Connection, tenant_no: int) -> Iterator[tuple[str, int, str]]:
    """Yield (name, stream number, state) of every stream that is not active."""
    return connection.stream(
        "SELECT name, stream_no, state FROM streams WHERE tenant_no = $1 AND state <> 'active' ORDER BY name",
        (tenant_no,),
    )


def last_version(connection: Connection, tenant_no: int, stream_no: int) -> int:
    """Return the greatest version of a stream, 0 for an empty one."""
    row = connection.row(
        "SELECT coalesce(max(version), 0) FROM records WHERE tenant_no = $1 AND stream_no = $2",
        (tenant_no, stream_no),
    )
    return int(row[0]) if row else 0


def stream_headers(connection: Connection, tenant_no: int, stream_no: int) -> Iterator[bytes]:
    """Yield the stored headers of a stream in order of version."""
    for (header,) in connection.stream(
        "SELECT header FROM records WHERE tenant_no = $1 AND stream_no = $2 ORDER BY version",
        (tenant_no, stream_no),
    ):
        yield header


def boxes(connection: Connection, tenant_no: int, *, start: int, end: int) -> list[tuple[int, int, bytes]]:
    """Return (position, key id, box) of disclosures with start <= position < end."""
    return connection.rows(
        """SELECT position, key_id, box FROM disclosures
           WHERE tenant_no = $1 AND position >= $2 AND position < $3 ORDER BY position""",
        (tenant_no, start, end),
    )


def boxes_at(
    connection: Connection, tenant_no: int, positions: Sequence[int]
) -> list[tuple[int, int, bytes]]:
    """Return (position, key id, box) of the disclosures of those records."""
    found: list[tuple[int, int, bytes]] = []
    for position in positions:
        found += boxes(connection, tenant_no, start=position, end=position + 1)
    return found


def stray_boxes(connection: Connection, tenant_no: int, size: int) -> list[int]:
    """Return positions outside the log that disclosures claim to belong to."""
    return [
        row[0]
        for row in connection.rows(
            """SELECT position FROM disclosures
               WHERE tenant_no = $1 AND (position < 0 OR position >= $2) ORDER BY position LIMIT 100""",
            (tenant_no, size),
        )
    ]


def subject_keys(
    connection: Connection, tenant_no: int, key_ids: Sequence[int]
) -> dict[int, tuple[bytes, bytes]]:
    """Return {key id: (subject ref, wrapped key)}."""
    found: dict[int, tuple[bytes, bytes]] = {}
    for start in range(0, len(key_ids), NAMES):
        chunk = list(key_ids[start : start + NAMES])
        chunk += [chunk[-1]] * (NAMES - len(chunk))
        marks = ",".join(f"${n + 2}" for n in range(NAMES))
        for key_id, ref, wrapped in connection.rows(
            f"SELECT key_id, ref, wrapped FROM subject_keys WHERE tenant_no = $1 AND key_id IN ({marks})",
            (tenant_no, *chunk),
        ):
            found[key_id] = (ref, wrapped)
    return found


def explanation(connection: Connection, tenant_no: int, target: str) -> int | None:
    """Return the position of the record that explains the absence of `target`."""
    row = connection.row(
        "SELECT explained_by FROM explanations WHERE tenant_no = $1 AND target = $2", (tenant_no, target)
    )
    return row[0] if row else None


def explanations(connection: Connection, tenant_no: int) -> Iterator[tuple[str, int]]:
    """Yield (target, position of the explaining record) of every absence explained."""
    return connection.stream(
        "SELECT target, explained_by FROM explanations WHERE tenant_no = $1 ORDER BY target", (tenant_no,)
    )


def bundles(connection: Connection, tenant_no: int, *, start: int, end: int) -> dict[int, bytes]:
    """Return {index: entries} of the entry bundles with start <= index < end."""
    return dict(
        connection.rows(
            """SELECT idx, hashes FROM tiles
               WHERE tenant_no = $1 AND level = -1 AND idx >= $2 AND idx < $3 ORDER BY idx""",
            (tenant_no, start, end),
        )
    )


def tile_extent(connection: Connection, tenant_no: int) -> dict[int, tuple[int, int, int]]:
    """Return {level: (tiles, least index, greatest index)} of what is stored."""
    return {
        level: (count, least, greatest)
        for level, count, least, greatest in connection.rows(
            """SELECT level, count(*), min(idx), max(idx) FROM tiles WHERE tenant_no = $1 GROUP BY level""",
            (tenant_no,),
        )
    }


def dictionary(connection: Connection, codec: int) -> bytes | None:
    """Return the stored copy of a codec's dictionary."""
    row = connection.row("SELECT dictionary FROM dictionaries WHERE codec = $1", (codec,))
    return row[0] if row else None


def next_sequence(connection: Connection, shard: int) -> int:
    """Return the sequence that the shard's next record will get."""
    row = connection.row("SELECT next_sequence FROM shards WHERE shard = $1", (shard,))
    return row[0] if row else 0
