"""Compiles JSON Schemas into validators whose violations can be shown to a caller.

jsonschema-rs decides what is valid; its messages quote the value, which may be personal, so the words of a
violation are ours. A schema may explain its `pattern` in words with `x-atp-pattern`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, lru_cache
from pathlib import PurePosixPath
from typing import Any

import jsonschema_rs

from atp.kernel.errors import MISSING, Detail
from atp.specs.loading import documents

VIOLATIONS_MAX = 100
"""Violations reported for one value; the caller mends these and finds the rest with the next try."""
VALUE_LENGTH_MAX = 64
"""Characters of a wrong value that are echoed."""
_BASE = "https://contracts.invalid/"
_OPENAPI_URI = f"{_BASE}openapi/atp.v1.json"
_PERSONAL = frozenset({"actor", "context", "payload", "q", "query"})
_PLAIN_NAME = re.compile(r"[A-Za-z_~$][\w~$-]*", re.ASCII)
_ARTICLES = {"array": "an array", "integer": "an integer", "object": "an object", "null": "null"}


class Validator:
    """A compiled schema. `is_valid` is fast and says nothing; `violations` is for values that are not valid."""

    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._compiled = jsonschema_rs.Draft202012Validator(
            dict(schema), registry=_registry(), validate_formats=True, offline=True
        )

    def is_valid(self, value: Any) -> bool:
        """Tell whether `value`, as decoded from JSON, satisfies the schema. Integers may have any size."""
        return self._compiled.is_valid(value)

    def violations(self, value: Any) -> list[Detail]:
        """Return every violation, up to VIOLATIONS_MAX, in the order of the fields' names.

        Fields are dotted paths such as `payload.items[3].x`. Values are given only where they are scalar and
        not inside actor, context, payload or a search text, which may be personal.
        """
        found: dict[tuple[str, str], Detail] = {}
        for error in self._compiled.iter_errors(value):
            for detail in _details(error):
                found.setdefault((detail.field, detail.issue), detail)
            if len(found) >= VIOLATIONS_MAX:
                break
        return sorted(found.values(), key=lambda detail: (detail.field, detail.issue))[:VIOLATIONS_MAX]


@cache
def validator(name: str) -> Validator:
    """Return the validator of a schema file by its stem, such as `audit-event.v1`; KeyError if there is none."""
    return Validator({"$ref": _BASE + schema_paths()[name]})


@lru_cache(maxsize=1)
def schema_paths() -> Mapping[str, str]:
    """Return the path under contracts/ of every schema by its stem; stems are unique."""
    return {PurePosixPath(path).name.removesuffix(".json"): path for path in documents().schemas}


def in_openapi(schema: Any) -> dict[str, Any]:
    """Return a schema of the expanded OpenAPI document with its local references made absolute."""
    absolute: dict[str, Any] = _absolute(schema)
    return absolute


def field_name(path: Sequence[str | int]) -> str:
    """Return a path as `payload.items[3].x`; names that are not plain stand in brackets and quotes."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif _PLAIN_NAME.fullmatch(part):
            text += f".{part}" if text else part
        else:
            # A key is the sender's text; it is cut like a value, and control characters are shown escaped.
            text += f"[{part[:VALUE_LENGTH_MAX]!r}]"
    return text


def shown_value(value: Any, path: Sequence[str | int]) -> object:
    """Return what may be echoed of `value`: scalars outside personal fields, cut; otherwise MISSING."""
    if isinstance(value, dict | list) or any(part in _PERSONAL for part in path):
        return MISSING
    return value[:VALUE_LENGTH_MAX] if isinstance(value, str) else value


def _absolute(node: Any) -> Any:
    if isinstance(node, list):
        return [_absolute(item) for item in node]
    if not isinstance(node, Mapping):
        return node
    copy = {name: _absolute(value) for name, value in node.items()}
    if isinstance(copy.get("$ref"), str) and copy["$ref"].startswith("#"):
        copy["$ref"] = _OPENAPI_URI + copy["$ref"]
    return copy


