"""The reference page, made from the contract: operations by subject, types, errors, and a first request.

One document without scripts or anything from elsewhere, so that it can be searched, saved and printed; its
style is bound by its hash in the policy that the page is sent with.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, Final
from urllib.parse import urlencode

from atp.gateway.reference_types import (
    COMPONENTS,
    Fields,
    example,
    fields,
    has_fields,
    inline,
    pretty,
    prose,
    row,
    text,
)
from atp.kernel.hashing import sha256
from atp.specs import Operation, Specification
from atp.specs.loading import documents

COMMON_ERROR_OPERATIONS: Final = 20
"""Errors of at least so many operations are explained once, not at each of them."""
COMMON_HEADERS: Final = frozenset(
    {"x-correlation-id", "x-request-id", "traceparent", "user-agent", "x-tenant-id"}
)
"""Headers that every operation takes; they are explained once."""
_FIRST_REQUEST: Final = """\
# The first start wrote an admin key beside the data.
ATP=http://127.0.0.1:8080
KEY=$(cat var/admin.key)

# Send an event; the answer comes when its record is on disk.
curl -sS "$ATP/api/v1/audit-events" \\
  -H "Authorization: Bearer $KEY" -H 'Content-Type: application/json' \\
  -d '{"occurredAt": "2026-01-15T10:00:00Z",
       "actor": {"type": "user", "id": "u-17", "email": "jane@example.com"},
       "action": {"name": "document.deleted"},
       "resource": {"type": "document", "id": "doc-1"}}'

