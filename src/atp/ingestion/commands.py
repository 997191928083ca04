"""`ingest`: from an event as sent to a record that is durable. One function shows the whole way.

Bytes go in; out comes a future with, for each event, where it stands or why it was refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Final, Protocol, Self

from atp.classification.model import Annotation
from atp.classification.queries import classify, protect
from atp.engine.codec import pack, pack_many
from atp.ingestion import rules
from atp.ingestion.model import EVENT_BYTES_MAX, FUTURE_SKEW_US, Batch, Draft, Locate, Origin
from atp.kernel import canonical
from atp.kernel.clock import Clock, format_us, now_us
from atp.kernel.errors import Detail, Problem
from atp.kernel.hashing import b64u, sha256
from atp.kernel.ids import TenantId
from atp.kernel.randomness import random_salt
from atp.policy.queries import Decide, decide_by_default
from atp.streams.commands import Appender, Closing, Sealer, SubjectKey, TenantVault, Vault, disclosure
from atp.streams.model import Appended, NewRecord, Outcome
from atp.web.body import DEPTH_MAX, parse_json, refuse_duplicate_keys

_HIDDEN: Final = {
    "RESERVED_KEY": "holds a key beginning with ~, which marks sealed values in records",
    "INVALID_CHARACTER": "holds a NUL character or half of a surrogate pair",
}


class EventContract(Protocol):
    """The compiled schema of an event as sent (atp.specs)."""

    def is_valid(self, value: object) -> bool:
        """Tell whether the value satisfies the schema."""
        ...

    def violations(self, value: object) -> list[Detail]:
        """Return every violation, with field and, where it is not personal, value."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """What the way of a write needs. `annotations` answers per tenant and schema what a tenant's schema marks."""

    contract: EventContract
    vault: Vault
    sealer: Sealer
    decide: Decide = decide_by_default
    locate: Locate | None = None
    clock: Clock = now_us
    annotations: Callable[[TenantId, Mapping[str, Any]], Mapping[str, Annotation] | None] = (
        lambda _tenant, _event: None
    )


def ingest(pipeline: Pipeline, appender: Appender, origin: Origin, batch: Batch) -> Future[list[Outcome]]:
    """Take events as sent through the pipeline and append them together: `prepare`, then `append`."""
    return append(pipeline, appender, origin, batch=batch, records=prepare(pipeline, origin, batch))


def prepare(pipeline: Pipeline, origin: Origin, batch: Batch) -> list[NewRecord | Problem]:
    """Return, for each event in order, a record ready to be appended, or why the event is refused.

    Writes nothing, so it may be done in another process and thrown away.
    """
    work = _Work.begin(pipeline, origin, batch)
    records: list[NewRecord | Problem] = []
    for start in range(0, len(batch.sent), STAGED):
        drafts = [Draft(raw) for raw in batch.sent[start : start + STAGED]]
        for stage in _STAGES:
            _run(stage, work, drafts, start)
        records += _seal(work, drafts)
    return records


def append(
    pipeline: Pipeline,
    appender: Appender,
    origin: Origin,
    *,
    batch: Batch,
    records: Sequence[NewRecord | Problem],
) -> Future[list[Outcome]]:
    """Append what was prepared.

    The future resolves, once everything accepted is durable, with an outcome per event in order. An event that
    was refused on the way does not hold up its neighbours, unless `atomic`: then nothing is appended. Raises
    OVERLOADED when too much is waiting.

    Crash argument: nothing is written before the ledger's one transaction, so a crash on the way leaves
    nothing, and the caller, not having been answered, sends again with the same idempotency key.
    """
    refused = {index: item for index, item in enumerate(records) if isinstance(item, Problem)}
    if refused and batch.atomic:
        other = Problem(
            "BATCH_REJECTED", "Not stored, because another item of this atomic batch was refused."
        )
        return _resolved([refused.get(index, other) for index in range(len(records))])
    ready = [item for item in records if isinstance(item, NewRecord)]
    if not ready:
        return _resolved(list(refused.values()))
    closing = None if batch.received_us is None else _closing(pipeline, batch)
    appended = appender.append(origin.tenant, ready, atomic=batch.atomic, closing=closing)
    result: Future[list[Outcome]] = Future()
    appended.add_done_callback(lambda done: _merge(done, records, result))
    return result


def _closing(pipeline: Pipeline, batch: Batch) -> Closing:
    """Return what the ledger asks for after the batch: the platform record that tells of it, if it stored anything."""

    def closing(outcomes: Sequence[Outcome]) -> NewRecord | None:
        if not any(isinstance(outcome, Appended) and not outcome.duplicate for outcome in outcomes):
            return None
        content = rules.batch_completed(batch, outcomes, pipeline.clock())
        return NewRecord(rules.BATCH_STREAM, content, sha256(content), pack(content))

    return closing


@dataclass(frozen=True, slots=True)
class _Work:
    """What is the same for every event of a call, looked up once."""

    pipeline: Pipeline
    origin: Origin
    batch: Batch
    vault: TenantVault
    latest: str
    single: bool

    @classmethod
    def begin(cls, pipeline: Pipeline, origin: Origin, batch: Batch) -> Self:
        latest = format_us(pipeline.clock() + FUTURE_SKEW_US)
        return cls(
            pipeline, origin, batch, pipeline.vault.tenant(origin.tenant), latest, batch.received_us is None
        )


def _run(stage: Stage, work: _Work, drafts: Sequence[Draft], first: int) -> None:
    """Take events through one stage; one that is refused there goes no further."""
    for index, draft in enumerate(drafts, first):
        if draft.problem is None:
            try:
                stage(work, draft, index)
            except Problem as problem:
                draft.problem = problem


