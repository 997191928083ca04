"""Checking sealed values: every marker has its disclosure, or a record that explains why not.

Flows in: contents whose hash was verified, boxes, subject keys. Flows out: counts by state and findings. What is
decrypted never leaves this module.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
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
from atp.integrity.queries.shapes import shape
from atp.integrity.rules.texts import b64u_of
from atp.integrity.store import evidence
from atp.kernel.hashing import b64u, unb64u
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
_split_many = msgspec.json.Decoder(list[list[msgspec.Raw]]).decode
_disclosed = msgspec.json.Decoder(tuple[str, str, msgspec.Raw]).decode
_MISSING: Final = object()


_Opened = tuple[list[str], list[bytes]]
"""The digests of a box's disclosures, as text, and the disclosures."""


class Sealed(NamedTuple):
    """A record with what it may hold sealed: its content, that content's hash, and its boxes."""

    position: int
    id: bytes
    stream: str
    content: bytes
    content_hash: bytes
    boxes: Sequence[tuple[int, bytes]]


class _Parts(msgspec.Struct):
    """The parts of a content that can hold sealed values, and its classification.

    What is small and usually holds some is decoded at once, the rest when it is looked at: most bytes are payload
    without secrets.
    """

    classification: msgspec.Raw
    actor: dict[str, Any] = {}
    context: dict[str, Any] = {}
    action: msgspec.Raw = msgspec.Raw(b"null")
    resource: msgspec.Raw = msgspec.Raw(b"null")
    payload: msgspec.Raw = msgspec.Raw(b"null")
    correlation: msgspec.Raw = msgspec.Raw(b"null")


_parts = msgspec.json.Decoder(_Parts).decode


def _at(parts: _Parts, tokens: Sequence[str]) -> object:
    """Return the value at the tokens of a JSON pointer (RFC 6901), or one that equals nothing."""
    value = getattr(parts, tokens[0], _MISSING)
    if isinstance(value, msgspec.Raw):
        value = _decode(value)
    for token in tokens[1:]:
        if type(value) is dict:
            value = value.get(token, _MISSING)
        elif type(value) is list and token.isdigit() and int(token) < len(value):
            value = value[int(token)]
        else:
            return _MISSING
    return value


@lru_cache(maxsize=4096)
def _tokens(pointer: str) -> tuple[str, ...]:
    return tuple(token.replace("~1", "/").replace("~0", "~") for token in pointer.split("/")[1:]) or ("",)


