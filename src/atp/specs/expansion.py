"""Expands the OpenAPI document into the form that is served: pure, from documents to a document.

What the source says once under `x-atp-*` is written out in every operation, references to other files become
references to components, and each error code becomes a response of its status.
"""

from __future__ import annotations

import posixpath
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

METHODS = ("get", "put", "post", "delete", "patch", "options", "head")
_OPENAPI_FOLDER = "openapi"
_PROBLEM = "#/components/schemas/Problem"


def expand(
    openapi: Mapping[str, Any], schemas: Mapping[str, Any], errors: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    """Return the self-contained document; KeyError where it names a schema, group or error that is not there."""
    document = _inlined(openapi, schemas)
    groups = document["x-atp-error-groups"]
    shared = document["x-atp-shared"]
    for operation in _operations(document):
        operation["x-atp-errors"] = _codes(operation["x-atp-errors"], groups)
        public = operation.get("security") == []
        names = shared["parameters"] + (
            [] if public or _tenantless(operation) else shared["tenantParameters"]
        )
        operation.setdefault("parameters", []).extend(
            {"$ref": f"#/components/parameters/{name}"} for name in names
        )
        _add_problems(operation, errors)
        _add_headers(operation, shared)
    return document


def _operations(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for item in document["paths"].values():
        for method in METHODS:
            if method in item:
                yield item[method]


def _tenantless(operation: Mapping[str, Any]) -> bool:
    return operation.get("x-atp-tenant") == "none"


def _codes(listed: list[str], groups: Mapping[str, list[str]]) -> list[str]:
    codes: dict[str, None] = {}
    for name in listed:
        codes.update(dict.fromkeys(_codes(groups[name[1:]], groups) if name.startswith("@") else [name]))
    return sorted(codes)


def _add_problems(operation: dict[str, Any], errors: Mapping[str, Mapping[str, Any]]) -> None:
    by_status: dict[str, list[str]] = defaultdict(list)
    for code in operation["x-atp-errors"]:
        by_status[str(errors[code]["status"])].append(code)
    responses = operation["responses"]
    # The exact statuses say more than `default`, and whatever else is answered is then a breach of contract.
    responses.pop("default", None)
    for status, codes in sorted(by_status.items()):
        lines = [f"`{code}`: {errors[code]['title']}." for code in codes]
        response = {
            "description": "\n".join(lines),
            "content": {"application/problem+json": {"schema": {"$ref": _PROBLEM}}},
        }
        if any(errors[code]["retryable"] for code in codes):
            response["headers"] = {"Retry-After": _header("Retry-After")}
        responses.setdefault(status, response)


def _add_headers(operation: dict[str, Any], shared: Mapping[str, list[str]]) -> None:
    names = list(shared["responseHeaders"])
    if operation["x-atp-rate-limit"] != "none":
        names += shared["rateLimitedResponseHeaders"]
    if operation.get("deprecated"):
        names += shared["deprecatedResponseHeaders"]
    for response in operation["responses"].values():
        headers = response.setdefault("headers", {})
        for name in names:
            headers.setdefault(name, _header(name))


def _header(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/headers/{name}"}


def _inlined(openapi: Mapping[str, Any], schemas: Mapping[str, Any]) -> dict[str, Any]:
    """Return a deep copy in which every schema file that is referred to has become a component."""
    needed: dict[str, None] = {}
    document: dict[str, Any] = _rewritten(openapi, _OPENAPI_FOLDER, needed)
    components = document["components"]["schemas"]
    done: set[str] = set()
    while waiting := [path for path in needed if path not in done]:
        for path in waiting:
            done.add(path)
            name = _component(path)
            if name in components:
                raise ValueError(f"two schemas are called {name}")
            components[name] = _rewritten(schemas[path], posixpath.dirname(path), needed, own=name)
            components[name].pop("$schema", None)
    return document


def _rewritten(node: Any, folder: str, needed: dict[str, None], *, own: str | None = None) -> Any:
    if isinstance(node, list):
        return [_rewritten(item, folder, needed, own=own) for item in node]
    if not isinstance(node, Mapping):
        return node
    copy = {name: _rewritten(value, folder, needed, own=own) for name, value in node.items()}
    reference = node.get("$ref")
    if isinstance(reference, str):
        copy["$ref"] = _target(reference, folder, needed, own)
    return copy


def _target(reference: str, folder: str, needed: dict[str, None], own: str | None) -> str:
    file, _, inside = reference.partition("#")
    if not file:
        return reference if own is None else f"#/components/schemas/{own}{inside}"
    path = posixpath.normpath(posixpath.join(folder, file))
    needed[path] = None
    return f"#/components/schemas/{_component(path)}{inside}"


def _component(path: str) -> str:
    """Return a file's name as a component: audit-event.v1.json becomes AuditEventV1."""
    stem = posixpath.basename(path).removesuffix(".json")
    return "".join(
        word[:1].upper() + word[1:] for word in stem.replace(".", "-").replace("_", "-").split("-")
    )