@lru_cache(maxsize=1)
def _registry() -> jsonschema_rs.Registry:
    loaded = documents()
    resources = [(_BASE + path, schema) for path, schema in loaded.schemas.items()]
    # Only the components: the rest of the document is no schema, and need not be indexed as one.
    openapi = {"components": {"schemas": loaded.openapi["components"]["schemas"]}}
    return jsonschema_rs.Registry([*resources, (_OPENAPI_URI, openapi)])


@lru_cache(maxsize=1)
def _pattern_words() -> Mapping[str, str]:
    loaded = documents()
    nodes: list[Any] = [loaded.openapi["components"], *loaded.schemas.values()]
    words: dict[str, str] = {}
    while nodes:
        node = nodes.pop()
        if isinstance(node, Mapping):
            if "x-atp-pattern" in node:
                words[node["pattern"]] = node["x-atp-pattern"]
            nodes.extend(node.values())
        elif isinstance(node, list):
            nodes.extend(node)
    return words


def _details(error: jsonschema_rs.ValidationError) -> Iterator[Detail]:
    path = error.instance_path
    kind = error.kind
    if kind.name == "required":
        yield Detail(field_name([*path, kind.value]), "is required")
    elif kind.name == "additionalProperties":
        for name in kind.value:
            yield Detail(field_name([*path, name]), "is not a known field")
    elif kind.name == "propertyNames":
        inner = kind.as_dict()["error"]
        yield Detail(field_name([*path, inner.instance]), f"is not a possible name: it {_issue(inner)}")
    elif kind.name in ("anyOf", "oneOf") and (branch := _closest(kind.as_dict()["context"], len(path))):
        for inner in branch:
            yield from _details(inner)
    else:
        yield Detail(field_name(path), _issue(error), shown_value(error.instance, path))


def _closest(
    branches: list[list[jsonschema_rs.ValidationError]], depth: int
) -> list[jsonschema_rs.ValidationError]:
    """Return the violations of the only branch that the value can have been meant for, if there is one.

    Branches of another type, or that lack the member naming them, were not meant.
    """
    meant = [branch for branch in branches if not any(_excludes(error, depth) for error in branch)]
    return meant[0] if len(meant) == 1 else []


def _excludes(error: jsonschema_rs.ValidationError, depth: int) -> bool:
    return len(error.instance_path) == depth and error.kind.name in ("type", "required")


def _issue(error: jsonschema_rs.ValidationError) -> str:
    """Return what is wrong in words that complete `<field> …`; never quotes the value."""
    kind = error.kind
    limit = kind.value
    match kind.name:
        case "type":
            kinds = sorted(limit, key=lambda name: (name == "null", name))
            return f"must be {' or '.join(_ARTICLES.get(name, f'a {name}') for name in kinds)}"
        case "enum":
            return f"must be one of {', '.join(str(option) for option in limit)}"
        case "const":
            return f"must be {limit}"
        case "minLength":
            return "must not be empty" if limit == 1 else f"must have at least {limit} characters"
        case "maxLength":
            return f"must have at most {limit} characters"
        case "minItems":
            return "must not be empty" if limit == 1 else f"must have at least {limit} items"
        case "maxItems":
            return f"must have at most {_counted(limit, 'item')}"
        case "minProperties":
            return f"must have at least {_counted(limit, 'field')}"
        case "maxProperties":
            return f"must have at most {_counted(limit, 'field')}"
        case "minimum":
            return f"must be at least {limit}"
        case "maximum":
            return f"must be at most {limit}"
        case "uniqueItems":
            return "must not hold the same item twice"
        case "pattern":
            return _pattern_words().get(limit, f"must match {limit}")
        case "format":
            return (
                "must be a time such as 2026-11-21T10:00:00Z"
                if limit == "date-time"
                else f"is not a valid {limit}"
            )
        case "anyOf" | "oneOf":
            return "has none of the allowed forms"
        case other:
            return f"breaks the rule {other}"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
