"""CSV with a mapping file: fields, times and zones, quoting, and what is said when a mapping is wrong (ING-08)."""

from __future__ import annotations

import json

import pytest
import yaml

from atp.imports.rules.csv_rows import MappingFault, read_mapping
from tests.imports.doors import Kept, import_bytes, rejects

MAPPING = """
delimiter: ";"
encoding: cp1252
fields:
  occurredAt: {column: Zeit, format: "%d.%m.%Y %H:%M:%S", zone: Europe/Berlin}
  actor.type: {constant: user}
  actor.id: {column: Benutzer}
  action.name: {template: "erp:{Aktion}"}
  resource.type: {constant: beleg}
  resource.id: {column: Beleg}
  outcome: {column: Ergebnis, values: {ok: success, fehler: failure}, default: unknown}
  context.ip: {column: IP}
  context.branch: {constant: Köln}
"""
HEADER = "Zeit;Benutzer;Aktion;Beleg;Ergebnis;IP\n"


def run(folder, text, mapping=MAPPING, encoding="cp1252"):
    kept = Kept()
    raw = text if isinstance(text, bytes) else text.encode(encoding)
    report = import_bytes(raw, kept, folder, mapping=read_mapping(yaml.safe_load(mapping)))
    return report, [json.loads(event) for event in kept.order]


def test_columns_constants_templates_and_zones_fill_the_event(tmp_path):
    """ING-08: a German ERP export; summer and winter time differ."""
    rows = "01.07.2026 12:00:00;müller;Löschen;B-1;ok;10.0.0.1\n05.01.2026 12:00:00;ann;Lesen;B-2;?;\n"
    report, (summer, winter) = run(tmp_path, HEADER + rows)
    assert report.counts.rejected == 0
    assert summer["occurredAt"] == "2026-07-01T10:00:00.000000Z"
    assert winter["occurredAt"] == "2026-01-05T11:00:00.000000Z"
    assert summer["actor"] == {"type": "user", "id": "müller"}
    assert summer["action"] == {"name": "erp:Löschen"}
    assert summer["resource"] == {"type": "beleg", "id": "B-1"}
    assert (summer["outcome"], winter["outcome"]) == ("success", "unknown")
    assert summer["context"] == {"ip": "10.0.0.1", "branch": "Köln"}
    assert winter["context"] == {"branch": "Köln"}
    original = summer["payload"]["original"]
    assert original["columns"] == HEADER.strip().split(";")
    assert [original["row"][name] for name in original["columns"]] == rows.splitlines()[0].split(";")


def test_quoted_line_breaks_and_doubled_quotes_stay_exact(tmp_path):
    """ING-08."""
    report, (event,) = run(tmp_path, HEADER + '01.07.2026 12:00:00;a;x;"B;""1""\r\nzwei";ok;\r\n')
    assert report.counts.rejected == 0
    assert event["payload"]["original"]["row"]["Beleg"] == 'B;"1"\r\nzwei'


def test_a_stray_quote_costs_its_own_row_only(tmp_path):
    """ING-08: it would otherwise swallow the rest of the file."""
    rows = [f"01.07.2026 12:00:00;u;x;B-{n};ok;\n" for n in range(40)]
    rows[7] = '01.07.2026 12:00:00;u;x;"B-7;ok;\n'
    rows[20] = '01.07.2026 12:00:00;u;"x;B-20;ok;\n'
    rows[30] = "too;short\n"
    rows[33] = "31.02.2026 12:00:00;u;x;B-33;ok;\n"
    rows[35] = "01.07.2026 12:00:00;;x;B-35;ok;\n"
    report, events = run(tmp_path, HEADER + "".join(rows))
    found = {event["resource"]["id"] for event in events}
    assert found == {f"B-{n}" for n in range(40)} - {"B-7", "B-20", "B-30", "B-33", "B-35"}
    assert [(reject["line"], reject["code"]) for reject in rejects(tmp_path)] == [
        (9, "NOT_CSV"),
        (22, "NOT_CSV"),
        (32, "COLUMN_COUNT"),
        (35, "TIME_INVALID"),
        (37, "FIELD_MISSING"),
    ]
    assert report.counts.accepted == 35


