"""Markdown tables of the results, for the monitor's README. `./lab pages` inserts them.

python services/monitor/benchmarks/monitor_tables.py staleness|collecting|history_engines
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from llm_measure.results import measured_on, missed
from llm_report.markdown import table
from llm_report.units import size

RESULTS = Path(__file__).resolve().parent / "results"
Found = dict[str, Any]


def staleness(found: Found) -> str:
    rows = [
        (
            f"{run['targets']} targets, {run['panels']} panels",
            f"{run['p50_ms']:.0f} ms",
            f"**{run['p99_ms']:.0f} ms**",
            f"{run['max_ms']:.0f} ms",
            f"{run['changes']}",
            f"{run['monitor_cpu_of_a_core']:.0%}",
            size(run["monitor_resident_bytes"]),
        )
        for run in found["runs"]
    ]
    heads = ("", "P50", "P99", "longest", "changes", "CPU of a core", "memory")
    return f"{table(heads, rows)}\n\n{missed(found)}{measured_on(found)}"


def collecting(found: Found) -> str:
    rows = [
        (
            f"{run['targets']} target{'s' if run['targets'] > 1 else ''}{', with history' if run['history'] else ''}",
            f"{run['series']:,}",
            f"**{run['cpu_percent_a_target']:.2f}%**",
            f"{run['cpu_ms_a_scrape']:.2f} ms",
        )
        for run in found["scrapes"]
    ]
    hour = found["hour"]
    resident, disk = hour["memory_mib_every_5_minutes"][-1], hour["history_mib"]
    memory = (
        f"With {hour['targets']} targets and ten minutes of samples in memory, head and history stay at "
        f"{resident:.0f} MiB over an hour, which takes {disk:.0f} MiB on disk."
    )
    heads = ("", "series", "CPU of a core, each", "a scrape")
    return f"{table(heads, rows)}\n\n{memory} {missed(found)}{measured_on(found)}"


def history_engines(found: Found) -> str:
    names = {"chunks": "**compressed chunks in SQLite**", "sqlite": "rows in SQLite", "duckdb": "rows in DuckDB"}
    rows = [
        (
            names[name],
            f"{run['cpu_ms_a_second']:.1f} ms",
            f"{run['query_cpu_ms']:.1f} ms",
            f"{run['disk_mib']:.0f} MiB",
            f"{run['memory_mib']:.0f} MiB",
            f"{run['seconds_lost_at_kill']:.0f} s",
        )
        for name, run in found["contenders"].items()
    ]
    heads = ("", "CPU a second", "CPU of a query", "disk", "memory", "lost at `kill -9`")
    return f"{table(heads, rows)}\n\n{missed(found)}{measured_on(found)}"


TABLES: dict[str, Callable[[Found], str]] = {
    "staleness": staleness,
    "collecting": collecting,
    "history_engines": history_engines,
}


def main(argv: Sequence[str]) -> None:
    if len(argv) != 1 or argv[0] not in TABLES:
        sys.exit(f"usage: monitor_tables.py {'|'.join(TABLES)}")
    print(TABLES[argv[0]](json.loads((RESULTS / f"{argv[0]}.json").read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main(sys.argv[1:])
