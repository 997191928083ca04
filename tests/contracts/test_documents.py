"""The contract documents themselves: valid, complete, with examples that hold, and named by one rule (CON-01, CON-04)."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
import yaml
from openapi_spec_validator import OpenAPIV31SpecValidator

from atp import specs
from atp.specs import loading, schemas
from atp.specs.errors import catalogue

DOCUMENTS = loading.documents()
OPENAPI = DOCUMENTS.openapi
OPERATIONS = specs.load().operations
SOURCE = yaml.safe_load((loading.contracts_folder() / loading.OPENAPI_FILE).read_text())
HAND_WRITTEN = {
    name: s for name, s in OPENAPI["components"]["schemas"].items() if not re.search(r"V\d+$", name)
}


def members(node: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every property, item and definition of a schema, with its path."""
    if not isinstance(node, dict):
        return
    yield path, node
    for keyword in ("properties", "$defs"):
        for name, inner in node.get(keyword, {}).items():
            yield from members(inner, f"{path}/{name}")
    for keyword in ("items", "additionalProperties", "then"):
        yield from members(node.get(keyword), f"{path}/{keyword}")
    for keyword in ("anyOf", "oneOf", "allOf", "prefixItems"):
        for index, inner in enumerate(node.get(keyword, [])):
            yield from members(inner, f"{path}/{keyword}{index}")


def all_members() -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """The same for all schemas; the third value is the member with references that can be resolved alone."""
    for name, schema in HAND_WRITTEN.items():
        for path, member in members(schema, name):
            yield path, member, schemas.in_openapi(member)
    for file, schema in DOCUMENTS.schemas.items():
        for path, member in members(schema, file):
            # References in a file are relative to its folder.
            yield (
                path,
                member,
                {"$id": f"https://contracts.invalid/{posixpath.dirname(file)}/member", **member},
            )


def test_the_document_is_valid_openapi() -> None:
    """Checked by an implementation that is not ours, in the form that is served."""
    errors = [f"{list(e.absolute_path)}: {e.message}" for e in OpenAPIV31SpecValidator(OPENAPI).iter_errors()]
    assert errors == []


def test_the_served_document_refers_to_nothing_outside() -> None:
    """Somebody who has only /openapi.json has everything."""
    references = re.findall(r'"\$ref":\s*"([^"]*)"', str(OPENAPI).replace("'", '"'))
    assert references
    assert all(reference.startswith("#/") for reference in references)


def test_schemas_are_valid_schemas() -> None:
    """Each file against the metaschema of its draft, which it names."""
    for file, schema in DOCUMENTS.schemas.items():
        assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema", file
        jsonschema_rs.meta.validate(schema)


def test_every_example_holds() -> None:
    """An example that the contract itself refuses misleads whoever copies it."""
    bad = []
    count = 0
    for path, member, compilable in all_members():
        for example in member.get("examples", []):
            count += 1
            found = schemas.Validator(compilable).violations(example)
            bad += [f"{path}: {detail.field} {detail.issue}" for detail in found]
    assert bad == []
    assert count > 300


def test_parameters_headers_and_bodies_have_examples_that_hold() -> None:
    """What the reference page shows beside a parameter or a body can be sent as it stands."""
    bad = []
    for kind in ("parameters", "headers"):
        for name, part in SOURCE["components"][kind].items():
            schema = part.get("schema")
            if schema and "$ref" not in schema:
                assert schema.get("examples"), name
                validator = schemas.Validator(schema)
                bad += [
                    f"{name}: {example}" for example in schema["examples"] if not validator.is_valid(example)
                ]
    for operation in OPERATIONS.values():
        for answer in [operation.source.get("requestBody", {}), *operation.source["responses"].values()]:
            for media_type, content in answer.get("content", {}).items():
                schema = content["schema"]
                assert "$ref" in schema or schema.get("format") == "binary" or schema["examples"], (
                    operation.id
                )
                assert "$ref" in schema or schema["description"], (operation.id, media_type)
    assert bad == []


