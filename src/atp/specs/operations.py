"""The operations of the contract: what the gateway dispatches, checks, limits and answers by.

Built once from the expanded OpenAPI document; validators are compiled when an operation is first used.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from types import MappingProxyType
from typing import Any, Literal

from atp.kernel.errors import Detail, Problem
from atp.specs import schemas
from atp.specs.expansion import METHODS
from atp.specs.loading import documents

BODY_BYTES_MAX = 256 * 1024
"""Bytes of a request body where the operation sets no limit of its own."""
_INTEGER = re.compile(r"-?(0|[1-9][0-9]{0,18})", re.ASCII)
_BOOLEANS = {"true": True, "false": False}

Location = Literal["path", "query", "header"]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter. `rest` marks a path parameter that may hold slashes; `kind` is its JSON type."""

    name: str
    location: Location
    required: bool
    schema: Mapping[str, Any]
    kind: str
    rest: bool = False

    @property
    def key(self) -> str:
        """The name under which a request holds it: header names are compared in lower case."""
        return self.name.lower() if self.location == "header" else self.name

    def coerced(self, text: str) -> Any:
        """Return the text as the parameter's type; text that is none stays, and the schema then refuses it."""
        if self.kind == "integer" and _INTEGER.fullmatch(text):
            return int(text)
        if self.kind == "boolean":
            return _BOOLEANS.get(text, text)
        if self.kind == "array":
            return text.split(",") if text else []  # How OpenAPI's style `form` writes an empty array.
        return text


@dataclass(frozen=True, slots=True)
class RateLimit:
    """Requests a minute of one tenant; operations with the same name share one budget."""

    name: str
    per_minute: int


@dataclass(frozen=True, slots=True)
class BodyLimit:
    """How many bytes a body may have, decompressed, and the code that refuses a larger one."""

    bytes_max: int = BODY_BYTES_MAX
    error: str = "PAYLOAD_TOO_LARGE"


@dataclass(frozen=True)
class Operation:
    """One operation of the contract.

    `path_templates` holds `path_template` and all its aliases. `scopes` are all needed. An operation that is
    `tenant_scoped` works for exactly one tenant; one that is `public` needs no credential. `responses` maps a
    status to the media types it is answered in, none where it has no body. `source` is the operation in the document.
    """

    id: str
    method: str
    path_template: str
    path_templates: tuple[str, ...]
    summary: str
    tags: tuple[str, ...]
    scopes: frozenset[str]
    public: bool
    tenant_scoped: bool
    rate_limit: RateLimit | None
    body_limit: BodyLimit
    parameters: tuple[Parameter, ...]
    request_media_types: tuple[str, ...]
    request_required: bool
    responses: Mapping[int, tuple[str, ...]]
    errors: frozenset[str]
    deprecated: bool
    deprecated_since: str | None
    sunset: str | None
    source: Mapping[str, Any] = field(repr=False)

    @cached_property
    def request_validator(self) -> schemas.Validator | None:
        """The validator of a JSON body, or None where the operation takes none."""
        for media_type in self.request_media_types:
            if media_type.endswith("json") and media_type != "application/x-ndjson":
                schema = self.source["requestBody"]["content"][media_type]["schema"]
                return schemas.Validator(schemas.in_openapi(schema))
        return None

    def check_parameters(
        self, path: Mapping[str, str], query: Iterable[tuple[str, str]], headers: Mapping[str, str]
    ) -> dict[str, Any]:
        """Return the parameters by name, typed and with defaults.

        `path` holds decoded path parameters, `query` the decoded pairs in order, `headers` values by lower-case
        name. Raises VALIDATION_FAILED with every violation; unknown or repeated query parameters are two of
        them. Headers that the contract does not name are ignored.
        """
        faults: list[Detail] = []
        given = self._given(path, query, headers, faults)
        values = {parameter.name: parameter.coerced(text) for parameter, text in given}
        if not self._parameter_validator.is_valid(values):
            faults += self._parameter_validator.violations(values)
        if faults:
            raise Problem("VALIDATION_FAILED", details=faults)
        return {**self._defaults, **values}

    def check_body(self, value: Any) -> None:
        """Raise VALIDATION_FAILED with every violation of the contract in a decoded JSON body."""
        if self.request_validator is not None and not self.request_validator.is_valid(value):
            raise Problem("VALIDATION_FAILED", details=self.request_validator.violations(value))

    def _given(
        self,
        path: Mapping[str, str],
        query: Iterable[tuple[str, str]],
        headers: Mapping[str, str],
        faults: list[Detail],
    ) -> list[tuple[Parameter, str]]:
        given = [
            (parameter, source[parameter.key])
            for parameter in self.parameters
            if parameter.location != "query"
            and parameter.key in (source := path if parameter.location == "path" else headers)
        ]
        seen: set[str] = set()
        for name, text in query:
            parameter = self._query_parameters.get(name)
            if parameter is None:
                faults.append(Detail(schemas.field_name([name]), _unknown(name, self._query_parameters)))
            elif name in seen:
                faults.append(Detail(name, "is given more than once"))
            else:
                seen.add(name)
                given.append((parameter, text))
        return given

    @cached_property
    def _query_parameters(self) -> Mapping[str, Parameter]:
        return {parameter.name: parameter for parameter in self.parameters if parameter.location == "query"}

    @cached_property
    def _defaults(self) -> Mapping[str, Any]:
        resolved = {parameter.name: parameter.schema for parameter in self.parameters}
        return {name: schema["default"] for name, schema in resolved.items() if "default" in schema}

    @cached_property
    def _parameter_validator(self) -> schemas.Validator:
        schema = {
            "type": "object",
            "properties": {p.name: schemas.in_openapi(p.schema) for p in self.parameters},
            "required": [p.name for p in self.parameters if p.required],
        }
        return schemas.Validator(schema)


