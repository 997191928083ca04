"""Pure decisions about tenants and keys: what a role may do, what a key looks like, what input is refused.

The table of roles is the contract's (x-atp-roles), written here for the program to hold; a test compares them.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable, Mapping

from atp.kernel.errors import Detail, Problem
from atp.kernel.hashing import b64u, sha256, unb64u
from atp.kernel.ids import TenantId, tenant_id
from atp.tenants.model import ApiKey, NewApiKey, NewTenant, Rotation
from atp.web.principal import Clearance, Principal

NAME_LENGTH_MAX = 200
"""Characters of a display name or key name."""
ROLES_MAX = 10
"""Roles of one key."""
RATE_LIMIT_MAX = 10_000_000
"""Requests a minute; a larger number would be no limit at all."""
OVERLAP_MAX_SECONDS = 2_592_000
"""The longest overlap; a key that is to live on longer is not being rotated."""

_READ = frozenset({"events:read", "streams:read", "integrity:read"})
ROLE_SCOPES: Mapping[str, frozenset[str]] = {
    "writer": frozenset({"events:write"}),
    "reader": _READ,
    "auditor": _READ | {"integrity:verify", "sealed:read", "api_keys:read", "tenants:read"},
    "admin": _READ
    | {"events:write", "streams:seal", "integrity:verify", "integrity:rotate", "sealed:read"}
    | {"api_keys:manage", "api_keys:read", "tenants:read"},
    # An operator runs the platform for all tenants and reads none of their events.
    "operator": frozenset({"integrity:read", "integrity:verify", "integrity:rotate"})
    | {"api_keys:manage", "api_keys:read", "tenants:read", "tenants:manage"},
}
"""What each role may do. `sealed:read` lets a caller ask for sealed values, clearance says up to which class."""
OPERATOR = "operator"

_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,200}")
_REGION = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?", re.ASCII)
_KEY_TEXT = re.compile(r"atp_([0-7][0-9A-HJKMNP-TV-Z]{25})_([A-Za-z0-9_-]{43})", re.ASCII)


def scopes_of(roles: Iterable[str]) -> frozenset[str]:
    """Return the union of the scopes of `roles`; a role that is not ours gives none."""
    return frozenset().union(*[ROLE_SCOPES.get(role, frozenset()) for role in roles])


def key_text(key_id: str, secret: bytes) -> str:
    """Return the text that the caller keeps: `atp_<key id>_<secret>`."""
    return f"atp_{key_id}_{b64u(secret)}"


def parse_key_text(text: str) -> tuple[str, bytes] | None:
    """Return the key id and the secret of a well-formed key text, else None."""
    match = _KEY_TEXT.fullmatch(text)
    if match is None:
        return None
    try:
        return match.group(1), unb64u(match.group(2))
    except ValueError:
        return None


def secret_matches(key: ApiKey, secret: bytes) -> bool:
    """Compare in constant time.

    A slow hash (argon2, scrypt) protects secrets that people choose. This one has 256 random bits: who
    holds the hash cannot try them through, so SHA-256 is enough and costs one microsecond a request.
    """
    return hmac.compare_digest(key.secret_hash, sha256(secret))


def principal_of(key: ApiKey, now_us: int) -> Principal:
    """Return the caller that a key with the right secret stands for; API_KEY_REVOKED or API_KEY_EXPIRED."""
    status = key.status(now_us)
    if status == "revoked":
        raise Problem("API_KEY_REVOKED")
    if status == "expired":
        raise Problem("API_KEY_EXPIRED")
    return Principal(
        id=key.id,
        log_id=key.id,
        kind="api_key",
        home=key.tenant,
        tenants=None if OPERATOR in key.roles else frozenset({key.tenant}),
        roles=frozenset(key.roles),
        scopes=scopes_of(key.roles),
        clearance=key.clearance,
    )


def check_tenant(wanted: NewTenant) -> TenantId:
    """Return the tenant id, or raise VALIDATION_FAILED naming every field that is wrong."""
    identifier = TenantId(wanted.id)
    details = name_faults("displayName", wanted.display_name) + limit_faults(wanted.rate_limits)
    if not _REGION.fullmatch(wanted.region):
        details.append(
            Detail("region", "must be 1 to 32 lower-case letters, digits or hyphens", wanted.region)
        )
    try:
        identifier = tenant_id(wanted.id)
    except ValueError:
        details.append(Detail("id", "must be 1 to 63 lower-case letters, digits or inner hyphens", wanted.id))
    refuse(details)
    return identifier


def check_key(wanted: NewApiKey, *, now_us: int) -> None:
    """Raise VALIDATION_FAILED naming every field of a new key that is wrong."""
    details = name_faults("name", wanted.name)
    unknown = [role for role in wanted.roles if role not in ROLE_SCOPES]
    details += [Detail("roles", f"must be among {', '.join(sorted(ROLE_SCOPES))}", role) for role in unknown]
    if not 1 <= len(wanted.roles) <= ROLES_MAX or len(set(wanted.roles)) != len(wanted.roles):
        details.append(Detail("roles", f"must name 1 to {ROLES_MAX} different roles"))
    if wanted.expires_us is not None and wanted.expires_us <= now_us:
        details.append(Detail("expiresAt", "must lie in the future"))
    refuse(details)


def check_rotation(old: ApiKey, wanted: Rotation, *, now_us: int) -> None:
    """Raise VALIDATION_FAILED when a key has ended already or the overlap is not a sensible one."""
    details = []
    status = old.status(now_us)
    if status != "active":
        details.append(Detail("keyId", f"must be a working key; this one is {status}, create a new one"))
    if not 0 <= wanted.overlap_seconds <= OVERLAP_MAX_SECONDS:
        details.append(
            Detail("overlapSeconds", f"must be 0 to {OVERLAP_MAX_SECONDS}", wanted.overlap_seconds)
        )
    if wanted.expires_us is not None and wanted.expires_us <= now_us:
        details.append(Detail("expiresAt", "must lie in the future"))
    refuse(details)


def refuse_escalation(issuer: Principal, wanted: NewApiKey) -> None:
    """Raise FORBIDDEN when a key would be able to do or see more than the caller who asks for it.

    A platform operator may hand out any role: somebody has to set up a tenant's first administrator. It is
    no silent way in, because the new key is a record in that tenant's log.
    """
    if issuer.kind == "system" or OPERATOR in issuer.roles:
        return
    beyond = sorted(scopes_of(wanted.roles) - issuer.scopes)
    if beyond or OPERATOR in wanted.roles:
        raise Problem(
            "FORBIDDEN",
            "A key cannot be given roles that its issuer does not hold.",
            extra={"scopes": beyond},
        )
    if wanted.clearance > issuer.clearance:
        raise Problem("FORBIDDEN", "A key cannot be given more clearance than its issuer has.")


def limit_faults(limits: Mapping[str, int]) -> list[Detail]:
    """Return what is wrong with rate limits, which are requests a minute by operation id."""
    return [
        Detail(f"rateLimits.{name}", f"must be 1 to {RATE_LIMIT_MAX} requests a minute", limit)
        for name, limit in limits.items()
        if isinstance(limit, bool) or not 1 <= limit <= RATE_LIMIT_MAX
    ]


def refuse(details: list[Detail]) -> None:
    """Raise VALIDATION_FAILED when there is anything to complain about."""
    if details:
        raise Problem("VALIDATION_FAILED", details=details)


def parse_clearance(name: str) -> Clearance:
    """Return a clearance by its wire name; VALIDATION_FAILED otherwise."""
    try:
        return Clearance.named(name)
    except ValueError:
        labels = ", ".join(level.label for level in Clearance)
        raise Problem(
            "VALIDATION_FAILED", details=[Detail("clearance", f"must be one of {labels}", name)]
        ) from None


def name_faults(field: str, name: str) -> list[Detail]:
    """Return what is wrong with a name that people will read."""
    if _NAME.fullmatch(name):
        return []
    return [Detail(field, f"must be 1 to {NAME_LENGTH_MAX} characters on one line")]
