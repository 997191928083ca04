"""Checking sealed values: every marker has its disclosure, or a record that explains why not.

Flows in: contents whose hash was verified, boxes, subject keys. Flows out: counts by state and findings. What is
decrypted never leaves this module.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Any, Final, NamedTuple

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from atp.engine.codec import CorruptValue, unpack
from atp.engine.database import Connection
from atp.engine.keys import NONCE_SIZE, KeyUnavailable
from atp.integrity.model import ValueCounts
from atp.integrity.queries.findings import Findings
from atp.integrity.store import evidence
from atp.kernel.hashing import b64u_bytes, unb64u
from atp.streams.commands import TenantVault
from atp.streams.model import RESERVED_PREFIX

CIPHERS_MAX: Final = 20_000
"""Subject keys held open (about 1 KiB each)."""
ERASURES_MAX: Final = 20_000
"""Erasures remembered."""
ERASURES_OF_ONE_MAX: Final = 1_000
"""Erasures of one subject that are looked at; each needs new events about it in between."""

MARKER: Final = b'{"~sealed":"'
"""How a marker begins in canonical JSON. Keys that begin with ~ are refused in events, and inside a string the
quotes would be escaped, so nothing else looks like it."""
_DIGEST: Final = 43
_POINTER_AT: Final = 27
PSEUDONYM: Final = b'"~hmac:'
HASHED: Final = b',"hash"]'
"""How a finding ends whose method replaces a value by its pseudonym."""
_decode = msgspec.json.decode
_split = msgspec.json.Decoder(list[msgspec.Raw]).decode
_disclosed = msgspec.json.Decoder(tuple[str, str, msgspec.Raw]).decode
_MISSING: Final = object()


class Sealed(NamedTuple):
    """A record with what it may hold sealed: its content, that content's hash, and its boxes."""

    position: int
    id: bytes
    stream: str
    content: bytes
    content_hash: bytes
    boxes: Sequence[tuple[int, bytes]]


class _Parts(msgspec.Struct):
    """The parts of a content that can hold sealed values, and its classification; not decoded yet."""

    classification: msgspec.Raw
    actor: msgspec.Raw = msgspec.Raw(b"null")
    action: msgspec.Raw = msgspec.Raw(b"null")
    resource: msgspec.Raw = msgspec.Raw(b"null")
    context: msgspec.Raw = msgspec.Raw(b"null")
    payload: msgspec.Raw = msgspec.Raw(b"null")
    correlation: msgspec.Raw = msgspec.Raw(b"null")


_parts = msgspec.json.Decoder(_Parts).decode


class _Content:
    """A content, of which only those parts are decoded that are looked at: most bytes are payload without secrets."""

    __slots__ = ("_decoded", "_raw")

    def __init__(self, raw: bytes) -> None:
        self._raw = _parts(raw)
        self._decoded: dict[str, Any] = {}

    def at(self, pointer: str) -> object:
        """Return the value at a JSON pointer (RFC 6901), or a value that equals nothing."""
        _, root, *tokens = pointer.split("/")
        value = self._decoded.get(root)
        if value is None:
            raw = getattr(self._raw, root, None)
            if raw is None:
                return _MISSING
            value = self._decoded[root] = _decode(raw)
        for token in tokens:
            if "~" in token:
                token = token.replace("~1", "/").replace("~0", "~")  # noqa: PLW2901 - the token as it is meant.
            if type(value) is dict:
                value = value.get(token, _MISSING)
            elif type(value) is list and token.isdigit() and int(token) < len(value):
                value = value[int(token)]
            else:
                return _MISSING
        return value

    def subject(self) -> object:
        """Return the reference of the data subject whose key sealed the values."""
        return _decode(self._raw.classification).get("subject")

    def pseudonyms(self, stream: str) -> dict[str, str]:
        """Return {pointer: stand-in} of the values that a pseudonym replaces, as the record's findings say."""
        found: dict[str, str] = {}
        for pointer, _, _, _, method in _decode(self._raw.classification)["findings"]:
            if method == "hash":
                value = stream if pointer == "/stream" else self.at(pointer)
                if isinstance(value, str) and "~hmac:" in value:
                    found[pointer] = value
        return found


