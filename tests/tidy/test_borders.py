"""Borders between contexts that import-linter cannot draw: which files of a neighbour may be seen."""

from tests.tidy.source import CONTEXTS, imports, program

PUBLISHED = {"model", "commands", "queries", "events"}


def _composes(name: str) -> bool:
    """The table of contents names routes, handlers, jobs and tables of all; it decides nothing."""
    return name == "atp.app" or name.startswith("atp.app.")


def _owner(name: str) -> str | None:
    """The context a dotted name lies in, or None."""
    parts = name.split(".")
    if parts[0] != "atp" or len(parts) < 2:
        return None
    if parts[1] in CONTEXTS:
        return ".".join(parts[:2])
    return ".".join(parts[:3]) if parts[1] == "families" and len(parts) > 2 else None


def test_between_contexts_only_the_published_files_are_imported() -> None:
    """What a neighbour may use is what it publishes: types, commands, queries, events. The rest may change freely.

    The command line may also load a context's own `cli`.
    """
    bad = []
    for module in program():
        if _composes(module.name):
            continue
        allowed = PUBLISHED | ({"cli"} if module.name.startswith("atp.cli") else set())
        for name, line in imports(module):
            owner = _owner(name)
            if owner is None or owner == module.context:
                continue
            seen = name.removeprefix(owner).strip(".").split(".")[0]
            if seen not in allowed:
                bad.append(f"{module.place}:{line} imports {name}")
    assert not bad, "\n".join(bad)


def test_a_store_is_private_to_its_context() -> None:
    """A table has one owner. Who reads another's table has copied its invariants without knowing them."""
    bad = []
    for module in program():
        for name, line in imports(module):
            owner = _owner(name)
            parts = name.removeprefix(owner).split(".") if owner else []
            if owner and "store" in parts[1:2] and module.context != owner and not _composes(module.name):
                bad.append(f"{module.place}:{line} imports {name}")
    assert not bad, "\n".join(bad)


def test_decisions_and_types_touch_nothing_outside() -> None:
    """`model` and `rules` are pure: they can be tested with values and read without knowing any engine."""
    refused = {
        "apsw",
        "asyncio",
        "atp.engine",
        "atp.web.request",
        "atp.web.response",
        "click",
        "httpx",
        "opentelemetry",
        "prometheus_client",
        "psycopg",
        "socket",
        "stamina",
        "starlette",
        "structlog",
        "subprocess",
    }
    bad = [
        f"{module.place}:{line} imports {name}"
        for module in program()
        if module.role in {"model", "rules"}
        for name, line in imports(module)
        if any(name == r or name.startswith(f"{r}.") for r in refused)
        or name.startswith(f"{module.context}.store")
    ]
    assert not bad, "\n".join(bad)
