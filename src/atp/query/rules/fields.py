"""The fields a search may name: as in the record that is shown, with dots going in.

`actor`, `action`, `resource` and `classification` alone mean the identifier, the name and the level.
"""

from __future__ import annotations

from typing import Final

from atp.kernel.errors import Detail, Problem

OPEN: Final = frozenset({"actor", "action", "resource", "context", "payload", "correlation"})
"""Members with members of any name; their text is in the index of words."""
CLOSED: Final = {
    "schema": frozenset({"name", "version"}),
    "classification": frozenset({"level", "subject", "findings"}),
    "policy": frozenset({"version", "rule", "retentionDays"}),
}
PLAIN: Final = frozenset(
    {
        "id",
        "kind",
        "type",
        "position",
        "stream",
        "streamVersion",
        "recordedAt",
        "occurredAt",
        "observedAt",
        "effectiveAt",
        "outcome",
    }
)
TIMES: Final = frozenset({"recordedAt", "occurredAt", "observedAt", "effectiveAt"})
SHORT: Final = {
    "actor": ("actor", "id"),
    "action": ("action", "name"),
    "resource": ("resource", "id"),
    "classification": ("classification", "level"),
}
PSEUDONYMOUS: Final = frozenset({("actor", "id"), ("resource", "id"), ("resource", "path"), ("stream",)})
"""Identifiers that may stand as a keyed hash; a search for the plain value finds them too. All of `correlation`
besides."""
KEYED: Final = (("actor", "id"), ("resource", "id"))
"""Identifiers with an index of their own."""
SHAPE: Final = (
    ("kind",),
    ("type",),
    ("actor", "type"),
    ("action", "name"),
    ("action", "category"),
    ("resource", "type"),
    ("outcome",),
    ("classification", "level"),
)
"""Fields of few values. Their combinations, a record's *shape*, are indexed as one number."""

_ROOTS: Final = sorted(OPEN | PLAIN | set(CLOSED))


def path_of(name: str, *, at: str) -> tuple[str, ...]:
    """Return the path of a field; QUERY_INVALID, with the place `at`, for one that no record can have."""
    if name in SHORT:
        return SHORT[name]
    path = tuple(name.split("."))
    root, rest = path[0], path[1:]
    if not all(path) or (root not in OPEN and root not in PLAIN and root not in CLOSED):
        raise invalid(f"there is no field {name[:64]!r}; fields begin with {', '.join(_ROOTS)}", at)
    if root in PLAIN and rest:
        raise invalid(f"the field {root} has no members", at)
    if root in CLOSED and (not rest or rest[0] not in CLOSED[root]):
        raise invalid(f"the members of {root} are {', '.join(sorted(CLOSED[root]))}", at)
    if root in OPEN and not rest:
        raise invalid(f"name a member of {root}, such as {root}.name", at)
    return path


def is_pseudonymous(path: tuple[str, ...]) -> bool:
    """Tell whether a value at this path may stand as a pseudonym."""
    return path in PSEUDONYMOUS or path[0] == "correlation"


def invalid(issue: str, at: str) -> Problem:
    """Return the QUERY_INVALID that names the place in the search."""
    return Problem(
        "QUERY_INVALID", f"The search cannot be understood: {issue} ({at}).", details=[Detail("q", issue)]
    )
