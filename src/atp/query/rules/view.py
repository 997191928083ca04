"""How a record is shown: the flat form of the contract's AuditEvent, with sealed values sealed or put back.

Pure: a stored record goes in, JSON values come out; a record is never changed, a view is made anew each time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

from atp.classification.model import LEVEL_RANK, level_of
from atp.kernel.hashing import b64u
from atp.query.rules.matching import Document
from atp.streams.model import StoredRecord

_COPIED: Final = (
    "kind",
    "type",
    "occurredAt",
    "observedAt",
    "effectiveAt",
    "actor",
    "action",
    "resource",
    "outcome",
    "context",
    "payload",
    "correlation",
    "schema",
    "policy",
)
_FINDING: Final = ("field", "type", "confidence", "rule", "method")
_ABSENT: Final = frozenset({"seal", "hash"})
"""Methods that leave a disclosure behind; what is masked or dropped was never kept."""


def event_view(record: StoredRecord) -> dict[str, Any]:
    """Return the record as the contract's AuditEvent, nothing disclosed. Shares its members with the record."""
    header, content = record.header_json, record.content_json
    classification = content["classification"]
    findings = [dict(zip(_FINDING, finding, strict=True)) for finding in classification["findings"]]
    view: dict[str, Any] = {
        "id": header["id"],
        "tenant": header["tenant"],
        "position": header["position"],
        "stream": header["stream"],
        "streamVersion": header["streamVersion"],
        "recordedAt": header["recordedAt"],
        **{name: content[name] for name in _COPIED if name in content},
        "classification": {**classification, "findings": findings},
        "recordHash": b64u(record.record_hash),
        "absences": [
            {"field": finding["field"], "reason": "withheld"}
            for finding in findings
            if finding["method"] in _ABSENT
        ],
        "links": links_of(header["id"], header["stream"]),
    }
    return view


def links_of(ulid: str, stream: str) -> dict[str, str]:
    """Return where to go from a record."""
    event = f"/api/v1/audit-events/{ulid}"
    return {"self": event, "proof": f"{event}/proof", "stream": f"/api/v1/event-streams/{quote(stream)}"}


def document(record: StoredRecord) -> Document:
    """Return the record as a search sees it: what is shown, less what is only worked out for showing."""
    header, content = record.header_json, record.content_json
    members = {**content, **header}
    findings = content["classification"]["findings"]
    if findings:
        members["classification"] = {
            **content["classification"],
            "findings": [dict(zip(_FINDING, finding, strict=True)) for finding in findings],
        }
    return Document(members, record.content)


def level_at(record: StoredRecord, pointer: str) -> str:
    """Return the level of what stands at a pointer: the highest finding there or below it.

    Where no finding names it the record's own level counts, so that a gap never opens a value.
    """
    classification = record.content_json["classification"]
    levels: list[str] = [
        level_of(finding[1])
        for finding in classification["findings"]
        if finding[0] == pointer or finding[0].startswith(f"{pointer}/")
    ]
    return max(levels or [str(classification["level"])], key=lambda level: LEVEL_RANK[level])


def disclosed(
    record: StoredRecord,
    view: Mapping[str, Any],
    values: Sequence[Sequence[Any]],
    clearance: int,
    erased_by: int | None = None,
) -> tuple[dict[str, Any], list[Sequence[Any]]]:
    """Return the view with those values put back that the clearance allows, and the disclosures used.

    `values` are [salt, pointer, value]; the clearance counts as `classification.model.LEVEL_RANK` less one.
    What was not among the values, though the caller might see it, was erased by the record at position `erased_by`,
    or is missing.
    """
    allowed = [value for value in values if LEVEL_RANK[level_at(record, value[1])] - 1 <= clearance]
    shown = dict(view)
    for _, pointer, value in allowed:
        put(shown, pointer, value)
    opened = {value[1] for value in allowed}
    present = {value[1] for value in values}
    absences = []
    for absence in view["absences"]:
        pointer = absence["field"]
        if _covered(pointer, opened):
            continue
        visible = LEVEL_RANK[level_at(record, pointer)] - 1 <= clearance
        gone = visible and not _covered(pointer, present)
        absences.append(_gone(pointer, erased_by) if gone else absence)
    shown["absences"] = absences
    return shown, allowed


def _gone(pointer: str, erased_by: int | None) -> dict[str, Any]:
    if erased_by is None:
        return {"field": pointer, "reason": "missing"}
    return {"field": pointer, "reason": "erased", "explainedBy": erased_by}


def _covered(pointer: str, disclosed_pointers: set[str]) -> bool:
    return any(pointer == other or pointer.startswith(f"{other}/") for other in disclosed_pointers)


def put(view: dict[str, Any], pointer: str, value: Any) -> None:
    """Replace what stands at a JSON pointer (RFC 6901); containers on the way are copied, never changed."""
    node: Any = view
    tokens = [token.replace("~1", "/").replace("~0", "~") for token in pointer.split("/")[1:]]
    for depth, token in enumerate(tokens):
        key: Any = int(token) if isinstance(node, list) and token.isdecimal() else token
        if isinstance(node, list) and not (isinstance(key, int) and key < len(node)):
            return
        if not isinstance(node, dict | list) or (isinstance(node, dict) and key not in node):
            return
        if depth == len(tokens) - 1:
            node[key] = value
            return
        child = node[key]
        node[key] = node = (
            dict(child) if isinstance(child, dict) else list(child) if isinstance(child, list) else child
        )
