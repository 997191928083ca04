"""Asking for a verdict. Ingestion knows only `Decide`; the policy context fills it with tenants' own rules.

An event and its classification level go in, a `Verdict` comes out; deciding writes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from atp.kernel.ids import TenantId
from atp.policy.model import Verdict

RETENTION_DAYS: Final = 365
"""How long a record is kept where no rule says otherwise."""

Decide = Callable[[TenantId, Mapping[str, Any], str], Verdict]
"""Judges (tenant, event as sent, classification level); pure and quick, called once per event."""

_DEFAULT: Final = Verdict("builtin-1", "default", RETENTION_DAYS, "unknown")


def decide_by_default(tenant: TenantId, event: Mapping[str, Any], level: str) -> Verdict:
    """Return the built-in verdict, the same for every event."""
    return _DEFAULT
