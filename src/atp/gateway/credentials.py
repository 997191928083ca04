"""Who is calling: an API key or a token, from `Authorization: Bearer …` or `X-Api-Key` (SEC-01).

Request headers come in, a principal goes out; which tenant is meant is decided afterwards, in `tenancy`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from atp.kernel.errors import Problem
from atp.tenants import queries
from atp.tenants.queries import Directory
from atp.web.principal import Principal

if TYPE_CHECKING:  # An installation without an issuer never loads the HTTP client and the JOSE library.
    from atp.gateway.tokens import TokenVerifier

_KEY_PREFIX = "atp_"
_BEARER = "bearer "


class Authentication:
    """Turns request headers into a principal.

    `used` hears of every key that was accepted; it must be quick.
    """

    def __init__(
        self,
        directory: Directory,
        *,
        tokens: TokenVerifier | None = None,
        used: Callable[[str, int], None] = lambda _key_id, _now_us: None,
    ) -> None:
        self._directory = directory
        self._tokens = tokens
        self._used = used

    async def identify(self, headers: Mapping[str, str], now_us: int) -> Principal:
        """Return the caller, or raise one of the catalogue's 401s."""
        credential = _credential(headers)
        if credential.startswith(_KEY_PREFIX):
            return await self._by_key(credential, now_us)
        if self._tokens is None:
            raise Problem("TOKEN_INVALID", "No issuer of tokens is trusted here; use an API key.")
        return await self._tokens.identify(credential, now_us)

    async def _by_key(self, credential: str, now_us: int) -> Principal:
        parsed = queries.parse_key_text(credential)
        key = None if parsed is None else await self._directory.key(parsed[0])
        # An unknown id and a wrong secret are answered alike, before anything is said about the key's state.
        if parsed is None or key is None or not queries.secret_matches(key, parsed[1]):
            raise Problem("UNAUTHENTICATED", "The API key is not known.")
        principal = queries.principal_of(key, now_us)
        self._used(key.id, now_us)
        return principal


def _credential(headers: Mapping[str, str]) -> str:
    authorization = headers.get("authorization")
    api_key = headers.get("x-api-key")
    if authorization is None:
        if api_key is None:
            raise Problem("UNAUTHENTICATED")
        return api_key.strip()
    if authorization[: len(_BEARER)].lower() != _BEARER:
        raise Problem("UNAUTHENTICATED", "The Authorization header must use the scheme Bearer.")
    bearer = authorization[len(_BEARER) :].strip()
    if api_key is not None and api_key.strip() != bearer:
        raise Problem("UNAUTHENTICATED", "Two different credentials were sent; send one.")
    return bearer
