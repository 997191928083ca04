"""The ground under everything: pure functions and types without input or output.

Hashes, canonical JSON, the Merkle tree, identifiers, the clock and the one type of expected failure.
"""
