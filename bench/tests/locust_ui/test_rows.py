import io
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from llm_bench.locust_ui.rows import COLUMNS, four_digits, make_rows, print_rows


@given(milliseconds=st.floats(1e-6, 1e9))
def test_rounding_is_off_by_half_a_thousandth_at_most(milliseconds: float) -> None:
    assert four_digits(milliseconds) == pytest.approx(milliseconds, rel=5.01e-4)
    assert four_digits(four_digits(milliseconds)) == four_digits(milliseconds)


@pytest.mark.parametrize(
    ("given", "kept"), [(8.7193, 8.719), (123.456, 123.5), (58764.2, 58760), (0.0, 0.0), (-1, 0.0)]
)
def test_four_digits_are_kept(given: float, kept: float) -> None:
    assert four_digits(given) == kept


def entry(count: int, value: float) -> Any:
    return SimpleNamespace(
        num_requests=count,
        avg_response_time=value,
        max_response_time=2 * value,
        get_response_time_percentile=lambda quantile: value + quantile,
    )


STATS = SimpleNamespace(
    entries={
        ("chat", "TPOT"): entry(3, 9.12345),
        ("chat", "TTFT"): entry(3, 50.0),
        ("chat", "SSE"): entry(3, 900.0),
        ("batch", "ITL"): entry(40, 8.0),
        ("batch", "TTFT"): entry(0, 0.0),
    }
)


def test_rows_are_by_class_and_metric_and_only_of_what_was_measured() -> None:
    rows = make_rows(STATS)

    assert [(row["name"], row["metric"]) for row in rows] == [("batch", "ITL"), ("chat", "TTFT"), ("chat", "TPOT")]
    assert all(set(row) == set(COLUMNS) for row in rows)
    assert (rows[2]["mean"], rows[2]["p50"], rows[2]["max"]) == (9.123, pytest.approx(9.62345), 18.25)


def test_the_table_shows_four_digits() -> None:
    console = Console(file=io.StringIO(), width=80)

    print_rows(STATS, console)

    printed = console.file.getvalue()  # type: ignore[attr-defined]
    assert "9.123" in printed
    assert "P99.9" in printed
    assert "…" not in printed
