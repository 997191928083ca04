"""Which tenant a request means: the credential says which are allowed, the request picks one (SEC-03).

Path, header and subdomain come in beside the principal; one tenant goes out, or a refusal that does not tell
whether somebody else's tenant exists.
"""

from __future__ import annotations

from collections.abc import Mapping

from atp.kernel.errors import Problem
from atp.kernel.ids import TenantId
from atp.tenants.model import Tenant
from atp.tenants.queries import Directory
from atp.web.principal import Principal


class Tenancy:
    """Resolves and checks the tenant; `base_host` switches on subdomains, e.g. `atp.example.com`."""

    def __init__(self, directory: Directory, *, base_host: str | None = None) -> None:
        self._directory = directory
        self._suffix = None if base_host is None else "." + base_host.lower()

    async def resolve(
        self, principal: Principal, headers: Mapping[str, str], *, path_tenant: str | None
    ) -> Tenant:
        """Return the tenant, or TENANT_REQUIRED, TENANT_MISMATCH, TENANT_NOT_FOUND.

        Only a caller who may use every tenant learns that one does not exist.
        """
        named = {path_tenant, headers.get("x-tenant-id"), self._subdomain(headers.get("host", ""))} - {None}
        if len(named) > 1:
            raise Problem("TENANT_MISMATCH", "Path, X-Tenant-Id and subdomain name different tenants.")
        chosen = TenantId(named.pop() or "") if named else principal.home
        if chosen is None:
            raise Problem("TENANT_REQUIRED")
        if not principal.may_use(chosen):
            raise Problem("TENANT_MISMATCH", "The credential does not belong to the tenant that is named.")
        tenant = await self._directory.tenant(chosen)
        if tenant is None:
            raise Problem("TENANT_NOT_FOUND")
        return tenant

    def _subdomain(self, host: str) -> str | None:
        if self._suffix is None:
            return None
        name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
        name = name.lower().rstrip(".")
        return name.removesuffix(self._suffix) if name.endswith(self._suffix) else None


def refuse_suspended(tenant: Tenant, *, works_suspended: bool) -> None:
    """Raise TENANT_SUSPENDED unless the operation only reads or is the operator's."""
    if tenant.status == "suspended" and not works_suspended:
        raise Problem("TENANT_SUSPENDED")
