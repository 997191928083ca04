"""From one event to its findings, each with what is done about it.

Order of sources: the profile's own places, the schema's annotations, field names, values. Where two say the
same type at one place, the surer one stays, then the earlier.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from atp.classification.model import (
    CONFIDENCE_RANK,
    DEFAULT_PROFILE,
    LEVEL_RANK,
    Annotation,
    Classification,
    Confidence,
    Facts,
    Finding,
    Level,
    Method,
    Profile,
    level_of,
)
from atp.classification.rules.detectors import TRIGGERS
from atp.classification.rules.pointers import matches, position, resolve
from atp.classification.rules.scan import Automaton
from atp.classification.rules.walk import Walk

# (pointer, type) → confidence, rule, method asked for by an annotation.
Sightings = dict[tuple[str, str], tuple[Confidence, str, Method | None]]

# The process's automaton, compiled on first use. Written by whichever thread comes first; a second one that
# compiles at the same moment makes an equal copy, and one of the two is dropped.
_automaton: Automaton | None = None


def automaton() -> Automaton:
    """The compiled triggers of all detectors; about 50 ms the first time."""
    global _automaton
    if _automaton is None:
        _automaton = Automaton([(trigger.pattern, trigger.caseless) for trigger in TRIGGERS])
    return _automaton


def classify(
    event: dict[str, Any],
    *,
    profile: Profile = DEFAULT_PROFILE,
    annotations: Mapping[str, Annotation] | None = None,
) -> Classification:
    """The findings, level and facts of one schema-valid event as decoded from JSON; changes nothing.

    `annotations` maps pointer patterns to what the tenant's schema says of them. Where `facts.problem` is
    set the event must be refused and the findings are incomplete.
    """
    walk = Walk(event)
    sightings: Sightings = {}
    _see_profile(event, profile, sightings)
    if annotations:
        _see_annotations(event, annotations, sightings)
    for pointer, rule in walk.fields:
        _see(sightings, pointer, rule.type, rule.confidence, rule.rule)
    _see_values(walk, sightings)
    facts = Facts(walk.keys, walk.floats, walk.exotic, walk.depth, walk.problem)
    if not sightings:
        return Classification((), "public", facts)
    findings = tuple(
        Finding(pointer, kind, confidence, rule, level_of(kind), decide(profile, pointer, kind, confidence, asked))
        for (pointer, kind), (confidence, rule, asked) in sorted(sightings.items())
    )
    return Classification(findings, _level(findings), facts)


def _see(
    sightings: Sightings, pointer: str, kind: str, confidence: Confidence, rule: str, method: Method | None = None
) -> None:
    known = sightings.get((pointer, kind))
    if known is None or CONFIDENCE_RANK[known[0]] < CONFIDENCE_RANK[confidence]:
        sightings[(pointer, kind)] = (confidence, rule, method)


def _see_profile(event: dict[str, Any], profile: Profile, sightings: Sightings) -> None:
    for rule in profile.rules:
        if rule.always:
            assert rule.pointer is not None and rule.type is not None
            for pointer, value in resolve(event, rule.pointer):
                if value is not None and value != "":
                    name = "profile" + pointer.replace("/", ".") if rule.pointer == pointer else "profile.rule"
                    _see(sightings, pointer, rule.type, "high", name)


def _see_annotations(event: dict[str, Any], annotations: Mapping[str, Annotation], sightings: Sightings) -> None:
    for pattern, annotation in annotations.items():
        for pointer, value in resolve(event, pattern):
            if value is not None and value != "":
                _see(sightings, pointer, annotation.type, "high", "schema.annotation", annotation.method)


def _see_values(walk: Walk, sightings: Sightings) -> None:
    """Scans the joined strings and lets the readers judge each string that a trigger fired in."""
    texts = walk.texts
    try:
        blob = ("\0".join(texts) + "\0").encode()
    except UnicodeEncodeError:
        walk.problem = walk.problem or ("INVALID_CHARACTER", _offender(walk))
        return
    if blob.count(b"\0") != len(texts):
        walk.problem = walk.problem or ("INVALID_CHARACTER", _offender(walk))
        return
    number, counted, done = 0, 0, None
    for end, trigger in (_automaton or automaton()).hits(blob):
        # The last byte of a match may be the NUL after its string: count only those before it.
        number += blob.count(b"\0", counted, end - 1)
        counted = max(counted, end - 1)
        reader = TRIGGERS[trigger].reader
        if done is None or done[0] != number:
            done = (number, {reader})
        elif reader in done[1]:
            continue
        done[1].add(reader)
        for kind, confidence, rule in reader(texts[number]):
            _see(sightings, walk.pointer_of(number), kind, confidence, rule)


def _offender(walk: Walk) -> str:
    for number, text in enumerate(walk.texts):
        if "\0" in text or any("\ud800" <= char <= "\udfff" for char in text):
            return walk.pointer_of(number)
    return ""


def decide(
    profile: Profile, pointer: str, kind: str, confidence: Confidence, asked: Method | None = None
) -> Method:
    """What is done about one finding.

    Nothing where the event says what happened and when; in identifiers a pseudonym stands for every other
    way of hiding, so that they stay strings and comparable. A profile's rule for a place outranks the
    schema's annotation, which outranks the profile's general rules.
    """
    ground = position(pointer)
    if ground == "unalterable":
        return "none"
    method = _by_profile(profile, pointer, kind, confidence, asked)
    return "hash" if ground == "identifier" and method != "none" else method


def _by_profile(profile: Profile, pointer: str, kind: str, confidence: Confidence, asked: Method | None) -> Method:
    rank = CONFIDENCE_RANK[confidence]
    for rule in profile.rules:
        if rule.pointer is None and asked is not None:
            return asked
        if (
            (rule.pointer is None or rule.pointer == pointer or matches(rule.pointer, pointer))
            and (rule.type is None or rule.type == kind)
            and rank >= CONFIDENCE_RANK[rule.min_confidence]
        ):
            return rule.method
    return asked or "none"


def _level(findings: tuple[Finding, ...]) -> Level:
    """The highest level of the findings; guesses of low confidence alone make an event internal."""
    level: Level = "internal"
    for finding in findings:
        if finding.confidence != "low" and LEVEL_RANK[finding.level] > LEVEL_RANK[level]:
            level = finding.level
    return level
