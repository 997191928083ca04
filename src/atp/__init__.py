"""ATP, the Audit Trail Platform: the audit trail that proves itself.

The packages below lie in river order (docs/architecture.md); each imports only from those under it.
"""

__version__ = "0.1.0"
