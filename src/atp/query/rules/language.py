"""The search language: `actor.id:u-1001 AND (outcome:denied OR payload.pages:>10) NOT "read only"`.
    search  = or ;  or = and { OR and } ;  and = part { [AND] part } ;  part = { NOT | - } ( "(" or ")" | term )
    term    = field ":" value | field ":" ( ">" | ">=" | "<" | "<=" ) value | field ":[" value TO value "]" | words
    value   = "quoted" | bare | bare "*"

Text becomes the tree of `query.model`; nothing of it ever becomes SQL.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from atp.query.model import (
    DEPTH_MAX,
    EVERYTHING,
    LEAVES_MAX,
    All,
    Compare,
    Comparison,
    Node,
    Not,
    Operand,
    Some,
)
from atp.query.rules.fields import TIMES, invalid, path_of
from atp.query.rules.leaves import exists, text_leaf, time_operand

_TOKEN = re.compile(
    r"""\s*(?:
        (?P<open>\() | (?P<close>\))
      | (?P<quoted>"(?:[^"\\]|\\.)*")
      | (?P<field>[A-Za-z_][^\s:()"\[\]<>*]*):(?=[^\s])
      | (?P<range>\[\s*(?P<low>"(?:[^"\\]|\\.)*"|[^\s\]"]+)\s+TO\s+(?P<high>"(?:[^"\\]|\\.)*"|[^\s\]"]+)\s*\])
      | (?P<comparison>>=|<=|>|<)
      | (?P<minus>-(?=[^\s]))
      | (?P<bare>[^\s()"]+)
    )""",
    re.VERBOSE,
)
_FIELD_ALONE = re.compile(r"[A-Za-z_][^:]*:")
_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?", re.ASCII)
_COMPARISONS: Final[dict[str, Comparison]] = {">": "gt", ">=": "gte", "<": "lt", "<=": "lte"}


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    place: int
    low: str = ""
    high: str = ""

    @property
    def at(self) -> str:
        return f"at character {self.place + 1}"


def parse(text: str) -> Node:
    """Return the tree of a search text; QUERY_INVALID names the character where it cannot be understood."""
    parser = _Parser(_tokens(text))
    node = parser.alternatives(0)
    parser.end()
    return node


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    place = 0
    while text[place:].strip():
        start = place + len(text[place:]) - len(text[place:].lstrip())
        # Behind `field:` a minus belongs to the value, and a colon too.
        behind_field = bool(tokens) and tokens[-1].kind in ("field", "comparison")
        match = _TOKEN.match(text, start)
        if match is None:
            raise invalid("a quotation mark is not closed", f"at character {start + 1}")
        kind = match.lastgroup or "bare"
        if kind in ("low", "high"):
            kind = "range"
        if behind_field and kind in ("minus", "field"):
            bare = re.compile(r"[^\s()\"]+").match(text, start)
            assert bare is not None
            tokens.append(_Token("bare", bare[0], start))
            place = bare.end()
            continue
        if kind == "range" and not behind_field:
            raise invalid("a range needs a field before it", f"at character {start + 1}")
        tokens.append(_Token(kind, match[kind], start, match["low"] or "", match["high"] or ""))
        place = match.end()
    return tokens


class _Parser:
    """Recursive descent over the tokens; `depth` bounds the recursion."""

    def __init__(self, tokens: list[_Token]) -> None:
        self._tokens = tokens
        self._next = 0
        self._leaves = 0

    def alternatives(self, depth: int) -> Node:
        parts = [self._together(depth)]
        while self._word("OR"):
            parts.append(self._together(depth))
        return parts[0] if len(parts) == 1 else Some(tuple(parts))

    def _together(self, depth: int) -> Node:
        parts = [self._part(depth)]
        while (token := self._peek()) is not None and token.kind != "close" and not self._is("OR"):
            self._word("AND")
            parts.append(self._part(depth))
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def _part(self, depth: int) -> Node:
        token = self._peek()
        if token is None:
            raise invalid("something is missing", "at the end")
        if depth > DEPTH_MAX:
            raise invalid(f"more than {DEPTH_MAX} levels", token.at)
        if token.kind == "minus" or self._is("NOT"):
            self._next += 1
            return Not(self._part(depth + 1))
        if token.kind == "open":
            self._next += 1
            node = self.alternatives(depth + 1)
            closing = self._peek()
            if closing is None or closing.kind != "close":
                raise invalid("a parenthesis is not closed", token.at)
            self._next += 1
            return node
        self._leaves += 1
        if self._leaves > LEAVES_MAX:
            raise invalid(f"more than {LEAVES_MAX} terms", token.at)
        return self._term(token)

    def _term(self, token: _Token) -> Node:
        self._next += 1
        if token.kind == "field":
            return self._comparison(token)
        if token.kind == "quoted":
            return text_leaf(_unquoted(token.text), at=token.at)
        if token.kind != "bare" or token.text in ("AND", "OR"):
            raise invalid(f"{token.text!r} is not expected here", token.at)
        if token.text == "*":
            return EVERYTHING
        if _FIELD_ALONE.fullmatch(token.text):
            raise invalid("a value is missing", token.at)
        return text_leaf(token.text.removesuffix("*"), prefix=token.text.endswith("*"), at=token.at)

    def _comparison(self, field: _Token) -> Node:
        path = path_of(field.text, at=field.at)
        token = self._take(field)
        if token.kind == "range":
            return _range(path, token)
        if token.kind == "comparison":
            value = self._take(token)
            return Compare(path, _COMPARISONS[token.text], (_operand(path, value.text, value),))
        if token.kind not in ("bare", "quoted"):
            raise invalid(f"{token.text!r} is not a value", token.at)
        if token.text == "*":
            return exists(path)
        if token.kind == "bare" and token.text.endswith("*"):
            return Compare(path, "prefix", ((token.text[:-1],),))
        return Compare(path, "eq", (_operand(path, token.text, token),))

    def _take(self, before: _Token) -> _Token:
        token = self._peek()
        if token is None or token.kind in ("open", "close", "minus"):
            raise invalid("a value is missing", before.at)
        self._next += 1
        return token

    def _peek(self) -> _Token | None:
        return self._tokens[self._next] if self._next < len(self._tokens) else None

    def _is(self, word: str) -> bool:
        token = self._peek()
        return token is not None and token.kind == "bare" and token.text == word

    def _word(self, word: str) -> bool:
        found = self._is(word)
        self._next += found
        return found

    def end(self) -> None:
        if (token := self._peek()) is not None:
            raise invalid(f"{token.text!r} is not expected here", token.at)


def _range(path: tuple[str, ...], token: _Token) -> Node:
    edges: tuple[tuple[Comparison, str], ...] = (("gte", token.low), ("lte", token.high))
    parts = [
        Compare(path, comparison, (_operand(path, end, token),)) for comparison, end in edges if end != "*"
    ]
    return All(tuple(parts)) if parts else exists(path)


def _operand(path: tuple[str, ...], text: str, token: _Token) -> Operand:
    if text.startswith('"'):
        value: Operand = (_unquoted(text),)
    elif text in ("true", "false"):
        value = (text, text == "true")
    elif _NUMBER.fullmatch(text):
        number = float(text) if any(sign in text for sign in ".eE") else int(text)
        value = (text, number)
    else:
        value = (text,)
    return time_operand(value, at=token.at) if path[0] in TIMES else value


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1], flags=re.DOTALL)
