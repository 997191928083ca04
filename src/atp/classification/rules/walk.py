"""One walk over an event: its strings for the automaton, what its field names say, and its facts.

Breadth first and without recursion. Per string only the string is kept; where it stands is worked out for
the few that a detector fires in. An object whose keys are all known to be plain costs one set comparison.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import Any

from atp.classification.rules.field_names import PLAIN, PLAIN_NAMES, FieldRule, KeyFacts, key_facts
from atp.classification.rules.pointers import escape

# Smaller numbers than this are never payment cards; most numbers in logs are smaller.
BIG_INTEGER_MIN = 10**12


class Walk:
    """The outcome of one walk; owned by the thread that made it and dropped after one classification."""

    __slots__ = ("_nodes", "_origins", "_starts", "depth", "exotic", "fields", "floats", "keys", "problem", "texts")

    def __init__(self, event: dict[str, Any]) -> None:
        self.texts: list[str] = [""]
        self.fields: list[tuple[str, FieldRule]] = []
        self.keys = 0
        self.depth = 0
        self.floats = False
        self.exotic = False
        self.problem: tuple[str, str] | None = None
        self._nodes: list[Any] = [event]
        self._origins: list[tuple[int, str | int]] = [(0, "")]
        self._starts: list[int] = []
        self._go()

    def _go(self) -> None:
        nodes, origins, starts, texts = self._nodes, self._origins, self._starts, self.texts
        plain = PLAIN_NAMES
        low, high = 0, 1
        while low < high:
            self.depth += 1
            for index in range(low, high):
                node = nodes[index]
                starts.append(len(texts))
                if type(node) is dict:
                    self.keys += len(node)
                    if not plain.issuperset(node):
                        self._named(index, node)
                    items = node.items()
                else:
                    items = enumerate(node)
                for key, value in items:
                    kind = type(value)
                    if kind is str:
                        texts.append(value)
                    elif kind is dict or kind is list:
                        nodes.append(value)
                        origins.append((index, key))
                    elif kind is int:
                        if value >= BIG_INTEGER_MIN:
                            texts.append(str(value))
                    elif kind is float:
                        self.floats = True
            low, high = high, len(nodes)

    def _named(self, index: int, node: dict[str, Any]) -> None:
        """Looks at the keys that say something: a field rule, a forbidden character, another script."""
        for key, value in node.items():
            facts = key_facts(key)
            if facts is PLAIN:
                continue
            self._note(index, key, facts)
            if facts.rule is not None:
                self._judge(index, key, facts.rule, value)

    def _note(self, index: int, key: str, facts: KeyFacts) -> None:
        self.exotic = self.exotic or facts.exotic
        if facts.problem and self.problem is None:
            self.problem = (facts.problem, self._pointer(index))

    def _judge(self, index: int, key: str, rule: FieldRule, value: Any) -> None:
        if type(value) is list:
            for place, item in enumerate(value):
                found = rule.judge(item)
                if found is not None:
                    self.fields.append((f"{self._pointer(index)}/{escape(key)}/{place}", found))
        else:
            found = rule.judge(value)
            if found is not None:
                self.fields.append((f"{self._pointer(index)}/{escape(key)}", found))

    def _pointer(self, index: int) -> str:
        parts: list[str] = []
        while index:
            index, key = self._origins[index]
            parts.append("/" + (escape(key) if type(key) is str else str(key)))
        parts.reverse()
        return "".join(parts)

    def pointer_of(self, text: int) -> str:
        """Where the string with this number stands."""
        index = bisect_right(self._starts, text) - 1
        left = text - self._starts[index]
        node = self._nodes[index]
        for key, value in node.items() if type(node) is dict else enumerate(node):
            if type(value) is str or (type(value) is int and value >= BIG_INTEGER_MIN):
                if left == 0:
                    return f"{self._pointer(index)}/{escape(key) if type(key) is str else key}"
                left -= 1
        raise AssertionError("a string that the walk did not collect")
