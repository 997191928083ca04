"""Turns committed records into proofs: tiles, signed checkpoints, receipts, verification.

Flows in: the feed of the record store. Flows out: a C2SP tlog-tiles log per tenant, and platform records of
what verification found.
"""
