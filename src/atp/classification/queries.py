"""The questions other contexts ask of classification. Pure: no table, no clock, no key."""

from __future__ import annotations

from atp.classification.rules.findings import classify
from atp.classification.rules.protection import protect

__all__ = ["classify", "protect"]
