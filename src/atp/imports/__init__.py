"""Bulk import: logs that exist elsewhere become audit events, whole, in order and exactly once.

Runs as a client. A source flows in as lines, each is mapped by the rules of its format, batches go out
through a `Sink`; what cannot be mapped goes to a reject file, what was acknowledged to a checkpoint.
"""
