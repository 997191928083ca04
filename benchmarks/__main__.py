"""`make bench`: measure, and print each figure beside what it must reach. Never asserts.

    python -m benchmarks [names…] [--quick] [--output text|json|markdown]

Without names everything runs, about 20 minutes; `--quick` takes about four. Progress goes to standard error, the
table to standard output. docs/benchmarks.md says how each figure is taken.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import apsw
import msgspec

from atp.classification.queries import classify
from benchmarks import figures, freshness, ingest, long_run, single, starting
from benchmarks.detection import median_us
from benchmarks.events import EventMaker
from benchmarks.figures import Figure

Size = str
"""`full`, `quick` or `tiny` (which only shows that everything works)."""
SIZES: Final = {"full": ingest.FULL, "quick": ingest.QUICK, "tiny": ingest.TINY}
LONG_EVENTS: Final = {"full": 2_000_000, "quick": 200_000, "tiny": 10_000}
PARTS: Final[dict[str, Callable[[Size], list[Figure]]]] = {
    "start": lambda size: starting.measure(runs=3 if size == "tiny" else 7),
    "ingest": lambda size: ingest.measure(SIZES[size]),
    "disk": lambda size: ingest.measure_disk(SIZES[size]),
    "postgres": lambda size: ingest.measure_postgres(SIZES[size]),
    "single": lambda size: single.measure(runs=3, seconds={"full": 15, "quick": 4, "tiny": 1}[size]),
    "freshness": lambda size: freshness.measure(seconds={"full": 60, "quick": 20, "tiny": 4}[size]),
    "long": lambda size: long_run.measure(events=LONG_EVENTS[size]),
    "detection": lambda size: detect(runs=3 if size == "tiny" else 9),
}


def detect(*, runs: int) -> list[Figure]:
    """Classification of the benchmark's own events; `python -m benchmarks.detection` takes it apart."""
    maker = EventMaker()
    events = [msgspec.json.decode(maker.event()) for _ in range(1_000)]
    medians = [median_us(lambda: [classify(event) for event in events], len(events))[0] for _ in range(runs)]
    return [Figure("detection", medians, "CPU time an event of 600 bytes, all detectors, findings decided")]


def machine() -> dict[str, str]:
    """Say on what the figures were taken."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    return {
        "processor": f"{model}, {len(os.sched_getaffinity(0))} cores",
        "load before": f"{os.getloadavg()[0]:.1f}",
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "sqlite": apsw.sqlite_lib_version(),
    }


def main() -> None:
    """Run the parts that are asked for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="name", help=f"any of: {', '.join(PARTS)}")
    parser.add_argument("--quick", action="store_true", help="smaller sizes, about four minutes")
    parser.add_argument("--tiny", action="store_true", help="only show that everything works")
    parser.add_argument("--output", choices=["text", "json", "markdown"], default="text")
    options = parser.parse_args()
    unknown = [name for name in options.names if name not in PARTS]
    if unknown:
        parser.error(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(PARTS)}")
    size = "tiny" if options.tiny else "quick" if options.quick else "full"
    found, about = _run(options.names or list(PARTS), size), machine()
    if options.output == "json":
        print(figures.as_json(found, about))
        return
    table = figures.as_markdown(found) if options.output == "markdown" else figures.as_text(found)
    print("\n" + "; ".join(f"{name} {value}" for name, value in about.items()) + "\n\n" + table)


def _run(names: Sequence[str], size: Size) -> list[Figure]:
    """Run the parts one after another; one that fails is said and does not take the others with it."""
    found: list[Figure] = []
    for name in names:
        begun = time.perf_counter()
        print(f"{name} …", end=" ", file=sys.stderr, flush=True)
        try:
            found += PARTS[name](size)
        except Exception as error:  # noqa: BLE001 - a broken part must not cost the rest of the run
            print(f"failed after {time.perf_counter() - begun:.0f} s: {error}", file=sys.stderr, flush=True)
            traceback.print_exc(limit=-3)
        else:
            print(f"{time.perf_counter() - begun:.0f} s", file=sys.stderr, flush=True)
    return found


if __name__ == "__main__":
    main()
