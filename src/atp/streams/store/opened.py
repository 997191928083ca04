"""Stored keys, opened: what a tenant's wrapping keys wrap, and what a data subject's key encrypts.

Both directions are here, because both are the reading of rows: commands seal with these, queries open with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from atp.engine.keys import KEY_SIZE, NONCE_SIZE, KeyUnavailable, Wrapper, derive
from atp.kernel.hashing import hmac_sha256
from atp.kernel.randomness import random_bytes
from atp.streams import rules
from atp.streams.model import Disclosure, Idempotency, SubjectKeyRow

DIGEST_SIZE: Final = 16
SUBJECT_REFS_MAX: Final = 20_000
"""References of subjects remembered by a vault: an HMAC for each event would cost more than a look-up."""


def subject_aad(tenant_no: int, key_id: int, ref: bytes) -> bytes:
    """Return what binds a wrapped subject key to its row."""
    return f"subject:{tenant_no}:{key_id}:{ref.hex()}".encode()


@dataclass(slots=True)
class SubjectKey:
    """The open key of one data subject. `stored` turns true once its row is known to be durable."""

    row: SubjectKeyRow
    aead: AESGCM
    stored: bool

    def box(self, disclosures: Sequence[bytes], content_hash: bytes) -> Disclosure:
        """Encrypt a record's disclosures; the content hash binds the box to its record."""
        nonce = random_bytes(NONCE_SIZE)
        sealed = self.aead.encrypt(nonce, rules.seal_box(disclosures), content_hash)
        return Disclosure(self.row.key_id, nonce + sealed, None if self.stored else self.row)

    def open(self, box: bytes, content_hash: bytes) -> bytes:
        """Return the box's plaintext; raises KeyUnavailable when box, key or record do not belong together."""
        return open_box(self.aead, box, content_hash)


def open_box(aead: AESGCM, box: bytes, content_hash: bytes) -> bytes:
    """Decrypt a disclosure box of the record with that content hash; raises KeyUnavailable."""
    try:
        return aead.decrypt(box[:NONCE_SIZE], box[NONCE_SIZE:], content_hash)
    except (InvalidTag, ValueError) as error:
        raise KeyUnavailable("the box was altered, or belongs to another record") from error


class TenantVault:
    """The keys of one tenant, open; immutable.

    State: `_subject_refs` remembers references already computed. Any thread may add to it; what two threads add
    for one subject is the same.
    """

    def __init__(self, tenant_no: int, wrappers: Sequence[Wrapper], index_secret: bytes) -> None:
        self.tenant_no = tenant_no
        self._wrappers = tuple(wrappers)
        self.subject_index_key = derive(index_secret, "subject index")
        self.pseudonym_key = derive(index_secret, "pseudonym")
        self._idempotency_key = derive(index_secret, "idempotency")
        self._subject_refs: dict[tuple[str, str], bytes] = {}

    def wrap(self, plain: bytes, aad: bytes) -> bytes:
        """Wrap under the tenant's current key."""
        return self._wrappers[-1].wrap(plain, aad)

    def unwrap(self, wrapped: bytes, aad: bytes) -> bytes:
        """Unwrap under whichever of the tenant's keys wrapped it; raises KeyUnavailable."""
        for wrapper in reversed(self._wrappers):
            if wrapped[1 : 1 + len(wrapper.key_id)] == wrapper.key_id:
                return wrapper.unwrap(wrapped, aad)
        raise KeyUnavailable("no key of this tenant wrapped it")

    def pseudonym(self, value: str) -> str:
        """Return the searchable stand-in of a personal identifier."""
        return rules.pseudonym(self.pseudonym_key, value)

    def subject_ref(self, actor_type: str, actor_id: str) -> bytes:
        """Return the reference under which the keys of a data subject are filed."""
        known = self._subject_refs.get((actor_type, actor_id))
        if known is None:
            if len(self._subject_refs) >= SUBJECT_REFS_MAX:
                self._subject_refs.clear()
            known = rules.subject_ref(self.subject_index_key, actor_type, actor_id)
            self._subject_refs[actor_type, actor_id] = known
        return known

    def idempotency(self, key: str, event: bytes) -> Idempotency:
        """Return the keyed digests of an idempotency key and of the event it was used for."""
        secret = self._idempotency_key
        return Idempotency(
            hmac_sha256(secret, b"key\0" + key.encode())[:DIGEST_SIZE],
            hmac_sha256(secret, b"event\0" + event)[:DIGEST_SIZE],
        )

    def open_subject(self, key_id: int, ref: bytes, wrapped: bytes) -> AESGCM:
        """Return the cipher of a stored subject key; raises KeyUnavailable."""
        return AESGCM(self.unwrap(wrapped, subject_aad(self.tenant_no, key_id, ref)))

    def new_subject(self, ref: bytes) -> SubjectKey:
        """Make a key for a data subject; it is stored with the first record that uses it."""
        key_id = int.from_bytes(random_bytes(8), "big") >> 1
        plain = AESGCM.generate_key(KEY_SIZE * 8)
        row = SubjectKeyRow(key_id, ref, self.wrap(plain, subject_aad(self.tenant_no, key_id, ref)))
        return SubjectKey(row, AESGCM(plain), stored=False)
