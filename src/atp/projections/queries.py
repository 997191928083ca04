"""How far a projection has come, and what it could not take.

Read from the projection's own database, inside the caller's snapshot.
"""

from atp.projections.store import SCHEMA, next_sequence, parked, reached

__all__ = ["SCHEMA", "next_sequence", "parked", "reached"]
