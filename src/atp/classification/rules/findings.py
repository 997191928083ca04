"""From one event to its findings, each with what is done about it.

Order of sources: the profile's own places, the schema's annotations, field names, values. Where two say the
same type at one place, the surer one stays, then the earlier.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from atp.classification.model import (
    CONFIDENCE_RANK,
    DEFAULT_PROFILE,
    Annotation,
    Classification,
    Facts,
    Finding,
    Profile,
)
from atp.classification.rules.decisions import Decider, decider, level
from atp.classification.rules.detectors import TRIGGERS, Sighting
from atp.classification.rules.pointers import resolve
from atp.classification.rules.scan import Automaton
from atp.classification.rules.screen import Sightings, glance
from atp.classification.rules.walk import Walk, spots, walk

# By (pointer, type), so that one place holds one finding of a type.
Found = dict[tuple[str, str], Finding]

# The process's automaton, compiled on first use. Written by whichever thread comes first; a second one that
# compiles at the same moment makes an equal copy, and one of the two is dropped.
_automaton: Automaton | None = None


def automaton() -> Automaton:
    """The compiled triggers of all detectors; about 0.2 s the first time, with the interpreter lock released."""
    global _automaton  # noqa: PLW0603 - compiled once per process, see above.
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
    verdict = decider(profile)
    seen = glance(event, verdict)
    if seen.facts is not None and not (seen.sighted or annotations or verdict.patterns):
        findings, highest = verdict.of_places(seen.filled)
        return Classification(findings, highest, seen.facts)
    found: Found = {}
    _find_places(event, verdict, found)
    if annotations:
        _find_annotated(event, annotations, verdict, found)
    if seen.facts is None:
        facts = search(event, verdict, found, seen.sighted)
    else:
        facts = seen.facts
        if seen.sighted:
            for pointer, text in spots(seen.bare, seen.sighted):
                _keep_sighted(pointer, seen.sighted[text], verdict, found)
    findings = tuple(found.values())
    return Classification(findings, level(findings), facts)


def search(event: dict[str, Any], verdict: Decider, found: Found, sighted: Sightings | None = None) -> Facts:
    """Walks an event and adds what its field names and its values tell.

    `sighted` is what the screen saw in its texts; without it they are scanned.
    """
    walked = walk(event, verdict.places)
    for pointer, kind, confidence, rule in walked.fields:
        _keep(found, verdict.finding(pointer, kind, confidence, rule))
    if sighted is None:
        _find_values(walked, verdict, found)
    elif sighted:
        for number in [number for number, text in enumerate(walked.texts) if text in sighted]:
            _keep_sighted(walked.locate(number), sighted[walked.texts[number]], verdict, found)
    if walked.keyed:
        _hide_keys(walked, found)
    return Facts(walked.keys, walked.has_float, walked.has_exotic_key, walked.depth, walked.problem)


def _keep(found: Found, finding: Finding) -> None:
    key = (finding.pointer, finding.type)
    known = found.get(key)
    if known is None or CONFIDENCE_RANK[known.confidence] < CONFIDENCE_RANK[finding.confidence]:
        found[key] = finding


def _keep_sighted(pointer: str, sightings: Iterable[Sighting], verdict: Decider, found: Found) -> None:
    for kind, confidence, rule in sightings:
        _keep(found, verdict.finding(pointer, kind, confidence, rule))


def _find_places(event: dict[str, Any], verdict: Decider, found: Found) -> None:
    """The places that the profile treats whatever the detectors say."""
    for top, key, finding in verdict.members:
        parent = event.get(top)
        if parent is not None and parent.get(key):
            found[(finding.pointer, finding.type)] = finding
    for rule in verdict.patterns:
        for pointer, value in resolve(event, rule.pointer or ""):
            if value is not None and value != "":
                _keep(found, verdict.finding(pointer, rule.type or "", "high", "profile.place"))


def _find_annotated(
    event: dict[str, Any], annotations: Mapping[str, Annotation], verdict: Decider, found: Found
) -> None:
    for pattern, annotation in annotations.items():
        for pointer, value in resolve(event, pattern):
            if value is not None and value != "":
                kind, asked = annotation.type, annotation.method
                _keep(found, verdict.finding(pointer, kind, "high", "schema.annotation", asked))


def _find_values(walked: Walk, verdict: Decider, found: Found) -> None:
    """Scans the joined strings and lets the readers judge each string that a trigger fired in."""
    try:
        blob = ("\0".join(walked.texts) + "\0").encode()
    except UnicodeEncodeError:
        blob = b""
    if blob.count(b"\0") != len(walked.texts):
        walked.problem = walked.problem or ("INVALID_CHARACTER", _offender(walked))
        return
    number, counted = 0, 0
    done: set[tuple[int, object]] = set()
    for end, trigger in (_automaton or automaton()).hits(blob):
        # The last byte of a match may be the NUL after its string: count only those before it.
        number += blob.count(b"\0", counted, end - 1)
        counted = end - 1
        reader = TRIGGERS[trigger].reader
        if (number, reader) in done:
            continue
        done.add((number, reader))
        for kind, confidence, rule in reader(walked.texts[number]):
            _keep(found, verdict.finding(walked.locate(number), kind, confidence, rule))


def _hide_keys(walked: Walk, found: Found) -> None:
    """Forgets findings below objects with personal keys: their pointers would tell what is to be hidden.

    The finding of the object itself covers them: it is dealt with as one value.
    """
    below = tuple(walked.keyed)
    for key in [key for key in found if key[0].startswith(below)]:
        del found[key]


def _offender(walked: Walk) -> str:
    """The place of the first NUL or lone surrogate."""
    for number, text in enumerate(walked.texts):
        if "\0" in text or any("\ud800" <= char <= "\udfff" for char in text):
            return walked.locate(number)
    raise AssertionError("nothing wrong with any text")
