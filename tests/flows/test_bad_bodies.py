"""Every operation that takes a body refuses bad ones with the catalogued error, and nothing of them is kept.

The same list of faults goes to each operation over HTTP, to both engines (ING-05, API-10).
"""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from atp.specs import load
from tests.client import Client
from tests.flows.events import event
from tests.server import Server

WITH_BODY: dict[str, tuple[dict[str, str], dict[str, Any]]] = {
    "ingestAuditEvent": ({}, event()),
    "ingestAuditEventBatch": ({}, {"events": [event()]}),
    "searchAuditEvents": ({}, {"limit": 1}),
    "sealEventStream": ({"streamId": "document/doc-1"}, {"reason": "A test."}),
    "createTenant": ({}, {"id": "acme", "displayName": "Acme"}),
    "updateTenant": ({"tenantId": "demo"}, {"displayName": "Demo"}),
    "createApiKey": ({}, {"name": "A key", "roles": ["reader"]}),
    "revokeApiKey": ({"keyId": "01KAKBR8MZ9V3W7T5Q2E8YH4NC"}, {"reason": "A test."}),
    "rotateApiKey": ({"keyId": "01KAKBR8MZ9V3W7T5Q2E8YH4NC"}, {"overlapSeconds": 1}),
    "createVerification": ({}, {"scope": "log"}),
    "rotateIntegrityKey": ({}, {"overlapSeconds": 3600}),
}
"""Operation → its path parameters and a body it would take."""


def deep(levels: int) -> bytes:
    return b'{"payload":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"


FAULTS: list[tuple[str, bytes, str]] = [
    ("cut off", b'{"a":1', "MALFORMED_JSON"),
    ("empty", b"", "MALFORMED_JSON"),
    ("a trailing comma", b'{"a":1,}', "MALFORMED_JSON"),
    ("two values", b"{} {}", "MALFORMED_JSON"),
    ("single quotes", b"{'a':1}", "MALFORMED_JSON"),
    ("a control character in a string", b'{"a":"\x01"}', "MALFORMED_JSON"),
    ("a byte order mark", b"\xef\xbb\xbf{}", "MALFORMED_JSON"),
    ("33 levels", deep(33), "JSON_TOO_DEEP"),
    ("two hundred thousand levels", b"[" * 30_000 + b"]" * 30_000, "JSON_TOO_DEEP"),
    ("no object", b"[]", "VALIDATION_FAILED"),
    ("a string", b'"x"', "VALIDATION_FAILED"),
    ("null", b"null", "VALIDATION_FAILED"),
    ("an unknown field", b'{"nobodyKnowsThis":1}', "VALIDATION_FAILED"),
    ("a key twice", b'{"reason":"a","reason":"b"}', "DUPLICATE_KEY"),
    ("a key twice, once escaped", b'{"reason":"a","re\\u0061son":"b"}', "DUPLICATE_KEY"),
    ("a nested key twice", b'{"payload":{"a":{"b":1,"b":2}}}', "DUPLICATE_KEY"),
    ("a key twice with equal values", b'{"x":[{"a":1,"a":1}]}', "DUPLICATE_KEY"),
    ("bytes that are not UTF-8", b'{"reason":"\xff\xfe"}', "INVALID_UTF8"),
    ("an overlong encoding", b'{"reason":"\xc0\xaf"}', "INVALID_UTF8"),
    ("a lone surrogate", b'{"reason":"\\ud800"}', "INVALID_UTF8"),
    ("an escaped NUL in a value", b'{"reason":"a\\u0000b"}', "INVALID_CHARACTER"),
    ("an escaped NUL in a key", b'{"reason\\u0000":"b"}', "INVALID_CHARACTER"),
    ("a raw NUL", b'{"reason":"a\x00b"}', "INVALID_CHARACTER"),
    ("NaN", b'{"a":NaN}', "INVALID_NUMBER"),
    ("Infinity", b'{"a":-Infinity}', "INVALID_NUMBER"),
    ("a number beyond a double", b'{"a":1e999}', "INVALID_NUMBER"),
]


