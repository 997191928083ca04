"""The way of a write: validate, deduplicate, enrich, classify, decide, seal, append (ING-04).

Audit events come in as bytes from the edge or as values from importers; records go to the ledger.
"""
