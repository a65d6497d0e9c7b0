from __future__ import annotations

import csv
import io
import math
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import numpy as np

from llm_monitor.history.export import to_csv, to_parquet
from llm_monitor.series import Series, labels_of

SERIES = [
    Series(
        labels_of({"__name__": "x", "instance": "a:1", "text": 'q"u,o\nte', "time": "label"}),
        np.array([1_700_000_000.25, 1_700_000_001.0, 1_700_000_002.0]),
        np.array([0.1 + 0.2, math.inf, math.nan]),
    ),
    Series(labels_of({"__name__": "y", "model": "m"}), np.array([1_700_000_003.0]), np.array([-5.0])),
]


def test_csv_has_a_row_for_each_sample_and_a_column_for_each_label() -> None:
    rows = list(csv.DictReader(io.StringIO("".join(to_csv(SERIES)), newline="")))
    assert [row["value"] for row in rows] == ["0.30000000000000004", "inf", "-5.0"]
    assert rows[0] == {
        "time": "2023-11-14T22:13:20.250Z",
        "value": "0.30000000000000004",
        "metric": "x",
        "instance": "a:1",
        "model": "",
        "text": 'q"u,o\nte',
        "label_time": "label",
    }


def test_csv_comes_in_parts() -> None:
    long = Series(SERIES[1].labels, np.arange(20_000.0), np.arange(20_000.0))
    parts = list(to_csv([long]))
    assert len(parts) > 3
    assert len("".join(parts).splitlines()) == 20_001


def test_parquet_has_the_same_rows_with_types(tmp_path: Path) -> None:
    path = tmp_path / "series.parquet"
    to_parquet(SERIES, path)
    found = duckdb.connect().execute(f"SELECT time, value, metric, text, model FROM '{path}' ORDER BY time").fetchall()
    begin = datetime(2023, 11, 14, 22, 13, 20, 250_000, UTC).replace(tzinfo=None)
    assert found[0] == (begin, 0.1 + 0.2, "x", 'q"u,o\nte', None)
    assert [(row[1], row[2], row[4]) for row in found[1:]] == [(math.inf, "x", None), (-5.0, "y", "m")]


def test_no_series_are_an_empty_table(tmp_path: Path) -> None:
    assert "".join(to_csv([])) == "time,value,metric\n"
    to_parquet([], tmp_path / "empty.parquet")
    assert duckdb.connect().execute(f"SELECT count(*) FROM '{tmp_path}/empty.parquet'").fetchall() == [(0,)]