def test_everything_is_described_in_sentences() -> None:
    """Each member says what it means: the reference page has no other source."""
    bad = []
    for path, member, _ in all_members():
        last = path.rpartition("/")[2]
        if re.fullmatch(r"(anyOf|oneOf|allOf|prefixItems)\d|items|then|additionalProperties", last):
            continue
        text = member.get("description", "" if "$ref" not in member else "From its type.")
        if not re.fullmatch(r"(?s)[A-Z0-9].*[.…]\s*", text):
            bad.append(f"{path}: {text!r}")
    for operation in OPERATIONS.values():
        if not re.fullmatch(r"(?s)[A-Z].*\.\s*", operation.source["description"]):
            bad.append(operation.id)
        if operation.summary.endswith("."):
            bad.append(f"{operation.id}: a summary is a title")
    assert bad == []


def test_everything_sent_is_bounded() -> None:
    """A text, list or number without a bound is a way to exhaust memory (ING-05)."""
    bad = []
    for path, member, _ in all_members():
        kinds = member.get("type", [])
        for kind in [kinds] if isinstance(kinds, str) else kinds:
            fixed = re.search(r"\{\d+\}\$$", member.get("pattern", "")) or "T[0-9]{2}" in member.get(
                "pattern", ""
            )
            slug = "{0,61}" in member.get("pattern", "")
            if kind == "string" and not (member.get("maxLength") or fixed or slug):
                bad.append(f"{path}: no maxLength")
            if kind == "array" and "maxItems" not in member:
                bad.append(f"{path}: no maxItems")
            if kind in ("integer", "number") and "minimum" not in member and not path.startswith("Operand"):
                bad.append(f"{path}: no minimum")
            # BatchVerdicts is a part of an allOf, which leaves closing to the whole.
            settled = "additionalProperties" in member or "oneOf" in member or path == "BatchVerdicts"
            if kind == "object" and not settled:
                bad.append(f"{path}: open or closed?")
    assert bad == []


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=lambda operation: operation.id)
def test_an_operation_says_who_may_call_it_how_often_and_what_can_go_wrong(
    operation: specs.Operation,
) -> None:
    """The gateway has no other source for scopes, limits and codes (design §7)."""
    assert operation.public != bool(operation.scopes), "scopes, or public, never both or neither"
    assert operation.scopes <= set(specs.load().scopes)
    assert operation.rate_limit is not None or operation.public
    assert operation.errors <= set(catalogue())
    assert {"INTERNAL", "METHOD_NOT_ALLOWED", "NOT_ACCEPTABLE", "SHUTTING_DOWN"} <= operation.errors
    if not operation.public:
        assert {"UNAUTHENTICATED", "FORBIDDEN", "RATE_LIMITED"} <= operation.errors
    if operation.request_media_types:
        assert {"MALFORMED_JSON", "UNSUPPORTED_MEDIA_TYPE", operation.body_limit.error} <= operation.errors
    if operation.tenant_scoped and operation.method != "GET" and operation.id != "searchAuditEvents":
        assert "TENANT_SUSPENDED" in operation.errors
    assert operation.tags
    assert set(operation.tags) <= {tag["name"] for tag in OPENAPI["tags"]}
    assert any(status < 400 for status in operation.responses)
    statuses = {catalogue()[code].status for code in operation.errors}
    assert statuses <= set(operation.responses)


def test_every_code_can_be_answered_by_some_operation() -> None:
    """A code that no operation lists is either dead or undocumented."""
    listed = frozenset().union(*(operation.errors for operation in OPERATIONS.values()))
    assert set(catalogue()) - listed == set()


def test_every_error_group_scope_role_and_component_is_used() -> None:
    """What nothing refers to is left over from a change."""
    text = (loading.contracts_folder() / loading.OPENAPI_FILE).read_text()
    assert [group for group in SOURCE["x-atp-error-groups"] if f'"@{group}"' not in text] == []
    used = frozenset().union(*(operation.scopes for operation in OPERATIONS.values()))
    assert set(specs.load().scopes) - used == {"sealed:read"}, (
        "sealed:read is asked for by the parameter disclose"
    )
    granted = frozenset().union(*specs.load().roles.values())
    assert granted == set(specs.load().scopes)
    shared = {name for names in SOURCE["x-atp-shared"].values() for name in names}
    for kind in ("parameters", "headers", "responses", "schemas"):
        for name in SOURCE["components"][kind]:
            assert f"#/components/{kind}/{name}'" in text or name in shared or name == "Retry-After", (
                f"{kind}/{name}"
            )


