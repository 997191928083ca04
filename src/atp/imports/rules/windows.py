"""Windows event logs as JSON lines, the shape NXLog writes (`im_msvistalog`) and Logstash passes on.

Which of the four times is right was worked out on 12,278 real events and stands in docs/import.md:
`UtcTime` (Sysmon) is UTC, in milliseconds, of the act; `EventTime` is the collector's local time without a
zone, in seconds; `EventReceivedTime` is the same clock at receipt; `@timestamp` is receipt in UTC. The last
two differ by exactly the zone, which turns `EventTime` into UTC without being told.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from atp.imports.model import Unmappable
from atp.imports.rules.fields import (
    NAME_CHARS_MAX,
    PATH_CHARS_MAX,
    address,
    bounded,
    idempotency_key,
    identifier,
    label,
    said,
)
from atp.imports.rules.original import parse_object
from atp.imports.rules.windows_ids import PROVIDERS, Meaning
from atp.kernel.clock import SECOND_US, format_us, parse_rfc3339

FORMAT = "windows-eventlog"

_QUARTER_US = 15 * 60 * SECOND_US
"""Every zone is a multiple of a quarter of an hour; delays between the two clocks are far below."""

_LOCAL_SIDS = {"S-1-5-18", "S-1-5-19", "S-1-5-20"}
"""SYSTEM, LOCAL SERVICE, NETWORK SERVICE: the same SID on every host, so the host must be said too."""

_NOBODY = {"S-1-0-0", None}
_ADDRESSES = ("IpAddress", "SourceIp", "SourceAddress")
_SESSIONS = ("SubjectLogonId", "LogonId", "TargetLogonId")
_NO_SESSION = "0x0"
_PROCESSES = ("Image", "SourceImage", "Application", "ProcessName")
_POWERSHELL_USER = re.compile(r"^\s*(?:UserId=|User = )([^\r\n]+?)\s*$", re.MULTILINE)
_KINDS = {"key": "registry-key"}


def map_line(raw: bytes) -> dict[str, Any]:
    """Return the audit event of one line; Unmappable where it is not a Windows event."""
    return map_record(*parse_object(raw))


def map_record(source: dict[str, Any], original: dict[str, Any] | str) -> dict[str, Any]:
    """Map a parsed record; `original` is what goes into the payload (see `rules/original.py`)."""
    number, provider, host = (
        source.get("EventID"),
        said(source.get("SourceName")),
        said(source.get("Hostname")),
    )
    if type(number) is not int or provider is None or host is None:
        raise Unmappable(
            "NOT_WINDOWS",
            "EventID, SourceName or Hostname is missing: not a Windows event as NXLog writes it.",
        )
    meaning = PROVIDERS.get(provider, {}).get(number) or Meaning(f"windows:{provider}:{number}", "other")
    occurred, time_field = _occurred(source)
    how = {"format": FORMAT, "time": time_field}
    if original is not source:
        how["original"] = "text"
    event: dict[str, Any] = {
        "occurredAt": occurred,
        "actor": _actor(source, host, meaning),
        "action": {"name": bounded(meaning.action, 256), "category": meaning.category},
        "resource": _resource(source, host, meaning),
        "outcome": _outcome(source),
        "context": _context(source, host),
        "payload": {"original": original, "import": how},
    }
    if (stamp := _instant(source.get("@timestamp"))) is not None:
        event["observedAt"] = _checked(stamp, "@timestamp")[0]
    if activity := said(source.get("ActivityID")):
        event["correlation"] = {"requestId": bounded(activity.strip("{}") or activity, 128)}
    if (record := said(source.get("RecordNumber"))) and (channel := said(source.get("Channel"))):
        # The time belongs to it: a cleared log starts counting again, and those events are new ones.
        written = source.get("EventTime") or occurred
        event["idempotencyKey"] = idempotency_key(f"windows:{host}:{channel}:{record}:{written}")
    return event


def _occurred(source: dict[str, Any]) -> tuple[str, str]:
    """Return when it happened, and which fields say so."""
    if (act := _without_zone(source.get("UtcTime"))) is not None:
        return _checked(act, "UtcTime")
    written = source.get("EventTime")
    if (zoned := _instant(written)) is not None:
        return _checked(zoned, "EventTime")
    local = _without_zone(written)
    received, stamp = _without_zone(source.get("EventReceivedTime")), _instant(source.get("@timestamp"))
    if local is not None and stamp is not None:
        if received is not None:
            zone = round((stamp - received) / _QUARTER_US) * _QUARTER_US
            return _checked(local + zone, "EventTime, zone from EventReceivedTime and @timestamp")
        zone = (stamp - local) // _QUARTER_US * _QUARTER_US
        return _checked(local + zone, "EventTime, zone from @timestamp")
    if stamp is not None:
        return _checked(stamp, "@timestamp")
    if local is not None:
        return _checked(local, "EventTime, taken as UTC")
    raise Unmappable("TIME_INVALID", "None of UtcTime, EventTime and @timestamp is a time.")


def _checked(us: int, fields: str) -> tuple[str, str]:
    try:
        text = format_us(us)
    except OverflowError:
        text = "0"
    if text[0] not in "12":
        raise Unmappable("TIME_INVALID", "The time is outside the years 1000 to 2999.")
    return text, fields


@lru_cache(maxsize=8192)
def _zoned(text: str) -> int | None:
    try:
        return parse_rfc3339(text)
    except ValueError:
        return None


def _without_zone(value: object) -> int | None:
    return _zoned(value + "Z") if type(value) is str else None


def _instant(value: object) -> int | None:
    return _zoned(value) if type(value) is str else None


def _actor(source: dict[str, Any], host: str, meaning: Meaning) -> dict[str, Any]:
    """Name who acted: the account that logs on, the subject, the process's user, the process, the writer.

    Sysmon's `AccountName` is the account that Sysmon itself runs under, always SYSTEM, and no actor.
    """
    get = source.get
    if meaning.acts and (name := said(get("TargetUserName"))):
        return _account(host, name, get("TargetDomainName"), get("TargetUserSid") or get("TargetSid"))
    if name := said(get("SubjectUserName")):
        return _account(host, name, get("SubjectDomainName"), get("SubjectUserSid"))
    if name := said(get("User")) or said(get("UserName")):
        return _account(host, name, None, get("UserSid"))
    if image := said(get("Image")) or said(get("SourceImage")) or said(get("Application")):
        return {
            "type": "process",
            "id": identifier(f"{host}:{image}"),
            "name": bounded(image, NAME_CHARS_MAX),
        }
    if name := said(get("AccountName")):
        return _account(host, name, get("Domain"), get("UserID"))
    for field in ("ContextInfo", "Message"):
        text = get(field)
        if (
            type(text) is str
            and meaning.action.startswith("powershell:")
            and (found := _POWERSHELL_USER.search(text))
        ):
            return _account(host, found[1], None, None)
    return {"type": "host", "id": identifier(host)}


def _account(host: str, name: str, domain: object, sid: object) -> dict[str, Any]:
    authority = said(domain)
    full = f"{authority}\\{name}" if authority and "\\" not in name and "@" not in name else name
    sid = said(sid)
    if sid in _LOCAL_SIDS or (sid is None and full.startswith("NT AUTHORITY\\")):
        return {
            "type": "system",
            "id": identifier(f"{host}:{sid or full}"),
            "name": bounded(full, NAME_CHARS_MAX),
        }
    kind = "machine" if name.partition("@")[0].endswith("$") else "user"
    return {
        "type": kind,
        "id": identifier(full if sid in _NOBODY else str(sid)),
        "name": bounded(full, NAME_CHARS_MAX),
    }


def _resource(source: dict[str, Any], host: str, meaning: Meaning) -> dict[str, Any]:
    kind, fields = meaning.resource
    for field in fields:
        if value := said(source.get(field)):
            break
    else:
        return {"type": "host", "id": identifier(host)}
    if not kind:
        given = (said(source.get("ObjectType")) or "object").lower()
        kind = _KINDS.get(given) or label(given)
    if kind in {"account", "group"}:
        domain = said(source.get("TargetDomainName"))
        return {
            "type": kind,
            "id": identifier(f"{domain or host}\\{value}"),
            "name": bounded(value, NAME_CHARS_MAX),
        }
    if kind in {"address", "dns-name", "domain"}:
        return {"type": kind, "id": identifier(value)}
    if kind == "socket":
        value = f"{value}:{said(source.get('SourcePort')) or '?'}"
    elif kind == "share" and (below := said(source.get("RelativeTargetName"))):
        return {
            "type": kind,
            "id": identifier(f"{host}:{value}"),
            "path": bounded(f"{value}\\{below}", PATH_CHARS_MAX),
        }
    # Paths and names mean something on their host only.
    return {"type": kind, "id": identifier(f"{host}:{value}"), "path": bounded(value, PATH_CHARS_MAX)}


def _outcome(source: dict[str, Any]) -> str:
    match source.get("EventType"):
        case "AUDIT_SUCCESS":
            return "success"
        case "AUDIT_FAILURE" | "ERROR":
            return "failure"
        case _:
            return "unknown"


def _context(source: dict[str, Any], host: str) -> dict[str, Any]:
    context: dict[str, Any] = {"host": host}
    for field in _ADDRESSES:
        if (value := source.get(field)) and type(value) is str and (ip := address(value)):
            context["ip"] = ip
            break
    for field in _SESSIONS:
        if (value := said(source.get(field))) and value != _NO_SESSION:
            context["sessionId"] = bounded(value, NAME_CHARS_MAX)
            break
    for field in _PROCESSES:
        if value := said(source.get(field)):
            context["process"] = value
            break
    return context
