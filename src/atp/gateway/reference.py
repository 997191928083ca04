"""What a visitor may fetch: the contract, its reference page, and the verifiers.

All of it is the same for everyone and for the process's life; each is made once, when first asked for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache, partial
from importlib.resources import files

import msgspec

from atp.gateway.reference_page import page, policy
from atp.specs import Specification
from atp.specs.loading import contracts_folder, documents
from atp.web.request import Handler, Request
from atp.web.response import PRIVATE_REVALIDATE, Response, tag_of

HTML = "text/html; charset=utf-8"


class ReferenceApi:
    """The handlers; the page is made from the specification once, when first asked for."""

    def __init__(self, specification: Specification) -> None:
        self._page = cache(partial(page, specification))

    def handlers(self) -> Mapping[str, Handler]:
        """Return the handler of each operation."""
        return {
            "getRoot": self.root,
            "getReference": self.reference,
            "getOpenApi": self.openapi,
            "getOpenApiYaml": self.openapi_yaml,
            "getVerifierPage": self.verifier_page,
            "getVerifierScript": self.verifier_script,
        }

    async def root(self, request: Request) -> Response:
        """Lead to the reference."""
        return Response(307, headers=(("location", "/docs"),))

    async def reference(self, request: Request) -> Response:
        """Give the reference page."""
        return _kept(self._page(), HTML, policy=policy())

    async def openapi(self, request: Request) -> Response:
        """Give the contract, expanded, as JSON."""
        return _kept(_openapi_json(), "application/json")

    async def openapi_yaml(self, request: Request) -> Response:
        """Give the contract as YAML."""
        return _kept(_openapi_yaml(), "application/yaml")

    async def verifier_page(self, request: Request) -> Response:
        """Give the verifier that runs in the browser."""
        return _kept(_static("verify.html"), HTML, policy=_verifier_policy())

    async def verifier_script(self, request: Request) -> Response:
        """Give the verifier that runs anywhere."""
        return _kept(_static("verify.py"), "text/x-python; charset=utf-8")


def _kept(raw: bytes, media_type: str, *, policy: str | None = None) -> Response:
    headers = (("content-security-policy", policy),) if policy else ()
    return Response(
        200, raw, media_type=media_type, headers=headers, etag=tag_of(raw), cache_control=PRIVATE_REVALIDATE
    )


@cache
def _static(name: str) -> bytes:
    return files("atp").joinpath("static", name).read_bytes()


@cache
def _verifier_policy() -> str:
    """Return the policy that the page states in itself, so that it binds a saved copy too; here it is a header."""
    stated = re.search(rb'http-equiv="Content-Security-Policy" content="([^"]+)"', _static("verify.html"))
    assert stated is not None, "the verifier's page states its policy"
    return f"{stated[1].decode()}; frame-ancestors 'none'"


@cache
def _openapi_json() -> bytes:
    return msgspec.json.encode(documents().openapi)


@cache
def _openapi_yaml() -> bytes:
    return (contracts_folder() / "openapi" / "atp.v1.yaml").read_bytes()
