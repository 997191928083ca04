"""New records for tests, short and explicit."""

from atp.engine.codec import pack
from atp.kernel.hashing import hmac_sha256, sha256
from atp.streams.model import Disclosure, Idempotency, NewRecord


def new_record(
    text: str = "x",
    *,
    stream: str = "document/d1",
    key: str | None = None,
    expected: int | None = None,
    disclosures: tuple[Disclosure, ...] = (),
) -> NewRecord:
    """A record whose content is `{"text": …}`; with `key`, the content is what the idempotency key stands for."""
    content = b'{"text":"%b"}' % text.encode()
    use = None
    if key is not None:
        use = Idempotency(hmac_sha256(b"k", key.encode())[:16], hmac_sha256(b"e", content)[:16])
    return NewRecord(stream, content, sha256(content), pack(content), expected, use, disclosures)


def new_records(count: int, *, stream: str = "document/d1", text: str = "r") -> list[NewRecord]:
    return [new_record(f"{text}{number}", stream=stream) for number in range(count)]
