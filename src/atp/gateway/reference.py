"""What a visitor may fetch: the contract, its reference page, and the verifiers. Static for the process's life."""

from __future__ import annotations

import html
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

import msgspec

from atp.specs import Operation, Specification
from atp.specs.loading import contracts_folder, documents
from atp.web.request import Handler, Request
from atp.web.response import PRIVATE_REVALIDATE, Response, tag_of

HTML = "text/html; charset=utf-8"
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a;"
    "background:#fff}h2{border-top:1px solid #ccc;padding-top:1rem;margin-top:2.5rem}"
    "h3{margin-bottom:.2rem}code,pre{font:14px/1.45 ui-monospace,monospace;background:#f4f4f2}"
    "pre{padding:.8rem;overflow-x:auto}.m{font-weight:700}table{border-collapse:collapse;width:100%}"
    "td,th{text-align:left;vertical-align:top;border-top:1px solid #ddd;padding:.3rem .6rem .3rem 0}"
    "@media(prefers-color-scheme:dark){body{background:#16181c;color:#e6e6e6}code,pre{background:#24272d}"
    "a{color:#8ab4f8}td,th,h2{border-color:#444}}"
)


class ReferenceApi:
    """The handlers; the page is made from the specification once, when first asked for."""

    def __init__(self, specification: Specification) -> None:
        self._specification = specification

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
        return _kept(_page(self._specification), HTML)

    async def openapi(self, request: Request) -> Response:
        """Give the contract, expanded, as JSON."""
        return _kept(_openapi_json(), "application/json")

    async def openapi_yaml(self, request: Request) -> Response:
        """Give the contract as YAML."""
        return _kept(_openapi_yaml(), "application/yaml")

    async def verifier_page(self, request: Request) -> Response:
        """Give the verifier that runs in the browser."""
        return _kept(_static("verify.html"), HTML)

    async def verifier_script(self, request: Request) -> Response:
        """Give the verifier that runs anywhere."""
        return _kept(_static("verify.py"), "text/x-python; charset=utf-8")


def _kept(raw: bytes, media_type: str) -> Response:
    return Response(200, raw, media_type=media_type, etag=tag_of(raw), cache_control=PRIVATE_REVALIDATE)


@cache
def _static(name: str) -> bytes:
    return files("atp").joinpath("static", name).read_bytes()


@cache
def _openapi_json() -> bytes:
    return msgspec.json.encode(documents().openapi)


@cache
def _openapi_yaml() -> bytes:
    return (contracts_folder() / "openapi" / "atp.v1.yaml").read_bytes()


@cache
def _page(specification: Specification) -> bytes:
    """Return the reference: an entry per operation, by tag, with its parameters, answers, scopes, limits and errors."""
    tags: dict[str, list[Operation]] = {}
    for operation in specification.operations.values():
        tags.setdefault(operation.tags[0], []).append(operation)
    info = documents().openapi["info"]
    contents = "".join(f'<li><a href="#{tag}">{tag}</a></li>' for tag in tags)
    sections = "".join(
        f'<h2 id="{tag}">{tag}</h2>' + "".join(map(_entry, operations)) for tag, operations in tags.items()
    )
    page = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{_text(info['title'])}</title><style>{_STYLE}</style><h1>{_text(info['title'])}</h1>"
        f"<p>Version {_text(info['version'])} · <a href='/openapi.json'>OpenAPI as JSON</a> · "
        f"<a href='/api/v1/openapi.yaml'>YAML</a> · <a href='/verify'>verifier for the browser</a> · "
        f"<a href='/verify.py'>verify.py</a></p><nav><ul>{contents}</ul></nav>{sections}</html>"
    )
    return page.encode()


def _entry(operation: Operation) -> str:
    raw = _raw(operation)
    scopes = ", ".join(sorted(operation.scopes)) or "public"
    limit = operation.rate_limit
    parameters = "".join(
        f"<tr><td><code>{_text(parameter.name)}</code></td><td>{_text(parameter.location)}</td>"
        f"<td>{'required' if parameter.required else ''}</td></tr>"
        for parameter in operation.parameters
    )
    answers = "".join(
        f"<tr><td><code>{_text(status)}</code></td><td>{_text(answer.get('description', ''))}</td></tr>"
        for status, answer in raw["responses"].items()
    )
    example = _example(raw)
    return (
        f'<h3 id="{operation.id}"><span class="m">{operation.method}</span> '
        f"<code>{_text(operation.path_template)}</code></h3><p>{_text(raw.get('description', ''))}</p>"
        f"<p>Scopes: {_text(scopes)}. Limit: {_text(f'{limit.per_minute} a minute' if limit else 'none')}.</p>"
        + (f"<table>{parameters}</table>" if parameters else "")
        + (f"<p>Body:</p><pre>{_text(example)}</pre>" if example else "")
        + f"<table>{answers}</table><p>Errors: {_text(', '.join(sorted(operation.errors)))}</p>"
    )


def _raw(operation: Operation) -> dict[str, Any]:
    found: dict[str, Any] = documents().openapi["paths"][operation.path_template][operation.method.lower()]
    return found


def _example(raw: Mapping[str, Any]) -> str:
    content = raw.get("requestBody", {}).get("content", {}).get("application/json", {})
    examples = _resolved(content.get("schema", {})).get("examples", [])
    return msgspec.json.format(msgspec.json.encode(examples[0]), indent=2).decode() if examples else ""


def _resolved(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    reference = schema.get("$ref", "")
    if reference.startswith("#/components/schemas/"):
        found: Mapping[str, Any] = documents().openapi["components"]["schemas"][reference.rpartition("/")[2]]
        return found
    return next((value for path, value in documents().schemas.items() if reference.endswith(path)), schema)


def _text(value: object) -> str:
    return html.escape(str(value))