class ValueChecker:
    """Checks the sealed values of one tenant; state: two bounded caches and the counts."""

    def __init__(self, tenant_no: int, vault: TenantVault | None, findings: Findings) -> None:
        """Without a vault nothing can be opened: values are counted as withheld."""
        self._tenant_no = tenant_no
        self._vault = vault
        self._findings = findings
        self._ciphers: dict[int, AESGCM | None] = {}
        self._erasures: dict[str, int] = {}
        self.counts = ValueCounts()

    def restart(self, findings: Findings) -> None:
        """Begin a new count; what was opened stays open."""
        self._findings = findings
        self.counts = ValueCounts()

    def withhold(self, content: bytes) -> None:
        """Count the sealed values of a content without opening them."""
        self.counts.withheld += content.count(MARKER)
        if PSEUDONYM in content and HASHED in content:
            self.counts.withheld += len(_Content(content).pseudonyms(""))

    def check(self, connection: Connection, records: Sequence[Sealed]) -> None:
        """Check records of one chunk."""
        if self._vault is None:
            for record in records:
                self.withhold(record.content)
            return
        self._open_keys(connection, {key_id for record in records for key_id, _ in record.boxes})
        for record in records:
            try:
                self._check_one(connection, record)
            except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
                self._find(record, "content_unreadable", "The content is not the JSON of a record.")

    def _check_one(self, connection: Connection, record: Sealed) -> None:
        expected = [piece[:_DIGEST] for piece in record.content.split(MARKER)[1:]]
        content = _Content(record.content)
        # Most records hold no pseudonym; without the name of the method there is no need to look for one.
        hashed = content.pseudonyms(record.stream) if HASHED in record.content else {}
        lost_keys = 0
        for key_id, box in record.boxes:
            opened = self._open(record, key_id, box)
            if opened is None:
                lost_keys += 1
                continue
            for raw in opened:
                self._bind(record, content, expected, hashed, bytes(raw))
        absent = len(expected) + len(hashed)
        if absent:
            self._account_for(connection, record, content, absent=absent, lost_keys=lost_keys)
        elif lost_keys:
            self._find(record, "disclosure_unexplained", "There are disclosures here without a sealed value.")

    def _open(self, record: Sealed, key_id: int, box: bytes) -> list[msgspec.Raw] | None:
        """Return the disclosures in a box; None where the key is gone."""
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            return None
        try:
            return _split(cipher.decrypt(box[:NONCE_SIZE], box[NONCE_SIZE:], record.content_hash))
        except (InvalidTag, ValueError, TypeError):
            self._find(record, "disclosure_damaged", "A disclosure box does not open with its subject's key.")
            return []

    def _bind(
        self, record: Sealed, content: _Content, expected: list[bytes], hashed: dict[str, str], opened: bytes
    ) -> None:
        """Match one disclosure with the marker or the pseudonym that stands in its place."""
        digest = b64u_bytes(sha256(opened).digest())
        if digest in expected:
            expected.remove(digest)
            if content.at(_pointer(opened)) == {"~sealed": digest.decode()}:
                self.counts.verified += 1
            else:
                message = "A disclosure names another place than its marker's."
                self._find(record, "disclosure_misplaced", message)
            return
        _, pointer, value = _disclosed(opened)
        stand_in = hashed.pop(pointer, None)
        if stand_in is not None and stand_in == self._stand_in(pointer, _decode(value)):
            self.counts.verified += 1
            return
        self._find(record, "disclosure_unexplained", "A disclosure matches no sealed value of its record.")

    def _stand_in(self, pointer: str, value: object) -> str:
        assert self._vault is not None
        text = str(value)
        kind, slash, subject = text.partition("/")
        if pointer == "/stream" and slash:
            return kind + slash + self._vault.pseudonym(subject)
        return self._vault.pseudonym(text)

    def _account_for(
        self, connection: Connection, record: Sealed, content: _Content, *, absent: int, lost_keys: int
    ) -> None:
        """Count absent values as erased where a record explains it, as missing (an alarm) where none does."""
        ref = content.subject()
        gone = lost_keys > 0 or not record.boxes
        if gone and isinstance(ref, str) and record.position <= self._erased_up_to(connection, ref):
            self.counts.erased += absent
            return
        self.counts.missing += absent
        message = (
            f"{absent} sealed value{'s are' if absent > 1 else ' is'} missing and no record explains it."
        )
        self._find(record, "value_missing", message)

    def _erased_up_to(self, connection: Connection, ref: str) -> int:
        """Return the last position that the erasure of a subject covers, -1 if no record tells of one."""
        if (known := self._erasures.get(ref)) is not None:
            return known
        if len(self._erasures) >= ERASURES_MAX:
            self._erasures.clear()
        reach = self._erasures[ref] = erasure_reach(connection, self._tenant_no, ref)
        return reach

    def _open_keys(self, connection: Connection, wanted: set[int]) -> None:
        unknown = [key_id for key_id in wanted if key_id not in self._ciphers]
        if not unknown:
            return
        assert self._vault is not None
        if len(self._ciphers) + len(unknown) > CIPHERS_MAX:
            self._ciphers.clear()
            unknown = list(wanted)
        stored = evidence.subject_keys(connection, self._tenant_no, unknown)
        for key_id in unknown:
            self._ciphers[key_id] = None
            if key_id not in stored:
                continue
            ref, wrapped = stored[key_id]
            try:
                self._ciphers[key_id] = self._vault.open_subject(key_id, ref, wrapped)
            except (KeyUnavailable, TypeError):
                self._findings.add(
                    "subject_key_damaged", "A subject's key does not open; its values are lost."
                )

    def _find(self, record: Sealed, kind: str, message: str) -> None:
        self._findings.add(kind, message, position=record.position, id=record.id, stream=record.stream)