def test_the_roles_of_the_event_contract_are_the_roles() -> None:
    """The list of roles in the schema and their scopes in the OpenAPI document name the same roles (SEC-02)."""
    types = DOCUMENTS.schemas["schemas/types.v1.json"]["$defs"]
    assert set(types["role"]["enum"]) == set(specs.load().roles)


def test_http_names_are_camel_case_and_event_names_snake_case() -> None:
    """HTTP JSON is camelCase; envelopes and platform payloads are snake_case (design §2)."""
    camel, snake = re.compile(r"[a-z][A-Za-z0-9]*"), re.compile(r"[a-z][a-z0-9_]*")
    for path, member, _ in all_members():
        file = path.partition(".json")[0]
        platform = "/envelope" in file or (file.count("/") >= 2 and file.startswith("schemas/"))
        for name in member.get("properties", {}):
            assert (snake if platform else camel).fullmatch(name), f"{path}: {name}"
    for operation in OPERATIONS.values():
        assert camel.fullmatch(operation.id)
        for parameter in operation.parameters:
            assert parameter.location == "header" or camel.fullmatch(parameter.name), parameter.name
        for path in operation.path_templates:
            assert re.fullmatch(r"(/([a-z0-9.-]+|\{[a-z][A-Za-z]*\}))+|/", path), path


def test_parameter_names_are_unique_in_an_operation() -> None:
    """Handlers get parameters by name alone, so path, query and header may not share one."""
    for operation in OPERATIONS.values():
        names = [parameter.name for parameter in operation.parameters]
        assert len(names) == len(set(names)), operation.id


def test_file_names_carry_their_version_and_platform_events_their_type() -> None:
    """schemas/<context>/<event type>.v<version>.json; a stem names one file only."""
    event_type = re.compile(DOCUMENTS.schemas["schemas/types.v1.json"]["$defs"]["eventType"]["pattern"])
    assert len(schemas.schema_paths()) == len(DOCUMENTS.schemas)
    for file, schema in DOCUMENTS.schemas.items():
        _, *context, name = file.split("/")
        match = re.fullmatch(r"(.+)\.v\d+\.json", name)
        assert match, file
        if context:
            assert event_type.match(match[1]), file
            assert schema["additionalProperties"] is False, file
        assert re.fullmatch(r"([A-Z][a-z]+)+", schema["title"]), file
    titles = [schema["title"] for schema in DOCUMENTS.schemas.values()]
    assert len(titles) == len(set(titles))


def test_the_catalogue_is_complete_and_reads_well() -> None:
    """Each code has a status that fits, a title without a full stop, and advice in sentences (API-10)."""
    for code, entry in catalogue().items():
        assert re.fullmatch(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)*", code)
        assert 400 <= entry.status <= 599, code
        assert entry.status < 500 or entry.retryable, f"{code}: a failure of ours is worth a repeat"
        assert re.fullmatch(r"[A-Z].*[^.]", entry.title), code
        assert re.fullmatch(r"(?s)[A-Z].{40,}[.…]", entry.description), code
    titles = [entry.title for entry in catalogue().values()]
    assert len(titles) == len(set(titles))


def test_an_operation_that_discloses_can_refuse_for_want_of_clearance() -> None:
    """Wherever sealed values can be asked for, CLEARANCE_REQUIRED can be the answer (SEC-02)."""
    for operation in OPERATIONS.values():
        discloses = any(parameter.name == "disclose" for parameter in operation.parameters)
        if discloses:
            assert "CLEARANCE_REQUIRED" in operation.errors, operation.id


def test_every_extension_is_explained() -> None:
    """An x-atp- keyword that nobody can look up is a rule that nobody can keep."""
    folder = loading.contracts_folder()
    documents = [folder / loading.OPENAPI_FILE, *(folder / "schemas").rglob("*.json")]
    used = {name for file in documents for name in re.findall(r"x-atp-[a-z-]+", file.read_text())} - {
        "x-atp-"
    }
    explained = set(re.findall(r"x-atp-[a-z-]+", (folder / "README.md").read_text()))
    assert used <= explained
