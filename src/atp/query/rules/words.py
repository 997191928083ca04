"""The words of a record: what full text finds.

Words are runs of letters and digits, case folded. The same folding makes the text that is indexed and the
words that are looked for, so an index can never miss what `matching` would find. Sealed values are cut out
before anything else happens (CLS-05).
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

_SEALED: Final = b'{"~sealed":"'
"""Begins a sealed value, and nothing else: inside a string the quotation marks would be escaped."""
_SEALED_REST: Final = 45
"""Bytes that follow it: 43 of the digest, a quotation mark and a brace."""
_ESCAPE = re.compile(rb"\\(?:u[0-9a-fA-F]{4}|.)", re.DOTALL)
_NOT_A_WORD = re.compile(r"[\W_]+")
_FOLD = bytes(
    ord(chr(code).lower()) if chr(code).isalnum() else 32 if code < 128 else code for code in range(128)
) + bytes(range(128, 256))


class _Text(msgspec.Struct):
    action: msgspec.Raw = msgspec.Raw()
    actor: msgspec.Raw = msgspec.Raw()
    context: msgspec.Raw = msgspec.Raw()
    correlation: msgspec.Raw = msgspec.Raw()
    payload: msgspec.Raw = msgspec.Raw()
    resource: msgspec.Raw = msgspec.Raw()


_decode = msgspec.json.Decoder(_Text).decode


def text_of(content: bytes) -> str:
    """Return a record's text from its content: folded words between spaces, names of fields included."""
    parts = _decode(content)
    return folded(
        b" ".join(
            (parts.action, parts.actor, parts.context, parts.correlation, parts.payload, parts.resource)
        )
    )


def folded(raw: bytes) -> str:
    """Return the folded words of canonical JSON: sealed values and escapes become spaces."""
    if _SEALED in raw:
        first, *others = raw.split(_SEALED)
        raw = b" ".join([first, *[part[_SEALED_REST:] for part in others]])
    if b"\\" in raw:
        raw = _ESCAPE.sub(b" ", raw)
    if raw.isascii():
        return raw.translate(_FOLD).decode("ascii")
    return _NOT_A_WORD.sub(" ", raw.decode("utf-8").casefold())


def words(text: str) -> tuple[str, ...]:
    """Return the folded words of a plain text."""
    return tuple(_NOT_A_WORD.sub(" ", text.casefold()).split())


def ends_in_word(text: str) -> bool:
    """Tell whether the last character belongs to a word, so that a longer text could go on with it."""
    return bool(text) and not _NOT_A_WORD.fullmatch(text[-1].casefold()[-1])


def begins_in_word(text: str) -> bool:
    """Tell whether the first character belongs to a word, so that a longer text could have begun it."""
    return bool(text) and not _NOT_A_WORD.fullmatch(text[0].casefold()[0])


def holds(text: str, wanted: tuple[str, ...], *, prefix: bool) -> bool:
    """Tell whether the words stand side by side in a text that `text_of` made."""
    end = "" if prefix else " "
    return f" {' '.join(wanted)}{end}" in f" {' '.join(text.split())} "
