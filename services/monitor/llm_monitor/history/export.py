"""Series as CSV and Parquet: one row per sample, with time, value, metric, and a column for each label."""

from __future__ import annotations

import csv
import io
import math
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from llm_monitor.series.selection import NAME, Series

FIXED = ("time", "value", "metric")
ROWS_A_PART = 5_000


def to_csv(series: Sequence[Series]) -> Iterator[str]:
    """Yield the text in parts. Times are UTC; markers of a series' end are left out."""
    labels = _label_names(series)
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([*FIXED, *(f"label_{name}" if name in FIXED else name for name in labels)])
    for number, row in enumerate(_rows(series, labels), 1):
        writer.writerow(row)
        if number % ROWS_A_PART == 0:
            yield buffer.getvalue()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue()


def to_parquet(series: Sequence[Series], path: Path) -> None:
    """Write a Parquet file. It blocks; DuckDB converts, and is loaded on first use."""
    import duckdb

    names = [f"label_{name}" if name in FIXED else name for name in _label_names(series)]
    types = {"time": "TIMESTAMP", "value": "DOUBLE", "metric": "VARCHAR", **dict.fromkeys(names, "VARCHAR")}
    with tempfile.TemporaryDirectory() as folder, duckdb.connect() as connection:
        table = Path(folder) / "series.csv"
        with table.open("w", newline="", encoding="utf-8") as file:
            file.writelines(to_csv(series))
        connection.execute("SET threads = 1")
        rows = connection.read_csv(
            str(table), header=True, columns=types, parallel=False, quotechar='"', escapechar='"'
        )
        rows.write_parquet(str(path), compression="zstd")


def _label_names(series: Sequence[Series]) -> list[str]:
    return sorted({name for one in series for name, _ in one.labels if name != NAME})


def _rows(series: Sequence[Series], names: Sequence[str]) -> Iterator[list[str]]:
    for one in series:
        labels = dict(one.labels)
        rest = [labels.get(NAME, ""), *(labels.get(name, "") for name in names)]
        for time, value in zip(one.times.tolist(), one.values.tolist(), strict=True):
            if not math.isnan(value):
                yield [_utc(time), repr(value), *rest]


def _utc(time: float) -> str:
    return datetime.fromtimestamp(time, UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