@pytest.mark.parametrize(
    ("form", "value", "expected"),
    [
        ("rfc3339", "2026-01-02T03:04:05+01:00", "2026-01-02T02:04:05.000000Z"),
        ("unix", "1767323045.5", "2026-01-02T03:04:05.500000Z"),
        ("unix-ms", "1767323045500", "2026-01-02T03:04:05.500000Z"),
        ("%Y-%m-%dT%H:%M:%S.%f%z", "2026-01-02T03:04:05.123456-0100", "2026-01-02T04:04:05.123456Z"),
    ],
)
def test_times_in_every_form(tmp_path, form, value, expected):
    """ING-08."""
    rules = {
        name: {"constant": "c"}
        for name in ("actor.type", "actor.id", "action.name", "resource.type", "resource.id")
    }
    mapping = json.dumps(
        {"columns": ["at"], "fields": rules | {"occurredAt": {"column": "at", "format": form}}}
    )
    _, (event,) = run(tmp_path, value + "\n", mapping)
    assert event["occurredAt"] == expected


@pytest.mark.parametrize("bad", ["nan", "inf", "1e400", "", "x", "-99999999999999", "9" * 60])
def test_odd_times_are_refused(tmp_path, bad):
    """ING-08: a code, no traceback."""
    mapping = MAPPING.replace('"%d.%m.%Y %H:%M:%S"', "unix")
    report, _ = run(tmp_path, HEADER + f"{bad};u;x;B;ok;\n", mapping)
    assert report.counts.rejected == 1
    assert rejects(tmp_path)[0]["code"] in {"TIME_INVALID", "FIELD_MISSING"}


def test_repeated_empty_and_reserved_column_names_lose_no_value(tmp_path):
    """ING-08."""
    mapping = MAPPING.replace("cp1252", "utf-16")
    header, row = HEADER.strip() + ";Zeit;;~x\n", "01.07.2026 12:00:00;u;x;B;ok;;zwei;leer;tilde\n"
    _, (event,) = run(tmp_path, header + row, mapping, "utf-16")
    kept = event["payload"]["original"]["row"]
    assert (kept["Zeit (2)"], kept["column 8"], kept["column ~x"]) == ("zwei", "leer", "tilde")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("actor.id", "actor.di"), "no rule for actor.id"),
        (("occurredAt", "ocurredAt"), "did you mean occurredAt"),
        (("{column: IP}", "{colum: IP}"), "colum"),
        (("cp1252", "latin-99"), "latin-99 is not known"),
        (('";"', '";;"'), "one character"),
        (("context.branch", "payload.original"), "choose another name"),
    ],
)
def test_a_wrong_mapping_is_told_with_its_place(change, message):
    """ING-08."""
    with pytest.raises(MappingFault, match=message):
        read_mapping(yaml.safe_load(MAPPING.replace(*change, 1)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("column: Beleg", "column: Belege"), "did you mean 'Beleg'"),
        (("Europe/Berlin", "Europe/Bern1"), "no time zone"),
        (("{constant: user}", "{constant: user, column: IP}"), "give one of"),
        (("fehler: failure", "fehler: broken"), "is none of"),
        (("erp:{Aktion}", "erp:{Aktion"), "not closed"),
    ],
)
def test_a_mapping_that_does_not_fit_the_file_stops_before_the_first_row(tmp_path, change, message):
    """ING-08: said as the damage of the source; nothing is sent."""
    report, events = run(tmp_path, HEADER + "01.07.2026 12:00:00;u;x;B;ok;\n", MAPPING.replace(*change, 1))
    assert events == []
    assert message in (report.damage or "")
