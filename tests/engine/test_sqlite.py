"""The embedded engine's durability: full where the trail lies, relaxed only for what can be made again."""

from __future__ import annotations

from pathlib import Path

from atp.app.parts import open_databases
from atp.engine.settings import Settings
from atp.query.handlers import SearchProjection

FULL, NORMAL = 2, 1


def test_the_trail_is_synced_at_every_commit_and_only_the_search_model_is_not(tmp_path: Path) -> None:
    """ING-07: acknowledged means fsynced; the search model is a projection and may be taken back by a power cut."""
    records, search = open_databases(Settings(data=tmp_path), SearchProjection())
    try:
        assert records.write_now(lambda c: c.row("PRAGMA synchronous")) == (FULL,)
        assert search.write_now(lambda c: c.row("PRAGMA synchronous")) == (NORMAL,)
    finally:
        search.close()
        records.close()
