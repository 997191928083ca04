"""The words of classification: findings, facts of a walk, profiles, annotations.

Everything here is immutable and holds no value of an event: a finding says where something is and what it
is, never what it reads, because findings are stored in the clear inside hashed content (CLS-05).
"""

from __future__ import annotations

from typing import Literal

import msgspec

Confidence = Literal["high", "medium", "low"]
Method = Literal["seal", "mask", "hash", "drop", "none"]
Sensitivity = Literal["personal", "sensitive", "secret"]
Level = Literal["public", "internal", "personal", "sensitive", "secret"]

CONFIDENCE_RANK: dict[str, int] = {"low": 1, "medium": 2, "high": 3}
LEVEL_RANK: dict[str, int] = {"public": 0, "internal": 1, "personal": 2, "sensitive": 3, "secret": 4}
# The strongest method wins where several findings meet at one place: what is dropped cannot leak, what is
# sealed or hashed is not there in the clear, a mask still shows a part.
METHOD_RANK: dict[str, int] = {"none": 0, "mask": 1, "hash": 2, "seal": 3, "drop": 4}

LEVEL_OF_TYPE: dict[str, Sensitivity] = {
    "email": "personal",
    "phone": "personal",
    "ip_address": "personal",
    "mac_address": "personal",
    "person_name": "personal",
    "username": "personal",
    "street_address": "personal",
    "date_of_birth": "personal",
    "geo_location": "personal",
    "payment_card": "sensitive",
    "iban": "sensitive",
    "national_id": "sensitive",
    "passport": "sensitive",
    "access_key_id": "sensitive",
    "medical_record": "sensitive",
    "password": "secret",
    "jwt": "secret",
    "api_key": "secret",
    "cloud_credential": "secret",
    "private_key": "secret",
}


def level_of(kind: str) -> Sensitivity:
    """How sensitive a type is; a type that only a tenant's schema knows counts as personal."""
    return LEVEL_OF_TYPE.get(kind, "personal")


class Finding(msgspec.Struct, frozen=True, gc=False):
    """One thing found at one place: RFC 6901 pointer, type, how sure, which rule, and what is done."""

    pointer: str
    type: str
    confidence: Confidence
    rule: str
    level: Sensitivity
    method: Method = "none"

    def row(self) -> list[str]:
        """The five members stored in a record's content."""
        return [self.pointer, self.type, self.confidence, self.rule, self.method]


class Facts(msgspec.Struct, frozen=True, gc=False):
    """What classification learnt of an event's form on its way, so that ingestion needs no walk of its own.

    `max_depth` is exact beyond 32, where the event is refused; up to there it may be more than the depth.
    `problem` is an error code and the pointer of the offending place, or None: RESERVED_KEY for a key that
    begins with "~", INVALID_CHARACTER for NUL or a lone surrogate in a key or value. `has_exotic_key` says
    that a key is not ASCII, so sorting by code point and by UTF-16 code unit may differ.
    """

    keys: int
    has_float: bool
    has_exotic_key: bool
    max_depth: int
    problem: tuple[str, str] | None = None


class Classification(msgspec.Struct, frozen=True):
    """The verdict on one event: findings in the order found, the level they add up to, the facts."""

    findings: tuple[Finding, ...]
    level: Level
    facts: Facts

    def rows(self) -> list[list[str]]:
        """The findings as a record's content stores them."""
        return [finding.row() for finding in self.findings]


class Annotation(msgspec.Struct, frozen=True):
    """`x-atp-personal` of a tenant's schema: the type of what stands there, and perhaps a method.

    `subject` is the pointer of whose data it is, when that is not the actor; kept for the sealing side.
    """

    type: str
    method: Method | None = None
    subject: str | None = None


class Rule(msgspec.Struct, frozen=True):
    """One line of a profile; the first whose conditions all hold decides the method.

    `pointer` is an RFC 6901 pointer whose token `*` stands for any one token and a last `**` for any rest;
    None is everywhere. `always` makes it a finding of `type` even where no detector fires; such a rule
    needs a pointer and a type.
    """

    method: Method
    pointer: str | None = None
    type: str | None = None
    min_confidence: Confidence = "low"
    always: bool = False

    def __post_init__(self) -> None:
        if self.always and (self.pointer is None or self.type is None):
            raise ValueError("a rule that always holds needs a pointer and a type")


class Profile(msgspec.Struct, frozen=True):
    """What a tenant wants done with findings: ordered rules; what no rule meets is left alone."""

    name: str
    rules: tuple[Rule, ...]


DEFAULT_PROFILE = Profile(
    name="default",
    rules=(
        Rule("seal", pointer="/actor/name", type="person_name", always=True),
        Rule("seal", pointer="/actor/email", type="email", always=True),
        Rule("seal", pointer="/context/ip", type="ip_address", always=True),
        Rule("seal", min_confidence="medium"),
    ),
)
