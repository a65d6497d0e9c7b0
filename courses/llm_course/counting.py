"""The command line of a module's counted.py: counts that pages quote, kept as JSON beside it and printed as tables."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]
Counts = Mapping[str, Callable[[], Iterable[Row]]]


def main(counts: Counts, description: str | None, folder: Path) -> None:
    """Count what the command line names and write it to `folder`/counted, or read it from there; print its table."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=counts)
    parser.add_argument("--table", action="store_true", help="print what was counted before")
    arguments = parser.parse_args()
    count, file = counts[arguments.what], folder / "counted" / f"{arguments.what}.json"
    if not arguments.table:
        text = json.dumps({"counted": count.__doc__, "rows": list(count())}, indent=1)
        file.write_text(text + "\n", encoding="utf-8")
    print(table(json.loads(file.read_text(encoding="utf-8"))["rows"]))


def table(rows: Sequence[Row]) -> str:
    """Return the rows as a Markdown table: a column whose first value is a number stands to the right."""
    sides = ["---" if isinstance(value, str | bool) else "---:" for value in rows[0].values()]
    lines = [[_cell(value) for value in row.values()] for row in rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [list(rows[0]), sides, *lines])


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
    return "–" if value is None else f"{value:,}" if isinstance(value, int) else str(value)