# Find it.
curl -sS "$ATP/api/v1/audit-events?actor=u-17" -H "Authorization: Bearer $KEY"
"""


@cache
def policy() -> str:
    """Return the Content-Security-Policy of the page: nothing but its own style."""
    digest = base64.b64encode(sha256(_style().encode())).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"


@cache
def _style() -> str:
    return files("atp").joinpath("static", "reference.css").read_text()


def page(specification: Specification) -> bytes:
    """Return the whole document."""
    contract = documents().openapi
    info = contract["info"]
    count = Counter(code for operation in specification.operations.values() for code in operation.errors)
    common = frozenset(code for code, times in count.items() if times >= COMMON_ERROR_OPERATIONS)
    groups = _groups(specification)
    said = {tag["name"]: tag.get("description", "") for tag in contract["tags"]}
    sections = "".join(
        f'<section id="{text(tag)}"><h2>{text(tag.capitalize())}</h2>{prose(said.get(tag, ""))}'
        + "".join(_operation(operation, common) for operation in operations)
        + "</section>"
        for tag, operations in groups.items()
    )
    title = text(info["title"])
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><link rel="icon" href="data:,">'
        f"<title>{title}: API reference</title><style>{_style()}</style></head><body>"
        f'<a class="skip" href="#content">Skip to the reference</a>{_contents(groups)}'
        f'<main id="content" tabindex="-1"><header><h1>{title}</h1><p class="lead">{inline(info["summary"])}</p>'
        f'<p>Version {text(info["version"])} · OpenAPI as <a href="/openapi.json">JSON</a> or '
        '<a href="/api/v1/openapi.yaml">YAML</a> · check a record in <a href="/verify">your browser</a> or with '
        '<a href="/verify.py">verify.py</a></p></header>'
        f'<section id="first-request"><h2>First request</h2><pre>{text(_FIRST_REQUEST)}</pre></section>'
        f'<section id="conventions"><h2>Conventions</h2>{prose(info["description"])}{_headers(contract)}</section>'
        f"{sections}{_scopes(contract)}{_errors(common)}{_types(contract)}</main></body></html>"
    ).encode()


def _groups(specification: Specification) -> dict[str, list[Operation]]:
    groups: dict[str, list[Operation]] = {}
    for operation in specification.operations.values():
        groups.setdefault(operation.tags[0], []).append(operation)
    return groups


def _contents(groups: Mapping[str, Sequence[Operation]]) -> str:
    def items(operations: Sequence[Operation]) -> str:
        return "".join(
            f'<li><a href="#{text(o.id)}"><span class="m {o.method.lower()}">{o.method}</span> {text(o.summary)}</a>'
            for o in operations
        )

    tags = "".join(
        f'<li><a href="#{text(tag)}">{text(tag.capitalize())}</a><ul>{items(operations)}</ul>'
        for tag, operations in groups.items()
    )
    return (
        '<nav aria-label="Contents"><ul><li><a href="#first-request">First request</a>'
        f'<li><a href="#conventions">Conventions</a>{tags}<li><a href="#scopes">Scopes and roles</a>'
        '<li><a href="#errors">Errors</a><li><a href="#types">Types</a></ul></nav>'
    )


def _operation(operation: Operation, common: frozenset[str]) -> str:
    source = operation.source
    return (
        f'<article id="{text(operation.id)}"><h3>{text(operation.summary)} '
        f'<a class="anchor" href="#{text(operation.id)}" aria-label="Link to {text(operation.summary)}">#</a></h3>'
        f'<p class="line"><span class="m {operation.method.lower()}">{operation.method}</span> '
        f"<code>{text(operation.path_template)}</code></p>{prose(source.get('description', ''))}"
        f"<dl>{''.join(f'<dt>{name}<dd>{said}' for name, said in _facts(operation))}</dl>"
        f"{_parameters(source)}{_body(source)}{_curl(operation)}{_answers(source)}{_own_errors(operation, common)}"
        "</article>"
    )


def _facts(operation: Operation) -> Iterator[tuple[str, str]]:
    scopes = ", ".join(f"<code>{text(scope)}</code>" for scope in sorted(operation.scopes))
    yield "Scopes", "none, it is public" if operation.public else scopes or "any credential"
    if operation.rate_limit:
        limit = operation.rate_limit
        yield "Rate limit", f"{limit.per_minute:,} a minute, counted as <code>{text(limit.name)}</code>"
    if operation.request_media_types:
        yield "Body", f"at most {operation.body_limit.bytes_max:,} bytes"
    others = [path for path in operation.path_templates if path != operation.path_template]
    if others:
        yield "Also at", ", ".join(f"<code>{text(path)}</code>" for path in others)
    if operation.deprecated:
        yield "Deprecated", text(f"since {operation.deprecated_since}, ends {operation.sunset or 'later'}")


def _described(source: Mapping[str, Any]) -> list[dict[str, Any]]:
    named = documents().openapi["components"]["parameters"]
    return [named[p["$ref"].rpartition("/")[2]] if "$ref" in p else p for p in source.get("parameters", ())]


def _parameter_rows(parameters: Sequence[Mapping[str, Any]]) -> str:
    rows = "".join(
        row(
            p["name"],
            p["schema"],
            required=p.get("required", False),
            meaning=p.get("description", ""),
            place=p["in"],
        )
        for p in parameters
    )
    return f"<table><thead><tr><th>Parameter<th>Type<th>Meaning</thead><tbody>{rows}</tbody></table>"


def _parameters(source: Mapping[str, Any]) -> str:
    own = [p for p in _described(source) if p["name"].lower() not in COMMON_HEADERS]
    return f"<h4>Parameters</h4>{_parameter_rows(own)}" if own else ""


def _headers(contract: Mapping[str, Any]) -> str:
    headers = [
        p for p in contract["components"]["parameters"].values() if p["name"].lower() in COMMON_HEADERS
    ]
    return f"<h3>Headers that every request may carry</h3>{_parameter_rows(headers)}"


def _body(source: Mapping[str, Any]) -> str:
    body = source.get("requestBody")
    if not body:
        return ""
    need = "required" if body.get("required") else "optional"
    told = inline(body.get("description", ""))
    return f"<h4>Request body <small>{need}</small></h4><p>{told}</p>{_contents_of(body['content'], told_fields=True)}"


def _contents_of(content: Mapping[str, Any], *, told_fields: bool = False) -> str:
    """Return each media type with its type and either its fields, where a request shows an example, or an example."""
    found = []
    for media_type, said in content.items():
        schema: Fields = said.get("schema", {})
        named = schema.get("$ref", "").startswith(COMPONENTS)
        link = f", a {_type_link(schema)}" if named else ""
        shown = None if told_fields else example(schema)
        sample = "" if shown is None else f'<pre aria-label="Example">{text(pretty(shown))}</pre>'
        table = fields(schema) if told_fields else ""
        found.append(f"<p><code>{text(media_type)}</code>{link}</p>{table}{sample}")
    return "".join(found)


def _type_link(schema: Fields) -> str:
    name = schema["$ref"].removeprefix(COMPONENTS)
    return f'<a href="#type-{text(name)}">{text(name)}</a>'


def _curl(operation: Operation) -> str:
    """Return a request that can be pasted after the first one's lines."""
    path, query = operation.path_template, {}
    for parameter in operation.parameters:
        shown = example(parameter.schema)
        if parameter.location == "path":
            path = path.replace(f"{{{parameter.name}}}", str(shown or f"<{parameter.name}>"))
        elif parameter.location == "query" and parameter.required:
            query[parameter.name] = shown
    lines = [f'curl -sS "$ATP{path}{"?" + urlencode(query) if query else ""}"']
    if operation.method not in ("GET", "POST") or (
        operation.method == "POST" and not operation.request_media_types
    ):
        lines[0] += f" -X {operation.method}"
    if not operation.public:
        lines.append('-H "Authorization: Bearer $KEY"')
    if operation.request_media_types:
        content = operation.source["requestBody"]["content"]
        media_type = next(iter(content))
        body = example(content[media_type].get("schema", {}))
        lines += [
            f"-H 'Content-Type: {media_type}'",
            f"-d '{pretty(body)}'" if body is not None else "-d @body",
        ]
    if operation.id == "tailAuditEvents":
        lines[0] += " -N"
    request = " \\\n  ".join(lines)
    return f"<h4>Request</h4><pre>{text(request)}</pre>"