def _pseudonyms(parts: _Parts, stream: str) -> dict[str, str]:
    """Return {pointer: stand-in} of the values that a pseudonym replaces, as the record's findings say."""
    found: dict[str, str] = {}
    for pointer, _, _, _, method in _decode(parts.classification)["findings"]:
        if method == "hash":
            value = stream if pointer == "/stream" else _at(parts, _tokens(pointer))
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

    @property
    def opens(self) -> bool:
        """Whether values are opened, and not only counted as withheld."""
        return self._vault is not None

    def restart(self, findings: Findings) -> None:
        """Begin a new count; what was opened stays open."""
        self._findings = findings
        self.counts = ValueCounts()

    def withhold(self, content: bytes) -> bool:
        """Count the sealed values of a content without opening them; False for a content that does not read."""
        self.counts.withheld += content.count(MARKER)
        if PSEUDONYM in content and HASHED in content:
            try:
                self.counts.withheld += len(_pseudonyms(_parts(content), ""))
            except (ValueError, LookupError, TypeError, RecursionError):
                return False
        return True

    def check(self, connection: Connection, records: Sequence[Sealed]) -> None:
        """Check the records of one chunk, together where they are as they should be, one by one where not."""
        if not records:
            return
        self._open_keys(connection, {key_id for record in records for key_id, _ in record.boxes})
        for record, opened in zip(records, self._open_together(records), strict=True):
            try:
                in_place = opened is not None and self._all_in_place(record, opened)
            except ValueError:  # No marker where one should be: the general way says what is wrong.
                in_place = False
            if not in_place:
                self._check_singly(connection, record)

    def _open_together(self, records: Sequence[Sealed]) -> Sequence[_Opened | None]:
        """Return the disclosures of records with one intact box each; None for every other record."""
        plain: list[bytes] = []
        places: list[int] = []
        for index, record in enumerate(records):
            if len(record.boxes) == 1:
                key_id, box = record.boxes[0]
                cipher = self._ciphers.get(key_id)
                if cipher is not None:
                    try:
                        plain.append(cipher.decrypt(box[:NONCE_SIZE], box[NONCE_SIZE:], record.content_hash))
                        places.append(index)
                    except (InvalidTag, ValueError):
                        continue
        opened: list[_Opened | None] = [None] * len(records)
        try:
            boxes = _split_many(b"[" + b",".join(plain) + b"]")
        except ValueError:
            return opened
        values = [bytes(raw) for raws in boxes for raw in raws]
        digests = b64u_of([sha256(value).digest() for value in values])
        at = 0
        for index, raws in zip(places, boxes, strict=True):
            end = at + len(raws)
            opened[index] = (digests[at:end], values[at:end])
            at = end
        return opened

    def _all_in_place(self, record: Sealed, opened: _Opened) -> bool:
        """Tell whether markers and disclosures are the same and each where its pointer says; count them then."""
        digests, values = opened
        # As many markers as disclosures, each of them found at a pointer of its own: nothing is left over.
        if record.content.count(MARKER) != len(digests) or HASHED in record.content:
            return False
        find = shape(tuple(map(_pointer, values)))
        if find is None or find(record.content) != tuple(digests):
            return False
        self.counts.verified += len(digests)
        return True

    def _check_singly(self, connection: Connection, record: Sealed) -> None:
        try:
            self._check_one(connection, record)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            self._find(record, "content_unreadable", "The content is not the JSON of a record.")

    def _check_one(self, connection: Connection, record: Sealed) -> None:
        expected = [piece[:_DIGEST].decode() for piece in record.content.split(MARKER)[1:]]
        parts = _parts(record.content)
        # Most records hold no pseudonym; without the name of the method there is no need to look for one.
        hashed = _pseudonyms(parts, record.stream) if HASHED in record.content else {}
        lost_keys = 0
        for key_id, box in record.boxes:
            opened = self._open(record, key_id, box)
            if opened is None:
                lost_keys += 1
                continue
            for raw in opened:
                self._bind(record, parts, expected, hashed, bytes(raw))
        absent = len(expected) + len(hashed)
        if absent:
            self._account_for(connection, record, parts, absent=absent, lost_keys=lost_keys)
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
        self, record: Sealed, parts: _Parts, expected: list[str], hashed: dict[str, str], opened: bytes
    ) -> None:
        """Match one disclosure with the marker or the pseudonym that stands in its place."""
        digest = b64u(sha256(opened).digest())
        _, pointer, value = _disclosed(opened)
        if digest in expected:
            expected.remove(digest)
            if _at(parts, _tokens(pointer)) == {"~sealed": digest}:
                self.counts.verified += 1
            else:
                message = "A disclosure names another place than its marker's."
                self._find(record, "disclosure_misplaced", message)
            return
        stand_in = hashed.get(pointer)
        if stand_in is not None and stand_in == self._stand_in(pointer, _decode(value)):
            del hashed[pointer]
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
        self, connection: Connection, record: Sealed, parts: _Parts, *, absent: int, lost_keys: int
    ) -> None:
        """Count absent values as erased where a record explains it, as missing (an alarm) where none does."""
        ref = _decode(parts.classification).get("subject")
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
    pointer = opened[_POINTER_AT : opened.find(b'"', _POINTER_AT)]
    if opened[_POINTER_AT - 3 : _POINTER_AT] == b'","' and b"\\" not in pointer:
        return pointer.decode()
    return _disclosed(opened)[1]