# -- the stages, in order --------------------------------------------------------------------------------------


def _parse(work: _Work, draft: Draft, index: int) -> None:
    """Read the event and hold it against the contract."""
    if len(draft.raw) > EVENT_BYTES_MAX:
        issue = f"is {len(draft.raw)} bytes, more than {EVENT_BYTES_MAX}"
        raise Problem("EVENT_TOO_LARGE", details=[Detail("event", issue)])
    event = parse_json(draft.raw)
    contract = work.pipeline.contract
    if not contract.is_valid(event):
        raise Problem("VALIDATION_FAILED", details=contract.violations(event))
    draft.event = event


def _place(work: _Work, draft: Draft, index: int) -> None:
    """Settle the event's times and its idempotency key, and add what the tenant and the request tell of it."""
    draft.when = rules.times(draft.event, work.latest)
    draft.idempotency_key = rules.idempotency_key(draft.event, work.batch.key(index), single=work.single)
    draft.protected, draft.added_keys = rules.enrich(draft.event, work.origin, work.pipeline.locate)


def _classify(work: _Work, draft: Draft, index: int) -> None:
    """Find what is personal, and refuse what only this walk could see: depth, reserved keys, NUL, keys written twice."""
    annotations = work.pipeline.annotations(work.origin.tenant, draft.event)
    draft.classification = classify(draft.protected, annotations=annotations)
    facts = draft.classification.facts
    if facts.max_depth > DEPTH_MAX:
        raise Problem("JSON_TOO_DEEP", f"The event is nested deeper than {DEPTH_MAX} levels.")
    if facts.problem:
        code, pointer = facts.problem
        raise Problem(code, details=[Detail(pointer.strip("/").replace("/", ".") or "event", _HIDDEN[code])])
    refuse_duplicate_keys(draft.raw, facts.keys - draft.added_keys)
    draft.plain = not (facts.has_float or facts.has_exotic_key)


def _protect(work: _Work, draft: Draft, index: int) -> None:
    """Seal, mask, hash or drop what was found."""
    opened, plain = draft.disclosures, draft.plain

    def seal(pointer: str, value: object) -> dict[str, str]:
        bytes_, marker = disclosure(pointer, value, plain=plain)
        opened.append(bytes_)
        return marker

    draft.protected = protect(
        draft.protected, draft.classification, seal=seal, pseudonym=work.vault.pseudonym
    )
    if opened:
        actor = draft.event["actor"]
        draft.subject = work.vault.subject_ref(actor["type"], actor["id"])


def _describe(work: _Work, draft: Draft, index: int) -> None:
    """Judge the event by policy and write the record's content."""
    verdict = work.pipeline.decide(work.origin.tenant, draft.protected, draft.classification.level)
    draft.stream = rules.stream_name(draft.protected)
    content = rules.content(draft.protected, draft.when, verdict, draft.classification, random_salt())
    if draft.subject:
        content["classification"]["subject"] = b64u(draft.subject)
    draft.content = content


Stage = Callable[[_Work, Draft, int], None]
_STAGES: Final[tuple[Stage, ...]] = (_parse, _place, _classify, _protect, _describe)
STAGED: Final = 32
"""Events taken through one stage before the next, and all the way before others begin: the stage's code and the
events' values stay in the processor's cache, which nearly halves the time."""


def _unkeyed(event: dict[str, Any]) -> dict[str, Any]:
    """Return the event without its idempotency key, which may as well be in the header of one of two attempts."""
    return {name: value for name, value in event.items() if name != "idempotencyKey"}


def _encode(value: object, *, plain: bool) -> bytes:
    return canonical.encode_plain(value) if plain else canonical.encode(value)


def _seal(work: _Work, drafts: Sequence[Draft]) -> list[NewRecord | Problem]:
    """Encode and hash each content, and encrypt its disclosures under its subject's key."""
    going = [draft for draft in drafts if draft.problem is None]
    subjects = {draft.subject for draft in going if draft.subject}
    keys = work.pipeline.sealer.keys_for(work.origin.tenant, subjects) if subjects else {}
    contents = [_encode(draft.content, plain=draft.plain) for draft in going]
    sealed = iter(zip(contents, pack_many(contents), strict=True))
    return [draft.problem or _record(work, draft, keys, *next(sealed)) for draft in drafts]


def _record(
    work: _Work, draft: Draft, keys: Mapping[bytes, SubjectKey], content: bytes, packed: bytes
) -> NewRecord:
    digest = sha256(content)
    use = None
    if draft.idempotency_key:
        event = _encode(_unkeyed(draft.event), plain=draft.plain)
        use = work.vault.idempotency(draft.idempotency_key, event)
    return NewRecord(
        draft.stream,
        content,
        digest,
        packed,
        draft.event.get("expectedStreamVersion"),
        use,
        (keys[draft.subject].box(draft.disclosures, digest),) if draft.subject else (),
    )


def _merge(
    done: Future[list[Outcome]], records: Sequence[NewRecord | Problem], result: Future[list[Outcome]]
) -> None:
    """Put the ledger's outcomes among the refusals, in the order of sending."""
    if error := done.exception():
        result.set_exception(error)
        return
    appended = iter(done.result())
    result.set_result([item if isinstance(item, Problem) else next(appended) for item in records])


def _resolved(outcomes: list[Outcome]) -> Future[list[Outcome]]:
    future: Future[list[Outcome]] = Future()
    future.set_result(outcomes)
    return future
