"""Reads the contract documents and keeps their expanded form in a cache file beside them.

Parsing YAML takes longer than everything else at start, so the result is kept as JSON under a name made of
the sources' hash: a stale cache cannot be read, and losing it costs one slow start.
"""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec

from atp.kernel.hashing import sha256
from atp.specs import expansion

OPENAPI_FILE = "openapi/atp.v1.yaml"
ERRORS_FILE = "errors.yaml"
_CACHE_FOLDER = ".cache"
_PACKAGE = Path(__file__).resolve().parents[1]


class Documents(msgspec.Struct, frozen=True):
    """All contract documents: `openapi` expanded and self-contained, the others as written.

    `schemas` maps a file's path under contracts/, such as `schemas/audit-event.v1.json`, to its content.
    """

    openapi: dict[str, Any]
    schemas: dict[str, Any]
    errors: dict[str, dict[str, Any]]


def contracts_folder() -> Path:
    """Return where the contracts are: inside the installed package, else at the top of the repository."""
    packaged = _PACKAGE / "_contracts"
    return packaged if packaged.is_dir() else _PACKAGE.parents[1] / "contracts"


@lru_cache(maxsize=1)
def documents() -> Documents:
    """Return the contract documents; read once per process."""
    return read(contracts_folder())


def read(folder: Path) -> Documents:
    """Return the documents below `folder`, from its cache if that was made of exactly these sources."""
    sources = _sources(folder)
    cache = _cache_file(folder, sources)
    try:
        return msgspec.json.decode(cache.read_bytes(), type=Documents)
    except (OSError, msgspec.DecodeError):
        pass
    loaded = parse(sources)
    _keep(cache, msgspec.json.encode(loaded))
    return loaded


def cache_file(folder: Path) -> Path:
    """Return where the parsed form of exactly these contracts is kept; the wheel's build packs it."""
    return _cache_file(folder, _sources(folder))


def parse(sources: dict[str, bytes]) -> Documents:
    """Return the documents made of file contents by path; ValueError or yaml.YAMLError where one is wrong."""
    # Imported here because a warm start never needs it.
    import yaml

    errors = yaml.load(sources[ERRORS_FILE], yaml.CSafeLoader)["errors"]
    openapi = yaml.load(sources[OPENAPI_FILE], yaml.CSafeLoader)
    schemas = {name: msgspec.json.decode(raw) for name, raw in sources.items() if name.endswith(".json")}
    return Documents(expansion.expand(openapi, schemas, errors), schemas, errors)


def _sources(folder: Path) -> dict[str, bytes]:
    files = [folder / ERRORS_FILE, folder / OPENAPI_FILE, *sorted((folder / "schemas").rglob("*.json"))]
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in files}


def _cache_file(folder: Path, sources: dict[str, bytes]) -> Path:
    return folder / _CACHE_FOLDER / f"{_digest(sources)}.json"


def _digest(sources: dict[str, bytes]) -> str:
    # The code that expands is a source too.
    code = Path(expansion.__file__).read_bytes() + Path(__file__).read_bytes()
    return sha256(msgspec.msgpack.encode([code, *sources.items()])).hex()[:32]


def _keep(cache: Path, content: bytes) -> None:
    # Written aside and renamed, so that a reader sees all of it or none. An installation that may not be
    # written to works as well, only slower at start.
    aside = cache.with_suffix(f".{os.getpid()}")
    try:
        cache.parent.mkdir(exist_ok=True)
        aside.write_bytes(content)
        for old in cache.parent.glob("*.json"):
            old.unlink(missing_ok=True)
        aside.replace(cache)
    except OSError:
        return