def erasure_reach(connection: Connection, tenant_no: int, ref: str) -> int:
    """Return the last position that recorded erasures of a subject cover, -1 if there is none.

    The records count, not the table of explanations: that one is not under the tree and only says where to look.
    """
    rows: list[tuple[Any, ...]] = []
    name = f"{RESERVED_PREFIX}data_subject/{ref}"
    if (stream := evidence.streams(connection, tenant_no, [name]).get(name)) is not None:
        rows += evidence.stream_rows(connection, tenant_no, stream[0], after=0, limit=ERASURES_OF_ONE_MAX)
    try:
        explained_by = evidence.explanation(connection, tenant_no, f"subject:{unb64u(ref).hex()}")
    except ValueError:
        explained_by = None
    if explained_by is not None:
        rows += evidence.rows(connection, tenant_no, start=explained_by, end=explained_by + 1)
    return max((_reach(row[9], ref) for row in rows), default=-1)


def _reach(packed: bytes, ref: str) -> int:
    try:
        content = _decode(unpack(packed))
        payload = content["payload"]
        if (
            content["kind"] == "platform"
            and content["type"] == "data_subject.erased"
            and ref in payload["subjects"]
        ):
            return int(payload["up_to_position"])
    except (LookupError, ValueError, TypeError, CorruptValue):
        pass
    return -1


def _pointer(opened: bytes) -> str:
    """Return the pointer of a disclosure, the canonical array [salt, pointer, value] with a salt of 22 characters."""
    end = opened.find(b'"', _POINTER_AT)
    if opened[_POINTER_AT - 3 : _POINTER_AT] == b'","' and b"\\" not in opened[_POINTER_AT:end]:
        return opened[_POINTER_AT:end].decode()
    return _disclosed(opened)[1]
