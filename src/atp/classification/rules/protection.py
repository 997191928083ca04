"""Carries a verdict out on an event: a new event in which what was found is sealed, hashed, masked or gone.

Only the containers on the way to a finding are copied; everything else is shared with the event as sent,
which is never changed. Cryptography stays with the caller, who hands in two functions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from atp.classification.model import METHOD_RANK, Classification, Finding
from atp.classification.rules.masks import mask
from atp.classification.rules.pointers import tokens

Seal = Callable[[str, Any], Any]
Pseudonym = Callable[[str], str]


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
    chosen = _strongest(classification.findings)
    if not chosen:
        return event
    result = dict(event)
    copied: dict[tuple[str, ...], Any] = {}
    covered: tuple[str, ...] = ()
    for pointer in sorted(chosen, key=lambda p: (p.count("/"), p)):
        if covered and pointer.startswith(covered):
            continue
        parent, key = _open(result, pointer, copied)
        finding = chosen[pointer]
        value = parent[key]
        if finding.method == "drop":
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


def _strongest(findings: tuple[Finding, ...]) -> dict[str, Finding]:
    chosen: dict[str, Finding] = {}
    for finding in findings:
        if finding.method == "none":
            continue
        known = chosen.get(finding.pointer)
        if known is None or METHOD_RANK[known.method] < METHOD_RANK[finding.method]:
            chosen[finding.pointer] = finding
    return chosen


def _open(result: dict[str, Any], pointer: str, copied: dict[tuple[str, ...], Any]) -> tuple[Any, Any]:
    """The copy of the container that holds a pointer's last token, and that token as its key."""
    parts = tokens(pointer)
    parent: Any = result
    for depth, token in enumerate(parts[:-1], 1):
        walked = tuple(parts[:depth])
        child = copied.get(walked)
        if child is None:
            key = int(token) if type(parent) is list else token
            child = copied[walked] = parent[key] = parent[key].copy()
        parent = child
    return parent, int(parts[-1]) if type(parent) is list else parts[-1]


def _stream(value: str, pseudonym: Pseudonym) -> str:
    kind, slash, subject = value.partition("/")
    return kind + slash + pseudonym(subject) if slash else pseudonym(value)
