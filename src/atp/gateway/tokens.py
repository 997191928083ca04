"""Bearer JWTs of configured issuers: OpenID Connect discovery, JWKS, key rotation (SEC-01).

The token names its issuer and key; only configured issuers are believed, only asymmetric algorithms are
allowed (RFC 8725 sections 3.1 and 3.2), and what a claim grants is decided by our own table of roles.
State: one key set per issuer and a bounded cache of verified tokens, owned by the event loop's thread.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import httpx
import msgspec
from joserfc import jwt
from joserfc.errors import ExpiredTokenError, JoseError
from joserfc.jwk import ECKey, KeySet, OKPKey, RSAKey
from joserfc.jws import JWSRegistry, extract_compact
from joserfc.jwt import ClaimsOption, JWTClaimsRegistry

from atp.kernel.clock import SECOND_US, monotonic
from atp.kernel.errors import Problem
from atp.kernel.hashing import b64u, sha256
from atp.kernel.ids import TenantId, tenant_id
from atp.tenants import queries
from atp.web.principal import Clearance, Principal

ALGORITHMS: Final = ("RS256", "ES256", "EdDSA", "Ed25519")
"""What an issuer may sign with. Symmetric ones and `none` can never be configured."""
TOKEN_BYTES_MAX: Final = 16 * 1024
"""A longer credential is no token of a sane issuer."""
SKEW_SECONDS: Final = 60
"""How far the issuer's clock may differ from ours."""
VERIFIED_SECONDS_MAX: Final = 60.0
"""A verified token is believed so long (never past its expiry) without checking its signature again."""
VERIFIED_MAX: Final = 10_000
"""Verified tokens remembered."""
REFETCH_SECONDS: Final = 10.0
"""Between two fetches of an issuer's keys because of an unknown key id; strangers cannot make us hammer it."""
KEYS_SECONDS_MAX: Final = 3600.0
"""Keys older than this are fetched again before they are believed, so that a withdrawn key ends."""
FETCH_SECONDS_MAX: Final = 5.0
FETCH_BYTES_MAX: Final = 512 * 1024
RSA_BITS_MIN: Final = 2048
_OPAQUE = re.compile(r"[A-Za-z0-9_|.:-]{1,128}", re.ASCII)


class IssuerSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One trusted issuer. `audience` is what its tokens must be for; `jwks_url` replaces discovery."""

    issuer: str
    audience: str
    jwks_url: str | None = None
    algorithms: tuple[str, ...] = ALGORITHMS
    skew_seconds: int = SKEW_SECONDS
    tenant_claim: str = "tenant_id"
    roles_claim: str = "roles"
    clearance_claim: str = "clearance"

    def __post_init__(self) -> None:
        if not self.algorithms or not set(self.algorithms) <= set(ALGORITHMS):
            raise ValueError(f"algorithms of an issuer must be among {', '.join(ALGORITHMS)}")
        if not self.audience:
            raise ValueError("an issuer needs an audience: without one, any of its tokens would be accepted")
        for address in filter(None, (self.issuer, self.jwks_url)):
            if not _is_safe(address):
                raise ValueError(f"an issuer's address must be https (or http on this machine): {address}")


class TokenVerifier:
    """Turns a token into the principal it stands for, or refuses it."""

    def __init__(
        self, issuers: tuple[IssuerSettings, ...], *, clock: Callable[[], float] = monotonic
    ) -> None:
        self._issuers = {settings.issuer: _Issuer(settings, clock) for settings in issuers}
        self._clock = clock
        self._verified: dict[bytes, tuple[float, Principal]] = {}

    async def identify(self, token: str, now_us: int) -> Principal:
        """Return the token's principal; TOKEN_INVALID, TOKEN_EXPIRED, or TIMEOUT without the issuer's keys."""
        digest = sha256(token.encode("utf-8", "surrogatepass"))
        known = self._verified.get(digest)
        if known is not None and self._clock() < known[0]:
            return known[1]
        if len(token) > TOKEN_BYTES_MAX:
            raise Problem("TOKEN_INVALID", "The token is too long.")
        issuer, header = self._issuer_of(token)
        claims = await issuer.claims(token, header, now_us // SECOND_US)
        principal = _principal(issuer.settings, claims)
        seconds = min(VERIFIED_SECONDS_MAX, claims["exp"] - now_us / SECOND_US)
        if seconds > 0:
            while len(self._verified) >= VERIFIED_MAX:
                del self._verified[next(iter(self._verified))]
            self._verified[digest] = (self._clock() + seconds, principal)
        return principal

    async def close(self) -> None:
        """Stop fetching."""
        for issuer in self._issuers.values():
            await issuer.close()

    def _issuer_of(self, token: str) -> tuple[_Issuer, Mapping[str, Any]]:
        # Nothing is verified yet: the claims are read only to learn whose keys to verify with.
        try:
            unverified = extract_compact(token.encode("ascii"))
            claims = msgspec.json.decode(unverified.payload, type=dict[str, Any])
            header = unverified.headers()
        except (JoseError, msgspec.MsgspecError, ValueError, RecursionError):
            raise Problem("TOKEN_INVALID", "The credential is neither an API key nor a JWT.") from None
        name = claims.get("iss")
        issuer = self._issuers.get(name) if isinstance(name, str) else None
        if issuer is None:
            raise Problem("TOKEN_INVALID", "The token's issuer is not trusted here.")
        return issuer, header


class _Registry(JWSRegistry):
    """Allows exactly the configured algorithms.

    joserfc warns on `EdDSA`, which RFC 9864 renames to `Ed25519`; issuers use the old name still.
    """

    def get_alg(self, name: Any) -> Any:
        if not isinstance(name, str) or name not in (self.allowed or ()):
            raise JoseError("the algorithm is not allowed")
        return self.algorithms[name]


class _Issuer:
    def __init__(self, settings: IssuerSettings, clock: Callable[[], float]) -> None:
        self.settings = settings
        self._clock = clock
        self._registry = _Registry(algorithms=settings.algorithms, strict_check_header=False)
        self._keys: dict[str | None, RSAKey | ECKey | OKPKey] = {}
        self._fetched_at: float | None = None
        self._tried_at: float | None = None
        self._fetching: asyncio.Task[None] | None = None

    async def claims(self, token: str, header: Mapping[str, Any], now_seconds: int) -> dict[str, Any]:
        """Return the claims of a token whose signature, issuer, audience and times are right."""
        key = await self._key(header.get("kid"))
        required = JWTClaimsRegistry(
            now=now_seconds,
            leeway=self.settings.skew_seconds,
            iss=ClaimsOption(essential=True, value=self.settings.issuer),
            aud=ClaimsOption(essential=True, value=self.settings.audience),
            exp=ClaimsOption(essential=True),
            sub=ClaimsOption(essential=True),
        )
        try:
            decoded = jwt.decode(token, key, registry=self._registry)
            required.validate(decoded.claims)
        except ExpiredTokenError:
            raise Problem("TOKEN_EXPIRED") from None
        except (JoseError, ValueError, TypeError):
            raise Problem("TOKEN_INVALID") from None
        return decoded.claims

    async def _key(self, kid: Any) -> RSAKey | ECKey | OKPKey:
        if self._fetched_at is None or self._clock() - self._fetched_at > KEYS_SECONDS_MAX:
            await self._fetch()
            if self._fetched_at is None or self._clock() - self._fetched_at > KEYS_SECONDS_MAX:
                raise Problem("TIMEOUT", "The issuer's keys cannot be fetched.", retry_after=REFETCH_SECONDS)
        key = self._find(kid)
        if key is None:
            # The issuer may have rotated its keys since; looking again is bounded by REFETCH_SECONDS.
            await self._fetch()
            key = self._find(kid)
        if key is None:
            raise Problem("TOKEN_INVALID", "The token is signed with a key that its issuer does not publish.")
        return key

    def _find(self, kid: Any) -> RSAKey | ECKey | OKPKey | None:
        if kid is None and len(self._keys) == 1:
            return next(iter(self._keys.values()))
        return self._keys.get(kid) if isinstance(kid, str) else None

    async def _fetch(self) -> None:
        now = self._clock()
        if self._fetching is None:
            if self._tried_at is not None and now - self._tried_at < REFETCH_SECONDS:
                return
            self._tried_at = now
            self._fetching = asyncio.ensure_future(self._refresh())
        # Shielded: one caller that gives up must not cancel the fetch for the others.
        await asyncio.shield(self._fetching)

    async def _refresh(self) -> None:
        try:
            async with httpx.AsyncClient(timeout=FETCH_SECONDS_MAX, follow_redirects=False) as client:
                keys = _usable(await _get(client, await self._jwks_url(client)))
            if keys:
                self._keys = keys
                self._fetched_at = self._clock()
        except (httpx.HTTPError, msgspec.MsgspecError, ValueError, JoseError):
            # The old keys stay until KEYS_SECONDS_MAX; the next try is due after REFETCH_SECONDS.
            return
        finally:
            self._fetching = None

    async def _jwks_url(self, client: httpx.AsyncClient) -> str:
        if self.settings.jwks_url is not None:
            return self.settings.jwks_url
        # OpenID Connect Discovery 1.0 section 4: the document must name the very issuer it was asked of.
        document = await _get(client, self.settings.issuer.rstrip("/") + "/.well-known/openid-configuration")
        url = document.get("jwks_uri")
        if document.get("issuer") != self.settings.issuer or not isinstance(url, str) or not _is_safe(url):
            raise ValueError("the discovery document is another issuer's")
        return url

    async def close(self) -> None:
        if self._fetching is not None:
            self._fetching.cancel()


async def _get(client: httpx.AsyncClient, url: str) -> dict[str, Any]:
    raw = bytearray()
    async with client.stream("GET", url) as answer:
        answer.raise_for_status()
        async for chunk in answer.aiter_bytes():
            raw += chunk
            if len(raw) > FETCH_BYTES_MAX:
                raise ValueError("the document is too large")
    return msgspec.json.decode(bytes(raw), type=dict[str, Any])


def _usable(document: Mapping[str, Any]) -> dict[str | None, RSAKey | ECKey | OKPKey]:
    published = [
        key
        for key in document.get("keys", ())
        if isinstance(key, dict) and key.get("kty") in ("RSA", "EC", "OKP")
    ]
    usable: dict[str | None, RSAKey | ECKey | OKPKey] = {}
    for number, description in enumerate(published):
        if description.get("use", "sig") != "sig" or _is_short(description):
            continue
        try:
            key = KeySet.import_key_set({"keys": [description]}).keys[0]
        except (JoseError, ValueError, TypeError):
            continue  # One key that we do not understand must not cost the others.
        if isinstance(key, RSAKey | ECKey | OKPKey):
            usable[description.get("kid") or f"#{number}"] = key
    return usable


def _is_short(description: Mapping[str, Any]) -> bool:
    # Judged by its modulus before it is imported, because the library only warns.
    modulus = description.get("n")
    return description["kty"] == "RSA" and (
        not isinstance(modulus, str) or len(modulus) * 6 < RSA_BITS_MIN - 6
    )


def _principal(settings: IssuerSettings, claims: Mapping[str, Any]) -> Principal:
    granted = (
        _words(claims.get(settings.roles_claim)) | _words(claims.get("scp")) | _words(claims.get("scope"))
    )
    roles = granted & queries.ROLE_SCOPES.keys()
    tenants = _tenants(claims.get(settings.tenant_claim))
    operator = queries.OPERATOR in roles
    if not tenants and not operator:
        raise Problem("TOKEN_INVALID", f"The token has no claim {settings.tenant_claim} that names a tenant.")
    every_scope = frozenset().union(*queries.ROLE_SCOPES.values())
    subject = str(claims["sub"])
    pseudonym = "token:" + b64u(sha256(f"{settings.issuer}\0{subject}".encode())[:12])
    return Principal(
        # OpenID Connect asks for an opaque subject; an e-mail address used as one must not enter the log.
        id=subject if _OPAQUE.fullmatch(subject) else pseudonym,
        log_id=pseudonym,
        kind="user",
        home=next(iter(tenants)) if len(tenants) == 1 else None,
        tenants=None if operator else tenants,
        roles=frozenset(roles),
        scopes=queries.scopes_of(roles) | (granted & every_scope - {"tenants:manage"}),
        clearance=_clearance(claims.get(settings.clearance_claim)),
    )


def _words(claim: Any) -> frozenset[str]:
    if isinstance(claim, str):
        return frozenset(claim.split())
    return (
        frozenset(word for word in claim if isinstance(word, str)) if isinstance(claim, list) else frozenset()
    )


def _tenants(claim: Any) -> frozenset[TenantId]:
    try:
        return frozenset(tenant_id(name) for name in _words(claim))
    except ValueError:
        raise Problem("TOKEN_INVALID", "The token names a tenant that cannot exist.") from None


def _clearance(claim: Any) -> Clearance:
    try:
        return Clearance.named(claim) if isinstance(claim, str) else Clearance.NONE
    except ValueError:
        return Clearance.NONE


def _is_safe(address: str) -> bool:
    parts = urlsplit(address)
    if parts.scheme == "https":
        return bool(parts.hostname)
    host = parts.hostname or ""
    try:
        local = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = False
    return parts.scheme == "http" and local
