"""How the search model is made: the projection that reads each record once, in the order of the feed.

Idempotent by the loop's checkpoint, which is committed with the rows. Nothing sealed is read: the content
holds only digests, and `rules.words` cuts even those out (CLS-05).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

import msgspec

from atp.engine.database import Connection, Dialect
from atp.kernel.clock import parse_rfc3339
from atp.projections.queries import SCHEMA as PROJECTION_SCHEMA
from atp.query.model import SEARCH
from atp.query.rules.words import folded
from atp.query.store import schema as tables
from atp.query.store.writing import Row, insert
from atp.streams.model import StoredRecord

_RECORDED_AT: Final = b'"recordedAt":"'

_key = lru_cache(maxsize=50_000)(tables.key)


class _Action(msgspec.Struct, gc=False):
    name: str
    category: str | None = None


class _Named(msgspec.Struct, gc=False):
    type: str
    id: str


class _Classification(msgspec.Struct, gc=False):
    level: str


class _Content(msgspec.Struct, gc=False):
    action: msgspec.Raw
    actor: msgspec.Raw
    classification: _Classification
    kind: str
    occurredAt: str  # noqa: N815 - the member's name in the record
    outcome: str
    resource: msgspec.Raw
    type: str
    context: msgspec.Raw = msgspec.Raw()
    correlation: msgspec.Raw = msgspec.Raw()
    payload: msgspec.Raw = msgspec.Raw()


@lru_cache(maxsize=10_000)
def _second_us(text: str) -> int:
    return parse_rfc3339(f"{text}Z")


def _microseconds(text: str) -> int:
    # Records are written with six digits and Z; most of a batch happened in the same few seconds.
    return _second_us(text[:19]) + int(text[20:26])


def _recorded_at(header: bytes) -> str:
    # Headers are canonical and written by us: no member before this one can hold its name.
    start = header.index(_RECORDED_AT) + len(_RECORDED_AT)
    return header[start : start + 27].decode("ascii")


_content = msgspec.json.Decoder(_Content).decode
_action = msgspec.json.Decoder(_Action).decode
_named = msgspec.json.Decoder(_Named).decode


class SearchProjection:
    """Fills the search model."""

    name = SEARCH

    def schema(self, dialect: Dialect) -> Sequence[str]:
        """Return the tables of the model and of its checkpoint."""
        return [*PROJECTION_SCHEMA, *tables.schema(dialect)]

    def prepare(self, record: StoredRecord) -> Row:
        """Return the record's row; an exception for a content that is not one of ours."""
        content = _content(record.content)
        action, actor, resource = _action(content.action), _named(content.actor), _named(content.resource)
        return Row(
            record.tenant_no,
            record.position,
            (
                content.kind,
                content.type,
                actor.type,
                action.name,
                action.category,
                resource.type,
                content.outcome,
                content.classification.level,
            ),
            _key(actor.id),
            _key(resource.id),
            record.stream_no,
            _microseconds(content.occurredAt),
            _microseconds(_recorded_at(record.header)),
            folded(
                b" ".join(
                    (
                        content.action,
                        content.actor,
                        content.context,
                        content.correlation,
                        content.payload,
                        content.resource,
                    )
                )
            ),
        )

    def apply(self, connection: Connection, prepared: Sequence[Row]) -> None:
        """Write the rows."""
        if prepared:
            insert(connection, prepared)
