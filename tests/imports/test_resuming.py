"""Interrupt an import wherever you like and run it again: nothing lost, nothing twice (ING-08)."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest

from atp.imports.commands import run
from atp.imports.commands.unpacking import Stream
from atp.imports.model import SinkUnavailable, SourceUnreadable
from atp.imports.rules.csv_rows import read_mapping
from atp.imports.store import Checkpoints, RejectFile
from tests.imports.doors import CLOUDTRAIL, Kept, import_bytes, rejects

EVENT = {"occurredAt": "2026-01-01T00:00:00Z", "actor": {"type": "user", "id": "u"}, "action": {"name": "a"}}


def own_lines(count: int, start: int = 0) -> bytes:
    """Events without ids; every third is equal to the one before it, as log lines may be."""
    rows = [
        EVENT | {"resource": {"type": "t", "id": str(n - (n % 3 == 2))}} for n in range(start, start + count)
    ]
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def ids(kept: Kept) -> list[str]:
    return [json.loads(event)["resource"]["id"] for event in kept.order]


@pytest.fixture
def small_batches(monkeypatch):
    """Boundaries every seven lines, so that a short source has many."""
    monkeypatch.setattr(run, "BATCH_EVENTS_MAX", 7)


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("store_before_failing", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("lost_checkpoint", [False, True], ids=["noted", "checkpoint-lost"])
def test_an_interruption_at_every_batch_loses_and_repeats_nothing(
    tmp_path, store_before_failing, lost_checkpoint
):
    """ING-08: before and after the store has the batch, with and without the checkpoint."""
    source = own_lines(60).replace(b"\n", b"\nbad line\n", 1)
    whole = Kept()
    expected = import_bytes(source, whole, tmp_path)
    assert (expected.counts.accepted, expected.counts.rejected) == (60, 1)
    for boundary in range(1, whole.batches + 1):
        folder = tmp_path / str(boundary)
        folder.mkdir()
        kept = Kept()
        kept.fail_at, kept.store_before_failing = boundary, store_before_failing
        with pytest.raises(SinkUnavailable):
            import_bytes(source, kept, folder)
        if lost_checkpoint:
            for path in (folder / "imports").glob("*"):
                path.unlink()
        report = import_bytes(source, kept, folder)
        assert kept.order == whole.order
        assert report.counts.rejected == 1
        assert report.counts.accepted + report.counts.duplicates == 60
        assert [reject["line"] for reject in rejects(folder)] == [2]


@pytest.mark.usefixtures("small_batches")
def test_ctrl_c_while_mapping_keeps_what_was_acknowledged(tmp_path):
    """ING-08: KeyboardInterrupt comes out, and the next run completes the set."""
    kept, seen = Kept(), []

    def interrupt(counts, _position):
        seen.append(counts.lines)
        if len(seen) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run.run_import(
            Stream(io.BytesIO(own_lines(60))),
            run.Plan("source", "here"),
            kept,
            checkpoints=Checkpoints(tmp_path / "imports"),
            rejects=lambda size: RejectFile(tmp_path / "source.rejects.jsonl", size),
            progress=interrupt,
        )
    report = import_bytes(own_lines(60), kept, tmp_path)
    assert report.resumed_lines > 0
    assert len(kept.order) == 60


def test_a_second_run_reads_but_sends_nothing(tmp_path):
    """ING-08: also with --restart, where the keys alone must tell."""
    kept = Kept()
    import_bytes(CLOUDTRAIL.read_bytes(), kept, tmp_path)
    batches = kept.batches
    again = import_bytes(CLOUDTRAIL.read_bytes(), kept, tmp_path)
    assert kept.batches == batches
    assert again.resumed_lines == 103
    restarted = import_bytes(CLOUDTRAIL.read_bytes(), kept, tmp_path, restart=True)
    assert restarted.counts.duplicates == 103
    assert len(kept.order) == 103


def test_a_log_that_grew_is_continued_and_a_new_one_begun(tmp_path):
    """ING-08: same file longer: the new lines only; another file under the same name: all of it."""
    kept = Kept()
    import_bytes(own_lines(10), kept, tmp_path)
    grown = import_bytes(own_lines(15), kept, tmp_path)
    assert grown.resumed_lines == 10
    assert len(kept.order) == 15
    other = import_bytes(own_lines(5, start=100), kept, tmp_path)
    assert other.resumed_lines == 0
    assert len(kept.order) == 20


def test_a_last_line_that_was_still_being_written_is_not_lost(tmp_path):
    """ING-08: it is refused now and taken when it is whole, and its refusal does not stay."""
    kept, source = Kept(), own_lines(3)
    cut = import_bytes(source[:-20], kept, tmp_path)
    assert (cut.counts.accepted, cut.counts.rejected) == (2, 1)
    whole = import_bytes(source, kept, tmp_path)
    assert len(kept.order) == 3
    assert whole.counts.rejected == 0
    assert rejects(tmp_path) == []


def test_equal_lines_are_events_of_their_own(tmp_path):
    """ING-08: two equal log lines are two acts, in one file and in two."""
    kept = Kept()
    line = own_lines(1)
    import_bytes(line * 5, kept, tmp_path)
    assert len(kept.order) == 5


def test_bad_lines_are_kept_with_place_and_reason(tmp_path):
    """ING-08: counted and written, whatever they hold; the good ones around them are stored."""
    lines = CLOUDTRAIL.read_bytes().splitlines(keepends=True)
    raw = (
        lines[0]
        + b"\xff\xfenot utf-8\n"
        + lines[1]
        + b'{"no":"event"}\n'
        + lines[2]
        + b"x" * 2_000_000
        + b"\n"
        + lines[3]
    )
    kept = Kept()
    report = import_bytes(raw, kept, tmp_path)
    assert (report.counts.accepted, report.counts.rejected) == (4, 3)
    binary, foreign, long = rejects(tmp_path)
    assert (binary["line"], binary["offset"], binary["code"]) == (2, len(lines[0]), "NOT_UTF8")
    assert binary["rawBase64"] == "//5ub3QgdXRmLTgK"
    assert (foreign["line"], foreign["code"], foreign["raw"]) == (4, "NOT_CLOUDTRAIL", '{"no":"event"}')
    assert (long["line"], long["code"], long["cut"]) == (6, "LINE_TOO_LONG", True)
    assert raw[long["offset"] :].startswith(b"xxx")


def test_an_event_beyond_the_limit_is_refused_with_its_size(tmp_path):
    """ING-05: 64 KiB as sent."""
    record = json.loads(CLOUDTRAIL.read_bytes().splitlines()[0]) | {"filler": "x" * 66_000}
    report = import_bytes(json.dumps(record).encode() + b"\n", Kept(), tmp_path)
    assert report.counts.rejected == 1
    assert rejects(tmp_path)[0]["code"] == "EVENT_TOO_LARGE"


def test_a_source_of_another_format_is_refused_before_anything_is_sent(tmp_path):
    """ING-08: with the format to say."""
    kept = Kept()
    with pytest.raises(SourceUnreadable, match="looks like cloudtrail"):
        import_bytes(CLOUDTRAIL.read_bytes(), kept, tmp_path, format="windows-eventlog")
    with pytest.raises(SourceUnreadable, match="say --format"):
        import_bytes(b"a,b\n1,2\n", kept, tmp_path)
    with pytest.raises(SourceUnreadable, match="binary"):
        import_bytes(b"\x7fELF\0\0\0" * 100, kept, tmp_path, format="jsonl")
    with pytest.raises(SourceUnreadable, match="mapping"):
        import_bytes(b"a,b\n1,2\n", kept, tmp_path, format="csv")
    assert kept.batches == 0


def test_two_exports_with_the_same_header_and_row_stay_two(tmp_path):
    """ING-08: keys of lines without ids are bound to their source."""
    rules = {"occurredAt": {"column": "at"}}
    for name in ("actor.type", "actor.id", "action.name", "resource.type", "resource.id"):
        rules[name] = {"constant": "x"}
    mapping = read_mapping({"fields": rules})
    kept = Kept()
    header, row = b"at,who\n", b"2026-01-01T00:00:00Z,ann\n"
    for number, rest in enumerate((b"2026-01-01T00:00:01Z,bob\n", b"2026-01-01T00:00:02Z,cid\n")):
        folder = Path(tmp_path / str(number))
        folder.mkdir()
        import_bytes(header + row + rest, kept, folder, mapping=mapping)
    assert len(kept.order) == 4
