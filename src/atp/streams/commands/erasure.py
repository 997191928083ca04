"""Erasing a data subject: first the record that says so, then the keys, then what they had encrypted (INT-09).

A subject's reference goes in, the record that explains every absence comes out; records themselves stay as they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from atp.engine.codec import unpack
from atp.engine.database import Connection
from atp.kernel.hashing import b64u
from atp.kernel.ids import TenantId
from atp.streams import store
from atp.streams.commands.ledger import Ledger
from atp.streams.model import Appended

DATA_SUBJECT_ERASED: Final = "data_subject.erased"
_MARKER: Final = b'{"~sealed":"'
_HASHED: Final = b',"hash"]'

_POSITIONS: Final = """SELECT d.position, r.content FROM disclosures d
    JOIN subject_keys k ON k.tenant_no = d.tenant_no AND k.key_id = d.key_id
    JOIN records r ON r.tenant_no = d.tenant_no AND r.position = d.position
    WHERE d.tenant_no = $1 AND k.ref = $2 ORDER BY d.position"""
_KEY_IDS: Final = "SELECT key_id FROM subject_keys WHERE tenant_no = $1 AND ref = $2"
_DISCARD: Final = "DELETE FROM disclosures WHERE tenant_no = $1 AND key_id = $2"


def erase_subject(
    connection: Connection,
    ledger: Ledger,
    tenant: TenantId,
    *,
    ref: bytes,
    reason: str,
    actor: Mapping[str, Any],
) -> Appended | None:
    """Destroy a subject's keys and disclosures; return the record that tells of it, None where nothing is held.

    The caller must then tell every `Sealer` to forget the subject, and no record that was sealed before may be
    appended after: it would come without a key.

    Crash argument: the explaining record, its explanation and the deletions are one transaction. A crash before
    its commit leaves the subject's values as they were; after it, none of them can be read again, and every
    absence is explained. Triggers refuse the deletions in any other order.
    """
    head = store.log_head(connection, tenant)
    if head is None:
        raise LookupError(f"tenant {tenant} has no log")
    number = head.tenant_no
    key_ids = [row[0] for row in connection.rows(_KEY_IDS, (number, ref))]
    if not key_ids:
        return None
    records = values = last = 0
    for position, packed in connection.stream(_POSITIONS, (number, ref)):
        content = unpack(packed)
        records, last = records + 1, position
        values += content.count(_MARKER) + content.count(_HASHED)
    name = b64u(ref)
    why = ledger.append_platform(
        connection,
        tenant,
        type=DATA_SUBJECT_ERASED,
        stream=f"data_subject/{name}",
        payload={
            "subjects": [name],
            "record_count": records,
            "value_count": values,
            "up_to_position": last,
            "reason": reason,
        },
        actor=actor,
    )
    store.explain(connection, number, f"subject:{ref.hex()}", why.position)
    store.destroy_subject(connection, number, ref)
    for key_id in key_ids:
        connection.execute(_DISCARD, (number, key_id))
    return why
