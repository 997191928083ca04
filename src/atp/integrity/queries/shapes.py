"""Looking up markers at known pointers fast: a decoder made for the pointers that records of one kind share.

A decoder that knows which members are markers builds nothing else, so most of a content is skipped over in C.
What does not fit (arrays, odd names, markers that are not there) is left to the caller's general way.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final

import msgspec

SHAPES_MAX: Final = 512
"""Combinations of pointers remembered; a tenant's events have a few dozen."""
DEPTH_MAX: Final = 8
_PLAIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


class _Marker(msgspec.Struct, forbid_unknown_fields=True):
    digest: str = msgspec.field(name="~sealed")


Found = Callable[[bytes], tuple[str, ...]]
"""Returns the digests of the markers at the shape's pointers; raises ValueError where there is none."""


@lru_cache(maxsize=SHAPES_MAX)
def shape(pointers: tuple[str, ...]) -> Found | None:
    """Return how the markers at these distinct pointers are found in a content, None if that is not for this way."""
    tree: dict[str, Any] = {}
    paths = []
    for pointer in pointers:
        tokens = pointer.split("/")[1:]
        if not 0 < len(tokens) <= DEPTH_MAX or not all(map(_PLAIN.fullmatch, tokens)):
            return None
        paths.append(".".join(f"m_{token}" for token in tokens))
        node = tree
        for token in tokens[:-1]:
            node = node.setdefault(token, {})
            if not isinstance(node, dict):
                return None
        if tokens[-1] in node:
            return None
        node[tokens[-1]] = _Marker
    decode = msgspec.json.Decoder(_struct(tree)).decode
    look: Callable[[Any], Any] = attrgetter(*(f"{path}.digest" for path in paths))
    if len(paths) == 1:
        return lambda content: (look(decode(content)),)

    def find(content: bytes) -> tuple[str, ...]:
        found: tuple[str, ...] = look(decode(content))
        return found

    return find


def _struct(tree: dict[str, Any]) -> type[msgspec.Struct]:
    fields: Sequence[tuple[str, type]] = [
        (f"m_{name}", _struct(inside) if isinstance(inside, dict) else inside)
        for name, inside in tree.items()
    ]
    return msgspec.defstruct("Shape", fields, rename=lambda name: name.removeprefix("m_"))
