"""The record store: append, seal, read, feed. Owns the tables of records, streams, logs and disclosures.

Everything ATP keeps as evidence passes through here once, under the shard's lock, and never changes again.
"""