IN_AN_EVENT = ("DUPLICATE_KEY", "INVALID_CHARACTER", "JSON_TOO_DEEP")
"""Looked for in events that are otherwise right: what has the wrong shape is told so first."""


def sent(operation_id: str, body: bytes, code: str) -> bytes:
    if operation_id != "ingestAuditEvent" or code not in IN_AN_EVENT:
        return body
    return json.dumps(event(payload="HERE")).encode().replace(b'"HERE"', body)


def caller(server: Server, operation_id: str) -> Client:
    """Creating tenants is counted by key, not by tenant, so each test has a key of its own for it."""
    return server.as_("operator", "admin") if operation_id == "createTenant" else server.admin


def test_the_list_of_operations_is_the_contracts() -> None:
    """An operation that learns to take a body must be added to this test."""
    takes_body = {name for name, operation in load().operations.items() if operation.request_media_types}
    assert set(WITH_BODY) == takes_body


@pytest.mark.parametrize("operation_id", WITH_BODY)
def test_every_fault_is_refused_and_nothing_is_written(standing: Server, operation_id: str) -> None:
    """ING-05, API-10: the catalogued code for each fault, on every operation; the log is as long as before."""
    path, _ = WITH_BODY[operation_id]
    client = caller(standing, operation_id)
    before = standing.size()
    seen = {}
    for name, body, code in FAULTS:
        content = sent(operation_id, body, code)
        answer = client.call(
            operation_id, path=path, content=content, headers={"content-type": "application/json"}
        )
        seen[name] = (answer.status, answer.code)
    expected = {name: (400, code) for name, _, code in FAULTS}
    assert seen == expected
    assert standing.size() == before


@pytest.mark.parametrize("operation_id", WITH_BODY)
def test_a_body_in_another_form_is_refused(standing: Server, operation_id: str) -> None:
    """API-10: media type, charset and content coding are looked at before the body."""
    path, body = WITH_BODY[operation_id]
    content = json.dumps(body).encode()
    client = caller(standing, operation_id)
    for headers in (
        {},
        {"content-type": "text/plain"},
        {"content-type": "application/json; charset=latin-1"},
        {"content-type": "application/json", "content-encoding": "zstd"},
    ):
        answer = client.call(operation_id, path=path, content=content, headers=headers)
        assert (answer.status, answer.code) == (415, "UNSUPPORTED_MEDIA_TYPE"), headers


@pytest.mark.parametrize("operation_id", WITH_BODY)
def test_a_body_past_its_bound_is_refused_plain_and_compressed(standing: Server, operation_id: str) -> None:
    """ING-05: measured after decompression, so that a small bomb is no way around it."""
    path, _ = WITH_BODY[operation_id]
    limit = load().operations[operation_id].body_limit
    content = b'{"reason":"' + b"x" * limit.bytes_max + b'"}'
    headers = {"content-type": "application/json"}
    client = caller(standing, operation_id)
    plain = client.call(operation_id, path=path, content=content, headers=headers)
    packed = client.call(
        operation_id,
        path=path,
        content=gzip.compress(content),
        headers=headers | {"content-encoding": "gzip"},
    )
    assert [plain.status, plain.code] == [packed.status, packed.code] == [413, limit.error]


@pytest.mark.parametrize("operation_id", WITH_BODY)
def test_wrong_types_are_all_named(standing: Server, operation_id: str) -> None:
    """API-10: `details` names each member that is wrong, not only the first."""
    path, body = WITH_BODY[operation_id]
    client = caller(standing, operation_id)
    before = standing.size()
    answer = client.call(operation_id, path=path, json={name: [{}] for name in body})
    if operation_id == "ingestAuditEventBatch":  # An event that is no event is a verdict, not a refusal.
        assert answer.json["results"][0]["error"]["code"] == "VALIDATION_FAILED"
    else:
        assert (answer.status, answer.code) == (400, "VALIDATION_FAILED")
        named = {detail["field"].partition(".")[0].partition("[")[0] for detail in answer.details}
        assert named == set(body)
    assert standing.size() == before
