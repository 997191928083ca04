"""What the figures are to be (issue 2, "Numbers"), what they are, and the tables they are printed in."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Literal


@dataclass(frozen=True)
class Target:
    """What a figure must reach and what it aims at, in the figure's unit."""

    what: str
    reach: float
    aim: float
    unit: str
    better: Literal["more", "less"]


TARGETS: Final = {
    "sqlite.burst": Target("Batch ingest, SQLite: burst", 12_000, 25_000, "events/s", "more"),
    "sqlite.burst.raw": Target("… as a share of raw SQLite, same rows", 0.45, 0.80, "× raw", "more"),
    "sqlite.sustained": Target("… sustained, search model keeping up", 8_000, 18_000, "events/s", "more"),
    "sqlite.lag": Target("… lag of the search model at the end", 2, 2, "s", "less"),
    "postgres.burst": Target(
        "Batch ingest, PostgreSQL, 2 processes: burst", 10_000, 25_000, "events/s", "more"
    ),
    "postgres.burst.raw": Target("… as a share of raw COPY, same rows", 0.45, 0.80, "× raw", "more"),
    "postgres.sustained": Target("… sustained, search model keeping up", 7_000, 15_000, "events/s", "more"),
    "postgres.lag": Target("… lag of the search model at the end", 2, 2, "s", "less"),
    "disk": Target("Bytes on disk per event, without the search model", 1_600, 1_000, "bytes", "less"),
    "single.rate": Target("Single events, 32 clients", 2_000, 4_000, "events/s", "more"),
    "single.p99": Target("… p99", 50, 25, "ms", "less"),
    "long.tenths": Target("Rate in the last tenth against the first", 0.85, 0.95, "×", "more"),
    "proof.p99": Target("Commit to inclusion proof, p99, at 2,000 events/s", 1_000, 250, "ms", "less"),
    "search.p99": Target("Commit to searchable, p99, at 2,000 events/s", 250, 100, "ms", "less"),
    "verification": Target("Full verification from stored bytes", 100_000, 300_000, "records/s", "more"),
    "query": Target("List with three filters and a time range, p95", 100, 20, "ms", "less"),
    "memory.idle": Target("Memory, idle", 120, 80, "MB", "less"),
    "memory.import": Target("Memory, peak while importing", 350, 200, "MB", "less"),
    "detection": Target("Detection on a payload", 20, 8, "µs", "less"),
    "start.ready": Target("Start to ready, warm", 1.0, 0.5, "s", "less"),
    "start.version": Target("`atp --version`", 150, 80, "ms", "less"),
}

_DIGITS: Final = {"× raw": 2, "×": 2, "s": 2, "ms": 1, "µs": 1, "MB": 0}


@dataclass
class Figure:
    """One line of the table: the measured runs of a target, or (`target` None) a figure that is only context."""

    name: str
    values: Sequence[float]
    note: str = ""
    what: str = ""
    unit: str = ""
    ratios: Sequence[float] = field(default_factory=list)
    void: bool = False
    """Whether the circumstances were not those that the figure is defined for; the note says why."""

    @property
    def target(self) -> Target | None:
        return TARGETS.get(self.name)

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def verdict(self) -> str:
        """`aim met`, `met`, `short`, `void`, or nothing where there is no target."""
        target = self.target
        if target is None:
            return ""
        if self.void:
            return "void"
        sign = 1 if target.better == "more" else -1
        if sign * self.median >= sign * target.aim:
            return "aim met"
        return "met" if sign * self.median >= sign * target.reach else "short"

    def row(self) -> list[str]:
        """Return the cells: what, reach, aim, measured, × raw, verdict, note."""
        target = self.target
        what, unit = (target.what, target.unit) if target else (self.what, self.unit)
        measured = f"{_number(self.median, unit)} {unit}"
        if len(self.values) > 1:
            measured += f" ({_number(min(self.values), unit)}–{_number(max(self.values), unit)})"
        sign = "≥" if target and target.better == "more" else "≤"
        reach, aim = (
            (f"{sign} {_number(v, unit)}" for v in (target.reach, target.aim)) if target else ("", "")
        )
        ratio = f"{statistics.median(self.ratios):.2f}" if self.ratios else ""
        return [what, reach, aim, measured, ratio, self.verdict, self.note]


HEADINGS: Final = ["What", "Reach", "Aim", "Measured: median (min–max)", "× raw", "Verdict", "How"]


def _number(value: float, unit: str) -> str:
    return f"{value:,.{_DIGITS.get(unit, 0)}f}"


def as_text(figures: Sequence[Figure]) -> str:
    """Return a table for a terminal; the notes stand below their lines."""
    rows = [HEADINGS[:-1], *(figure.row()[:-1] for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for number, row in enumerate(rows):
        lines.append("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        if number == 0:
            lines.append("  ".join("─" * width for width in widths))
        elif note := figures[number - 1].note:
            lines.append(f"      {note}")
    return "\n".join(lines)


def as_markdown(figures: Sequence[Figure]) -> str:
    """Return the table for docs/benchmarks.md."""
    lines = ["| " + " | ".join(HEADINGS) + " |", "|---|--:|--:|--:|--:|---|---|"]
    lines += [
        "| " + " | ".join(cell.replace("|", "\\|") for cell in figure.row()) + " |" for figure in figures
    ]
    return "\n".join(lines)


def as_json(figures: Sequence[Figure], machine: dict[str, str]) -> str:
    """Return everything, every single run included, for a program to read."""
    found = []
    for figure in figures:
        target = figure.target
        found.append(
            {
                "name": figure.name,
                "what": target.what if target else figure.what,
                "unit": target.unit if target else figure.unit,
                "reach": target.reach if target else None,
                "aim": target.aim if target else None,
                "median": figure.median,
                "values": list(figure.values),
                "ratioToRaw": list(figure.ratios),
                "verdict": figure.verdict,
                "note": figure.note,
            }
        )
    return json.dumps({"machine": machine, "figures": found}, indent=1, ensure_ascii=False)
