"""From checked parameters, or the body of a search, to what is to be found; and the addresses of pages.

Pure: parameters go in, a `Search` and links come out. A cursor is checked before it comes here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from atp.kernel.clock import parse_rfc3339
from atp.kernel.errors import Detail, Problem
from atp.query.model import All, Place, Search, Times
from atp.query.rules.language import parse
from atp.query.rules.leaves import from_filters, from_json

LIMIT: Final = 50
ORDER: Final = "-recordedAt"
FILTERS: Final = (
    "actor",
    "actorType",
    "action",
    "category",
    "resourceType",
    "resourceId",
    "outcome",
    "classification",
    "stream",
    "kind",
    "since",
    "until",
    "occurredSince",
    "occurredUntil",
    "traceId",
    "requestId",
    "q",
    "query",
)
"""What a cursor is bound to; header parameters and paging are not among them."""
_DEFAULTS: Final = {"disclose": False, "limit": LIMIT, "orderBy": ORDER, "direction": "forward"}
"""What goes without saying, and therefore not into an address."""
_PAGING: Final = ("orderBy", "limit", "cursor", "offset", "fields", "include", "disclose")


def filters(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters that decide what is found."""
    return {name: parameters[name] for name in FILTERS if parameters.get(name) is not None}


def addressed(parameters: Mapping[str, Any], names: Sequence[str] = (*FILTERS, *_PAGING)) -> dict[str, Any]:
    """Return the parameters as they are written in an address, defaults left out."""
    return {
        name: _written(value)
        for name in names
        if (value := parameters.get(name)) is not None and value != _DEFAULTS.get(name)
    }


def _written(value: Any) -> Any:
    if isinstance(value, bool):
        return "true" if value else "false"
    return ",".join(value) if isinstance(value, list | tuple) else value


def search_of(parameters: Mapping[str, Any], after: Place | None) -> Search:
    """Return the search that all the parameters together mean; QUERY_INVALID where `q` or `query` has a mistake."""
    if parameters.get("cursor") is not None and parameters.get("offset") is not None:
        raise Problem("VALIDATION_FAILED", details=[Detail("offset", "excludes cursor")])
    parts = from_filters(parameters)
    if (text := parameters.get("q")) is not None:
        parts.append(parse(text))
    if (query := parameters.get("query")) is not None:
        parts.append(from_json(query))
    return Search(
        node=All(tuple(parts)),
        recorded=recorded_range(parameters),
        order=parameters.get("orderBy") or ORDER,
        limit=parameters.get("limit") or LIMIT,
        offset=parameters.get("offset") or 0,
        after=after,
    )


def recorded_range(parameters: Mapping[str, Any]) -> Times:
    """Return `since` and `until` in microseconds."""
    return Times(_time(parameters, "since"), _time(parameters, "until"))


def _time(parameters: Mapping[str, Any], name: str) -> int | None:
    text = parameters.get(name)
    if text is None:
        return None
    try:
        return parse_rfc3339(text)
    except ValueError:
        raise Problem("VALIDATION_FAILED", details=[Detail(name, "is not a time", text)]) from None
