"""How far a projection has come, and what it could not take."""

from atp.projections.store import SCHEMA, next_sequence, parked, reached

__all__ = ["SCHEMA", "next_sequence", "parked", "reached"]