def _answers(source: Mapping[str, Any]) -> str:
    found = []
    for status, answer in source["responses"].items():
        if status.isdigit() and int(status) < 400:
            head = f'<p><b class="status">{status}</b> {inline(answer.get("description", ""))}</p>'
            found.append(head + _contents_of(answer.get("content", {})))
    return f"<h4>Answer</h4>{''.join(found)}"


def _own_errors(operation: Operation, common: frozenset[str]) -> str:
    rest = '<p>And the <a href="#errors">errors that every such operation has in common</a>.</p>'
    own = [code for code in documents().errors if code in operation.errors - common]
    return f"<h4>Errors</h4>{_error_table(own)}{rest}" if own else f"<h4>Errors</h4>{rest}"


def _error_table(codes: Sequence[str], *, anchors: bool = False) -> str:
    rows = "".join(
        f"<tr{f' id=error-{code}' if anchors else ''}><td><code>{text(code)}</code><td>{entry['status']}"
        f"<td><b>{text(entry['title'])}.</b> {inline(entry['description'])}"
        f"{' <i>The same request may be sent again.</i>' if entry['retryable'] else ''}"
        for code in codes
        for entry in [documents().errors[code]]
    )
    return f"<table class=errors><thead><tr><th>Code<th>Status<th>What it means, and what to do</thead><tbody>{rows}</tbody></table>"


def _errors(common: frozenset[str]) -> str:
    catalogue = documents().errors
    problem = documents().openapi["components"]["schemas"]["Problem"]
    return (
        '<section id="errors"><h2>Errors</h2><p>Decide by <code>code</code>; the status only sorts, and the message is '
        f"for people. Every refusal has this form:</p><pre>{text(pretty(example(problem)))}</pre>"
        f"<h3>Common to most operations</h3>{_error_table([c for c in catalogue if c in common], anchors=True)}"
        f"<h3>Of single operations</h3>{_error_table([c for c in catalogue if c not in common], anchors=True)}</section>"
    )


def _scopes(contract: Mapping[str, Any]) -> str:
    roles: Mapping[str, Sequence[str]] = contract["x-atp-roles"]
    rows = "".join(
        f"<tr><td><code>{text(scope)}</code><td>{inline(said)}"
        f"<td>{', '.join(f'<code>{text(role)}</code>' for role, scopes in roles.items() if scope in scopes)}"
        for scope, said in contract["x-atp-scopes"].items()
    )
    return (
        '<section id="scopes"><h2>Scopes and roles</h2><p>An operation asks for scopes; a key or token has roles, '
        "and each role gives some scopes.</p><table><thead><tr><th>Scope<th>Allows to<th>Roles that have it</thead>"
        f"<tbody>{rows}</tbody></table></section>"
    )


def _types(contract: Mapping[str, Any]) -> str:
    entries = "".join(
        f'<article id="type-{text(name)}"><h3>{text(name)} <a class="anchor" href="#type-{text(name)}" '
        f'aria-label="Link to {text(name)}">#</a></h3>{prose(schema.get("description", ""))}{fields(schema)}</article>'
        for name, schema in contract["components"]["schemas"].items()
        if has_fields(schema)
    )
    return f'<section id="types"><h2>Types</h2>{entries}</section>'
