"""Markdown tables of the results, for the monitor's README. `./lab pages` inserts them.

python services/monitor/benchmarks/monitor_tables.py staleness
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


TABLES: dict[str, Callable[[Found], str]] = {"staleness": staleness}


def main(argv: Sequence[str]) -> None:
    if len(argv) != 1 or argv[0] not in TABLES:
        sys.exit(f"usage: monitor_tables.py {'|'.join(TABLES)}")
    print(TABLES[argv[0]](json.loads((RESULTS / f"{argv[0]}.json").read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main(sys.argv[1:])
