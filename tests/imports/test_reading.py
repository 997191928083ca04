"""Sources in every wrapping, whole and damaged: bounded memory, no good line lost, never a traceback."""

from __future__ import annotations

import gzip
import io
import json
import random
import tracemalloc
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atp.imports.commands import reading
from atp.imports.commands.unpacking import Stream, parts
from atp.imports.model import LINE_BYTES_MAX, SourceUnreadable
from atp.imports.rules import cloudtrail
from tests.imports.doors import CLOUDTRAIL

RECORDS = [json.loads(line) for line in CLOUDTRAIL.read_bytes().splitlines()]
LINES = CLOUDTRAIL.read_bytes()


def read(raw: bytes, reader=reading.lines, encoding="utf-8"):
    """Return the lines of all parts, and the message with which reading ended early."""
    found, damage = [], None
    try:
        for name, chunks in parts(Stream(io.BytesIO(raw)), "source", encoding):
            found_here = reader(name, chunks)
            while (line := next(found_here, None)) is not None:
                found += [line]
    except SourceUnreadable as error:
        damage = str(error)
    return found, damage


def good(found) -> list[dict]:
    return [json.loads(line.raw) for line in found if line.fault is None]


def zipped(*members: tuple[str, bytes], method=zipfile.ZIP_DEFLATED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, raw in members:
            archive.writestr(name, raw)
    return buffer.getvalue()


class Pipe(io.RawIOBase):
    """What `zipfile` writes to when it cannot seek: sizes follow the members."""

    def __init__(self):
        self.written = b""

    def writable(self):
        return True

    def write(self, piece):
        self.written += bytes(piece)
        return len(piece)


def piped_zip(*members) -> bytes:
    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, raw in members:
            archive.writestr(name, raw)
    return pipe.written


@pytest.mark.parametrize(
    "wrapped",
    [
        LINES,
        LINES.rstrip(b"\n"),
        LINES.replace(b"\n", b"\r\n\r\n"),
        b"\xef\xbb\xbf" + LINES,
        b"\xff\xfe" + LINES.decode().encode("utf-16-le"),
        gzip.compress(LINES),
        gzip.compress(LINES[: LINES.index(b"\n") + 1]) + gzip.compress(LINES[LINES.index(b"\n") + 1 :]),
        gzip.compress(LINES) + b"\0" * 100,
        zipped(("a.json", LINES)),
        zipped(("a.json", LINES), method=zipfile.ZIP_STORED),
        zipped(("folder/", b""), ("folder/a.json.gz", gzip.compress(LINES)), ("__MACOSX/._a", b"junk")),
        piped_zip(("a.json", LINES)),
    ],
    ids=[
        "plain",
        "no-end",
        "crlf",
        "bom",
        "utf16",
        "gzip",
        "gzips",
        "padded",
        "zip",
        "stored",
        "gz-in-zip",
        "piped",
    ],
)
def test_every_wrapping_gives_the_same_records(wrapped):
    """ING-08."""
    found, damage = read(wrapped)
    assert damage is None
    assert good(found) == RECORDS


@pytest.mark.parametrize("archive", [zipped, piped_zip])
def test_an_archive_of_several_members_is_read_in_order(archive):
    """ING-08: lines are numbered within their member."""
    found, damage = read(archive(("one", b'{"a":1}\n{"a":2}'), ("empty", b""), ("two", b'{"a":3}\n')))
    assert damage is None
    assert [(line.part, line.number, json.loads(line.raw)["a"]) for line in found] == [
        ("one", 1, 1),
        ("one", 2, 2),
        ("two", 1, 3),
    ]


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"Records": RECORDS}),
        json.dumps({"Records": RECORDS}, indent=4),
        json.dumps({"Records": RECORDS}, separators=(",", ":")),
        json.dumps(RECORDS),
        "\n".join(json.dumps({"Records": [record]}) for record in RECORDS),
        json.dumps({"Records": RECORDS[:50]}) + json.dumps({"Records": RECORDS[50:]}) + "\n",
    ],
    ids=["envelope", "indented", "compact", "array", "envelope-a-line", "two-envelopes"],
)
def test_the_envelope_is_streamed_whatever_its_layout(text):
    """ING-08."""
    found, damage = read(text.encode(), reading.elements)
    assert damage is None
    assert good(found) == RECORDS
    for line, record in zip(found, RECORDS, strict=True):
        assert json.loads(text.encode()[line.offset : line.offset + len(line.raw)]) == record


@pytest.mark.parametrize("cut", [0.1, 0.5, 0.9])
@pytest.mark.parametrize(
    "wrap", [gzip.compress, lambda raw: zipped(("a", raw)), lambda raw: piped_zip(("a", raw))]
)
def test_a_truncated_archive_gives_what_it_has_and_says_so(wrap, cut):
    """ING-08: half of a download is half of the lines, not none."""
    rows = [
        b'{"n":%d,"noise":"%s"}' % (n, random.Random(n).randbytes(40).hex().encode()) for n in range(4000)
    ]
    packed = wrap(b"\n".join(rows))
    found, damage = read(packed[: int(len(packed) * cut)])
    assert damage is not None
    kept = [line.raw.strip() for line in found if line.fault is None]
    assert kept == rows[: len(kept)]
    assert abs(len(kept) / 4000 - cut) < 0.05
    assert [line.fault.code for line in found if line.fault] in (["CUT_OFF"], [])


