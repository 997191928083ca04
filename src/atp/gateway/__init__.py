"""The HTTP edge: every request passes here once, and what the contract refuses goes no further."""
