"""JSON pointers (RFC 6901): escaping, resolving, patterns.

Here too are the places of an event with rules of their own: what is never altered, and what must stay a string.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

# Containers inside each other that an event may have (the format's limit); what is deeper is refused.
DEPTH_MAX = 32

# The verdict's own ground: what happened, by which contract and when must stay readable for ever.
UNALTERABLE_TOPS = frozenset(
    {
        "action",
        "outcome",
        "schema",
        "occurredAt",
        "observedAt",
        "effectiveAt",
        "idempotencyKey",
        "expectedStreamVersion",
    }
)
UNALTERABLE = frozenset({"/actor/type", "/resource/type", "/actor", "/resource", ""})
# Places that must stay strings and stay comparable: they get a pseudonym, never a sealed object.
IDENTIFIERS = frozenset({"/actor/id", "/resource/id", "/resource/path", "/stream"})


def escape(token: str) -> str:
    """One reference token of a pointer (RFC 6901 §3)."""
    if "~" in token or "/" in token:
        return token.replace("~", "~0").replace("/", "~1")
    return token


def tokens(pointer: str) -> list[str]:
    """The unescaped reference tokens of a pointer; the empty pointer has none."""
    if not pointer:
        return []
    parts = pointer[1:].split("/")
    if "~" in pointer:
        return [part.replace("~1", "/").replace("~0", "~") for part in parts]
    return parts


def position(pointer: str) -> str:
    """Which ground a pointer stands on: "unalterable", "identifier" or "open"."""
    if pointer in IDENTIFIERS or pointer.startswith("/correlation/"):
        return "identifier"
    if pointer in UNALTERABLE or pointer[1:].split("/", 1)[0] in UNALTERABLE_TOPS:
        return "unalterable"
    return "open"


@lru_cache(maxsize=4096)
def pattern_tokens(pattern: str) -> tuple[str, ...]:
    """A pattern's tokens; an escaped star cannot occur, so `*` is always the wildcard."""
    return tuple(tokens(pattern))


def matches(pattern: str, pointer: str) -> bool:
    """Whether a pattern with `*` and a last `**` covers a pointer."""
    if "*" not in pattern:
        return pattern == pointer
    wanted, given = pattern_tokens(pattern), tokens(pointer)
    if wanted and wanted[-1] == "**":
        wanted = wanted[:-1]
        if len(given) <= len(wanted):
            return False
        given = given[: len(wanted)]
    return len(wanted) == len(given) and all(w in ("*", g) for w, g in zip(wanted, given, strict=True))


def resolve(event: Any, pattern: str) -> Iterator[tuple[str, Any]]:
    """Every (pointer, value) in an event that a pattern names; `**` names every leaf below."""
    yield from _resolve(event, pattern_tokens(pattern), 0, "")


def _resolve(node: Any, wanted: tuple[str, ...], depth: int, pointer: str) -> Iterator[tuple[str, Any]]:
    if depth == len(wanted):
        yield pointer, node
        return
    token = wanted[depth]
    if token == "**":
        if isinstance(node, dict | list):
            for key, child in _children(node):
                yield from _resolve(child, wanted, depth, f"{pointer}/{escape(key)}")
        elif node is not None:
            yield pointer, node
    elif token == "*":
        for key, child in _children(node):
            yield from _resolve(child, wanted, depth + 1, f"{pointer}/{escape(key)}")
    elif isinstance(node, dict):
        if token in node:
            yield from _resolve(node[token], wanted, depth + 1, f"{pointer}/{escape(token)}")
    elif isinstance(node, list) and token.isdecimal() and int(token) < len(node):
        yield from _resolve(node[int(token)], wanted, depth + 1, f"{pointer}/{token}")


def _children(node: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict):
        yield from node.items()
    elif isinstance(node, list):
        for index, child in enumerate(node):
            yield str(index), child
