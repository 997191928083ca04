"""Following a verification that a server runs, over its HTTP API.

What it says is a convenience, not evidence: the server that answers could be the one that was tampered with.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

import httpx
import msgspec

from atp.engine.settings import ClientSettings
from atp.integrity.model import Target, VerificationResult

POLL_SECONDS: Final = 0.3
"""Between two looks at the verification's progress."""
TIMEOUT_SECONDS: Final = 30.0
_PATH: Final = "/api/v1/integrity/verifications"


class Refused(Exception):
    """The server refused or broke off the verification; the message says why."""


def follow(
    client: ClientSettings, target: Target, progress: Callable[[int, int], None]
) -> VerificationResult:
    """Start a verification and return its result; raises Refused, also for a server that is not there."""
    body: dict[str, Any] = {"scope": target.scope, "values": target.values}
    if target.stream is not None:
        body["stream"] = target.stream
    if target.record_id is not None:
        body["id"] = target.record_id
    headers = {"authorization": f"Bearer {client.api_key}"}
    if client.tenant:
        headers["x-tenant-id"] = client.tenant
    try:
        with httpx.Client(base_url=client.server, headers=headers, timeout=TIMEOUT_SECONDS) as server:
            run = _answer(server.post(_PATH, json=body))
            while run["status"] in ("queued", "running"):
                progress(run["progress"]["done"], run["progress"]["total"])
                time.sleep(POLL_SECONDS)
                run = _answer(server.get(f"{_PATH}/{run['id']}"))
    except httpx.HTTPError as error:
        raise Refused(f"{client.server} does not answer: {type(error).__name__}.") from None
    if run["result"] is None:
        raise Refused("The server broke the verification off; its log says why.")
    return msgspec.convert(run["result"], VerificationResult)


def _answer(response: httpx.Response) -> dict[str, Any]:
    try:
        answer = response.json()
    except ValueError:
        raise Refused(f"The server answered {response.status_code} without an explanation.") from None
    if response.is_error:
        raise Refused(f"{answer['error']['code']}: {answer['error']['message']}")
    return dict(answer)
