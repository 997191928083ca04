"""Carries a verdict out on an event: a new event in which what was found is sealed, hashed, masked or gone.

Only the containers on the way to a finding are copied; everything else is shared with the event as sent,
which is never changed. Cryptography stays with the caller, who hands in two functions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from atp.classification.model import METHOD_RANK, Classification, Finding
from atp.classification.rules.masks import mask
from atp.classification.rules.pointers import escape, tokens

Seal = Callable[[str, Any], Any]
Pseudonym = Callable[[str], str]
# One place to deal with: its pointer, the containers on the way (pointer, token), the last token, the finding.
Step = tuple[str, tuple[tuple[str, str], ...], str, Finding]

# How many lists of findings are remembered with their steps, and how long their pointers may be together.
REMEMBERED_STEPS_MAX = 4096
REMEMBERED_LENGTH_MAX = 512
# Holds places, never values. Grows by atomic steps, from any thread, up to its limit.
_known_steps: dict[tuple[Finding, ...], tuple[Step, ...]] = {}


def protect(
    event: dict[str, Any], classification: Classification, *, seal: Seal, pseudonym: Pseudonym
) -> dict[str, Any]:
    """The event with its findings' methods applied; the event itself where nothing is to be done.

    `seal(pointer, value)` keeps the value and returns what stands in its place. It is called for "hash" too,
    so that the value can be disclosed, and there its return value is not used. `pseudonym(text)` returns the
    stable stand-in; of an explicit stream only the subject (after the first slash) is replaced, so that it
    equals the stream derived from a pseudonymised resource id. In an array a dropped element becomes null,
    so that the pointers of its neighbours stay true. Of findings at one place the strongest method counts;
    findings inside a replaced value are covered by it.
    """
    steps = _steps(classification.findings)
    if not steps:
        return event
    result = dict(event)
    copied: dict[str, Any] = {}
    covered: tuple[str, ...] = ()
    for pointer, way, last, finding in steps:
        if covered and pointer.startswith(covered):
            continue
        parent: Any = result
        for walked, token in way:
            child = copied.get(walked)
            if child is None:
                place = int(token) if type(parent) is list else token
                child = copied[walked] = parent[place] = parent[place].copy()
            parent = child
        key: Any = int(last) if type(parent) is list else last
        value = parent[key]
        if finding.method == "seal":
            parent[key] = seal(pointer, value)
        elif finding.method == "drop":
            if type(parent) is dict:
                del parent[key]
            else:
                parent[key] = None
        elif finding.method == "hash" and type(value) in (str, int):
            seal(pointer, value)
            parent[key] = _stream(value, pseudonym) if pointer == "/stream" else pseudonym(str(value))
        elif finding.method == "mask":
            parent[key] = mask(finding.type, value)
        else:
            parent[key] = seal(pointer, value)
        if type(value) is dict or type(value) is list:
            covered += (pointer + "/",)
    return result


def _steps(findings: tuple[Finding, ...]) -> tuple[Step, ...]:
    """What is to be done, outer places first; remembered, because producers repeat their places."""
    known = _known_steps.get(findings)
    if known is not None:
        return known
    chosen: dict[str, Finding] = {}
    for finding in findings:
        if finding.method != "none":
            rival = chosen.get(finding.pointer)
            if rival is None or METHOD_RANK[rival.method] < METHOD_RANK[finding.method]:
                chosen[finding.pointer] = finding
    steps = tuple(
        _step(pointer, chosen[pointer]) for pointer in sorted(chosen, key=lambda p: (p.count("/"), p))
    )
    if (
        len(_known_steps) < REMEMBERED_STEPS_MAX
        and sum(len(finding.pointer) for finding in findings) < REMEMBERED_LENGTH_MAX
    ):
        _known_steps[findings] = steps
    return steps


def _step(pointer: str, finding: Finding) -> Step:
    *way, last = tokens(pointer)
    walked, prefixes = "", []
    for token in way:
        walked += "/" + escape(token)
        prefixes.append((walked, token))
    return pointer, tuple(prefixes), last, finding


def _stream(value: str, pseudonym: Pseudonym) -> str:
    kind, slash, subject = value.partition("/")
    return kind + slash + pseudonym(subject) if slash else pseudonym(value)
