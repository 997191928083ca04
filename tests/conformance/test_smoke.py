"""The shortest way through every engine: a thousand records in, the same thousand out."""

from atp.engine.codec import pack
from atp.kernel.hashing import sha256
from atp.streams import queries
from atp.streams.model import NewRecord
from tests.conformance.engines import Store


def test_a_thousand_records_come_back_as_they_went_in(store: Store) -> None:
    """STR-11: one suite, both engines."""
    contents = [b'{"n":%d}' % number for number in range(1000)]
    new = [NewRecord(f"document/d{n % 3}", c, sha256(c), pack(c)) for n, c in enumerate(contents)]
    assert [outcome.position for outcome in store.append(new)] == list(range(1000))
    read = store.database.read_now(lambda connection: queries.feed(connection, 0, 0, 2000))
    assert [record.content for record in read] == contents
