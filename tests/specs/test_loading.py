"""Loading: the cache is only ever read for exactly the sources it was made of; start stays fast (CON-01)."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from atp.specs import loading


@pytest.fixture
def contracts(tmp_path: Path) -> Path:
    folder = tmp_path / "contracts"
    shutil.copytree(loading.contracts_folder(), folder, ignore=shutil.ignore_patterns(".cache"))
    return folder


def test_the_cache_equals_a_fresh_reading(contracts: Path) -> None:
    """A warm start sees the same contract as a cold one."""
    fresh = loading.read(contracts)
    assert len(list((contracts / ".cache").glob("*.json"))) == 1
    assert loading.read(contracts) == fresh


def test_a_changed_source_is_seen_and_the_old_cache_removed(contracts: Path) -> None:
    """Nobody has to remember to delete a cache after editing a contract."""
    loading.read(contracts)
    source = contracts / loading.ERRORS_FILE
    source.write_text(source.read_text().replace("Too many requests", "Far too many requests"))
    assert loading.read(contracts).errors["RATE_LIMITED"]["title"] == "Far too many requests"
    assert len(list((contracts / ".cache").iterdir())) == 1


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"openapi":{}}'])
def test_a_damaged_cache_is_not_believed(contracts: Path, content: bytes) -> None:
    """A cache cut short by a full disk costs one slow start and nothing else."""
    fresh = loading.read(contracts)
    (cache,) = (contracts / ".cache").iterdir()
    cache.write_bytes(content)
    assert loading.read(contracts) == fresh


def test_a_place_that_cannot_be_written_still_loads(contracts: Path) -> None:
    """An installation is often read-only."""
    (contracts / ".cache").write_text("a file where the folder would be")
    assert loading.read(contracts).errors