def test_a_flipped_bit_in_an_archive_loses_nothing_before_it():
    """ING-08: the unpacker's own error message comes only after all good bytes were handed out."""
    rows = [
        b'{"n":%d,"noise":"%s"}' % (n, random.Random(n).randbytes(40).hex().encode()) for n in range(4000)
    ]
    packed = bytearray(gzip.compress(b"\n".join(rows)))
    place = len(packed) // 2
    packed[place : place + 8] = b"\xff" * 8
    found, damage = read(bytes(packed))
    assert damage is not None
    good_lines = [line.raw.strip() for line in found[:-1]]
    same = next((n for n, line in enumerate(good_lines) if line != rows[n]), len(good_lines))
    assert same >= 0.49 * 4000


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_a_damaged_record_never_takes_a_neighbour_with_it(data):
    """ING-08: in an envelope, whatever a single record's bytes become."""
    texts = [json.dumps({"eventVersion": "1", "n": n, "s": "x" * n}).encode() for n in range(12)]
    hurt = data.draw(st.integers(1, 10))
    place = data.draw(st.integers(0, len(texts[hurt]) - 1))
    junk = data.draw(
        st.binary(max_size=6) | st.sampled_from([b'"', b"{", b"}", b"]", b"[", b"\\", b"}}", b'"{"'])
    )
    texts[hurt] = texts[hurt][:place] + junk + texts[hurt][place + data.draw(st.integers(0, 3)) :]
    found, _ = read(b'{"Records":[' + b",".join(texts) + b"]}", reading.elements)
    kept = {line.raw for line in found if line.fault is None}
    assert set(texts[:hurt]) <= kept
    assert set(texts[hurt + 1 :]) <= kept
    assert b"".join(line.raw for line in found if line.fault is not None) or set(texts) <= kept


@given(
    st.binary(max_size=3000)
    | st.lists(
        st.sampled_from([b"{", b"}", b"[", b"]", b'"', b",", b"\n", b"PK\x03\x04", b"\x1f\x8b"]), max_size=60
    ).map(b"".join)
)
@settings(max_examples=100, deadline=None)
def test_random_bytes_are_read_without_a_traceback(raw):
    """ING-08: whatever reader and encoding."""
    for reader in (
        reading.lines,
        reading.elements,
        lambda part, chunks: reading.rows(part, chunks, b'"', lambda _: True),
    ):
        for encoding in ("utf-8", "cp1252", "utf-16"):
            read(raw, reader, encoding)


@given(st.data())
@settings(max_examples=100, deadline=None)
def test_damaged_archives_are_read_without_a_traceback(data):
    """ING-08: headers included."""
    packed = bytearray(
        data.draw(
            st.sampled_from(
                [gzip.compress(LINES), zipped(("a", LINES[:9000])), piped_zip(("a", LINES[:9000]))]
            )
        )
    )
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, min(len(packed) - 1, 400)) | st.integers(0, len(packed) - 1))
        packed[place] ^= 1 << data.draw(st.integers(0, 7))
    read(bytes(packed))


def test_a_huge_line_is_refused_in_bounded_memory_and_the_next_is_read():
    """ING-08: 40 MB without a line break, and a gzip that expands a thousandfold."""
    bomb = gzip.compress(b'{"a":1}\n' + b"x" * 40_000_000 + b'\n{"a":2}\n')
    tracemalloc.start()
    found, damage = read(bomb)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert damage is None
    assert [line.fault.code if line.fault else json.loads(line.raw)["a"] for line in found] == [
        1,
        "LINE_TOO_LONG",
        2,
    ]
    assert len(found[1].raw) <= LINE_BYTES_MAX
    assert found[2].offset == 8 + 40_000_001
    assert peak < 12 * LINE_BYTES_MAX


def test_a_large_envelope_is_streamed_in_bounded_memory():
    """ING-08: 16 MB in one JSON text."""
    record = json.dumps(RECORDS[0]).encode()
    packed = gzip.compress(b'{"Records":[' + b",".join([record] * (16_000_000 // len(record))) + b"]}", 1)
    tracemalloc.start()
    count = 0
    for name, chunks in parts(Stream(io.BytesIO(packed)), "source"):
        for line in reading.elements(name, chunks):
            count += line.fault is None
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert count == 16_000_000 // len(record)
    assert peak < 11 * LINE_BYTES_MAX


def test_a_huge_record_in_an_envelope_costs_no_other_record():
    """ING-08: 6 MB in one element, refused in pieces; the records around it are read."""
    small = [json.dumps({"eventVersion": "1", "n": n}).encode() for n in range(9)]
    for size in range(6_000_000, 6_000_040, 13):
        huge = b'{"eventVersion":"1","s":"' + b"x" * size + b'"}'
        found, damage = read(
            b'{"Records":[' + b",".join([*small[:5], huge, *small[5:]]) + b"]}", reading.elements
        )
        assert damage is None
        assert [line.raw for line in found if line.fault is None] == small


def test_what_cannot_be_unpacked_says_what_to_do():
    """ING-08: encryption and foreign methods."""
    plain = bytearray(zipped(("a", b"x" * 100)))
    plain[6] |= 1
    assert "encrypted" in read(bytes(plain))[1]
    assert "packed in a way" in read(zipped(("a", b"x" * 100), method=zipfile.ZIP_BZIP2))[1]
    assert "empty" in read(zipped())[1]


def test_mapping_never_raises_anything_but_a_refusal():
    """ING-08: seeded mutations of real records; each gives a valid mapping or a coded refusal."""
    from atp.imports.model import Unmappable

    chance = random.Random(20260)
    lines = LINES.splitlines()
    refused = 0
    for _ in range(3000):
        line = bytearray(chance.choice(lines))
        for _ in range(chance.randint(1, 4)):
            line[chance.randrange(len(line))] = chance.choice(b'"{}[],:0~\\u\x00\xff')
        try:
            cloudtrail.map_line(bytes(line))
        except Unmappable:
            refused += 1
    assert 0 < refused < 3000