class Specification:
    """The whole contract. `document` is the expanded OpenAPI document that GET /openapi.json serves."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = document
        self.scopes: Mapping[str, str] = document["x-atp-scopes"]
        self.roles: Mapping[str, frozenset[str]] = {
            name: frozenset(scopes) for name, scopes in document["x-atp-roles"].items()
        }
        self.operations: Mapping[str, Operation] = MappingProxyType(
            {
                source["operationId"]: _operation(document, path, method, source)
                for path, item in document["paths"].items()
                for method, source in item.items()
                if method in METHODS
            }
        )

    def response_schema(
        self, operation_id: str, status: int, media_type: str | None = None
    ) -> dict[str, Any] | None:
        """Return the schema of an answer's body, or None where it has none.

        Without a media type, the JSON one is meant. References in it are absolute; compile it with
        `schemas.Validator`. KeyError where the contract knows no such answer.
        """
        source = self.operations[operation_id].source["responses"][str(status)]
        content = source.get("content", {})
        if media_type is None:
            media_type = next((name for name in content if name.endswith("json")), next(iter(content), None))
        return None if media_type is None else schemas.in_openapi(content[media_type]["schema"])

    def response_headers(self, operation_id: str, status: int) -> Mapping[str, bool]:
        """Return the headers that an answer may carry by lower-case name, and whether it must."""
        source = self.operations[operation_id].source["responses"][str(status)]
        return {
            name.lower(): bool(_resolved(self.document, header).get("required"))
            for name, header in source.get("headers", {}).items()
        }


@lru_cache(maxsize=1)
def load() -> Specification:
    """Return the contract of this version of the program; read once per process."""
    return Specification(documents().openapi)


def _operation(document: Mapping[str, Any], path: str, method: str, source: Mapping[str, Any]) -> Operation:
    limit = source["x-atp-rate-limit"]
    body = source.get("x-atp-body-limit")
    public = source.get("security") == []
    aliases, alias_parameters = _aliases(document, path, source)
    own = [_parameter(document, reference) for reference in source["parameters"]]
    content = source.get("requestBody", {}).get("content", {})
    return Operation(
        id=source["operationId"],
        method=method.upper(),
        path_template=path,
        path_templates=(path, *aliases),
        summary=source["summary"],
        tags=tuple(source["tags"]),
        scopes=frozenset(source.get("x-atp-scopes", ())),
        public=public,
        tenant_scoped=not public and source.get("x-atp-tenant") != "none",
        rate_limit=None if limit == "none" else RateLimit(**limit),
        body_limit=BodyLimit(body["bytes"], body["error"]) if body else BodyLimit(),
        parameters=(*own, *alias_parameters),
        request_media_types=tuple(content),
        request_required=bool(source.get("requestBody", {}).get("required")),
        responses={
            int(status): tuple(response.get("content", ()))
            for status, response in source["responses"].items()
        },
        errors=frozenset(source["x-atp-errors"]),
        deprecated=bool(source.get("deprecated")),
        deprecated_since=source.get("x-atp-deprecated-since"),
        sunset=source.get("x-atp-sunset"),
        source=source,
    )


def _aliases(
    document: Mapping[str, Any], path: str, source: Mapping[str, Any]
) -> tuple[list[str], list[Parameter]]:
    """Return the other paths of an operation, and the parameters that only these have."""
    paths: list[str] = []
    parameters: list[Parameter] = []
    scoped = source.get("security") != [] and source.get("x-atp-tenant") != "none"
    for alias in document["x-atp-path-aliases"]:
        if "prefix" not in alias:
            if alias["from"] == path and source["operationId"] in alias["operations"]:
                paths.append(alias["to"])
        elif scoped and path.startswith(alias["prefix"]) and f"{{{_name(document, alias)}}}" not in path:
            paths.append(alias["to"] + path.removeprefix(alias["prefix"]))
            found = _parameter(document, {"$ref": f"#/components/parameters/{alias['parameter']}"})
            parameters.append(Parameter(found.name, "path", False, found.schema, found.kind))  # noqa: FBT003
    return paths, parameters


def _name(document: Mapping[str, Any], alias: Mapping[str, Any]) -> str:
    name: str = document["components"]["parameters"][alias["parameter"]]["name"]
    return name


def _parameter(document: Mapping[str, Any], reference: Mapping[str, Any]) -> Parameter:
    source = _resolved(document, reference)
    schema = source["schema"]
    resolved = _resolved(document, schema)
    return Parameter(
        name=source["name"],
        location=source["in"],
        required=bool(source.get("required")),
        # A default beside a reference counts as well as one inside it.
        schema={**schema, **({"default": resolved["default"]} if "default" in resolved else {})},
        kind=resolved.get("type", "string"),
        rest=bool(source.get("x-atp-path-rest")),
    )


def _resolved(document: Mapping[str, Any], node: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a node refers to, with the members beside the reference on top."""
    while isinstance(node.get("$ref"), str):
        target: Any = document
        for part in node["$ref"].removeprefix("#/").split("/"):
            target = target[part.replace("~1", "/").replace("~0", "~")]
        node = {**target, **{name: value for name, value in node.items() if name != "$ref"}}
        if node.get("$ref") is None:
            break
    return node


def _unknown(name: str, known: Sequence[str] | Mapping[str, Any]) -> str:
    import difflib  # Only a mistake needs it, and it takes 10 ms to import.

    near = difflib.get_close_matches(name, list(known), n=1)
    return f"is not a known parameter; {near[0]} is" if near else "is not a known parameter"
