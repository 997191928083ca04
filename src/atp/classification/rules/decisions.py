"""What a profile decides: compiled once per profile, remembered per kind of finding.

In goes where something was found and what it is, out comes the finding with its method.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from atp.classification.model import (
    CONFIDENCE_RANK,
    Confidence,
    Finding,
    Level,
    Method,
    Profile,
    Rule,
    level_of,
)
from atp.classification.rules.field_names import key_facts
from atp.classification.rules.pointers import matches, position, tokens

# Findings differ only by place and rule, and producers repeat their places: so many are remembered per
# profile. They hold field names, never values.
REMEMBERED_FINDINGS_MAX = 4096

_DESCENDING: tuple[Level, ...] = ("secret", "sensitive", "personal")

Question = tuple[str, str, Confidence, str, Method | None]


class Decider:
    """A compiled profile. Shared by all threads: the memory only grows, by atomic steps, up to its limit."""

    def __init__(self, profile: Profile) -> None:
        self._rules = profile.rules
        self._known: dict[Question, Finding] = {}
        always = [rule for rule in profile.rules if rule.always and rule.pointer is not None]
        exact = [rule for rule in always if _is_member(rule)]
        self.patterns: tuple[Rule, ...] = tuple(rule for rule in always if not _is_member(rule))
        self.places = frozenset(rule.pointer or "" for rule in exact)
        self.members: tuple[tuple[str, str, Finding], ...] = tuple(
            (*_pair(rule), self.finding(rule.pointer or "", rule.type or "", "high", _place_rule(rule)))
            for rule in exact
        )
        self.tops = tuple(
            (
                top,
                tuple(
                    (key, 1 << number, key_facts(key).rule is not None)
                    for number, (parent, key, _) in enumerate(self.members)
                    if parent == top
                ),
            )
            for top in dict.fromkeys(top for top, _, _ in self.members)
        )
        """Per container of members: key, bit in the mask for `of_places`, whether the key itself announces its value."""
        self._of_places: dict[int, tuple[tuple[Finding, ...], Level]] = {}

    def of_places(self, filled: int) -> tuple[tuple[Finding, ...], Level]:
        """The findings of the profile's own members whose bits are set, and the level they add up to."""
        known = self._of_places.get(filled)
        if known is None:
            found: dict[tuple[str, str], Finding] = {}
            for number, (_, _, finding) in enumerate(self.members):
                if filled >> number & 1:
                    found[(finding.pointer, finding.type)] = finding
            findings = tuple(found.values())
            known = self._of_places[filled] = (findings, level(findings))
        return known

    def finding(
        self, pointer: str, kind: str, confidence: Confidence, rule: str, asked: Method | None = None
    ) -> Finding:
        """The finding with its method; `asked` is the method of a schema annotation."""
        question = (pointer, kind, confidence, rule, asked)
        finding = self._known.get(question)
        if finding is None:
            method = self.method(pointer, kind, confidence, asked)
            finding = Finding(pointer, kind, confidence, rule, level_of(kind), method)
            if len(self._known) < REMEMBERED_FINDINGS_MAX and len(pointer) < 256:
                self._known[question] = finding
        return finding

    def method(self, pointer: str, kind: str, confidence: Confidence, asked: Method | None = None) -> Method:
        """What is done about one finding.

        Nothing where the event says what happened and when; in identifiers a pseudonym stands for every
        other way of hiding, so that they stay strings and comparable. A profile's rule for a place outranks
        the schema's annotation, which outranks the profile's general rules.
        """
        ground = position(pointer)
        if ground == "unalterable":
            return "none"
        method = self._ruled(pointer, kind, confidence, asked)
        return "hash" if ground == "identifier" and method != "none" else method

    def _ruled(self, pointer: str, kind: str, confidence: Confidence, asked: Method | None) -> Method:
        rank = CONFIDENCE_RANK[confidence]
        for rule in self._rules:
            if rule.pointer is None and asked is not None:
                return asked
            if (
                (rule.pointer is None or matches(rule.pointer, pointer))
                and (rule.type is None or rule.type == kind)
                and rank >= CONFIDENCE_RANK[rule.min_confidence]
            ):
                return rule.method
        return asked or "none"


def level(findings: Iterable[Finding]) -> Level:
    """The highest level of findings; guesses of low confidence alone make an event internal, none leave it public."""
    known = list(findings)
    levels = {finding.level for finding in known if finding.confidence != "low"}
    for candidate in _DESCENDING:
        if candidate in levels:
            return candidate
    return "internal" if known else "public"


def _is_member(rule: Rule) -> bool:
    """Whether a place is a plain member of actor or context, the common case, found without a search."""
    parts = tokens(rule.pointer or "")
    return len(parts) == 2 and parts[0] in ("actor", "context") and parts[1] not in ("*", "**")


def _pair(rule: Rule) -> tuple[str, str]:
    top, key = tokens(rule.pointer or "")
    return top, key


def _place_rule(rule: Rule) -> str:
    return "profile" + (rule.pointer or "").replace("/", ".")


@lru_cache(maxsize=1024)
def _compiled(profile: Profile) -> Decider:
    return Decider(profile)


# The profile asked for last and its compiled form, because hashing a profile costs more than the rest of the
# question. One reference to an immutable pair: replaced in one step by any thread.
_last: tuple[Profile | None, Decider | None] = (None, None)


def decider(profile: Profile) -> Decider:
    """The compiled form of a profile; profiles are few and long-lived."""
    global _last  # noqa: PLW0603 - the memory is the point, and its owner is said above.
    known, compiled = _last
    if known is not profile or compiled is None:
        compiled = _compiled(profile)
        _last = (profile, compiled)
    return compiled
