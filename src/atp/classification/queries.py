"""The questions other contexts ask of classification.

Pure: no table, no clock, no key. An event goes in; findings, or a protected event, come out.
"""

from __future__ import annotations

from atp.classification.rules.findings import automaton, classify
from atp.classification.rules.protection import protect

__all__ = ["automaton", "classify", "protect"]
