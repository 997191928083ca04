"""Who is calling, which tenants the credential allows, and what it may do and see there.

Made by the gateway from a credential, or by the program for what it does itself; handlers only read it.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Literal

import msgspec

from atp.kernel.errors import Problem
from atp.kernel.ids import TenantId

PrincipalKind = Literal["api_key", "user", "system", "anonymous"]


class Clearance(IntEnum):
    """The highest classification whose sealed values a caller may see; each level includes those below."""

    NONE = 0
    PERSONAL = 1
    SENSITIVE = 2
    SECRET = 3

    @classmethod
    def named(cls, name: str) -> Clearance:
        """Return the clearance of a lower-case name; ValueError for any other."""
        for clearance in cls:
            if clearance.label == name:
                return clearance
        raise ValueError(f"not a clearance: {name}")

    @property
    def label(self) -> str:
        """The lower-case name used on the wire."""
        return self.name.lower()


class Principal(msgspec.Struct, frozen=True, kw_only=True):
    """An authenticated caller.

    `id` goes into platform records as the actor's id; `log_id` goes into logs and never identifies a person.
    `tenants` None means every tenant (a platform operator); `home` is the tenant meant when none is named.
    """

    id: str
    log_id: str
    kind: PrincipalKind
    home: TenantId | None
    tenants: frozenset[TenantId] | None
    roles: frozenset[str]
    scopes: frozenset[str]
    clearance: Clearance = Clearance.NONE

    def may_use(self, tenant: TenantId) -> bool:
        """Tell whether the credential covers this tenant."""
        return self.tenants is None or tenant in self.tenants

    def demand(self, scopes: frozenset[str]) -> None:
        """Raise FORBIDDEN naming the scopes that are missing; all of `scopes` are needed."""
        missing = scopes - self.scopes
        if missing:
            names = sorted(missing)
            raise Problem(
                "FORBIDDEN", f"The credential lacks the scope {', '.join(names)}.", extra={"scopes": names}
            )

    def actor(self) -> dict[str, object]:
        """Return the actor member of a platform record."""
        return {"type": self.kind, "id": self.id}


ANONYMOUS = Principal(
    id="anonymous",
    log_id="anonymous",
    kind="anonymous",
    home=None,
    tenants=frozenset(),
    roles=frozenset(),
    scopes=frozenset(),
)
"""The caller of a public operation; it may use no tenant and has no scope."""


SYSTEM = Principal(
    id="atp",
    log_id="atp",
    kind="system",
    home=None,
    tenants=None,
    roles=frozenset(),
    scopes=frozenset(),
    clearance=Clearance.SECRET,
)
"""The platform acting on its own, as when it creates the first tenant."""
