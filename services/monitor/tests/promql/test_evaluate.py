"""Cases that the comparison with Prometheus cannot show: stale markers, the window's open start, limits, properties."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support_promql import Memory

from llm_monitor.promql import EvaluationError, Vector, instant, parse, query_range
from llm_monitor.promql.evaluate import LOOKBACK, MAX_STEPS, Shared
from llm_monitor.series import labels_of


def value(text: str, memory: Memory, at: float) -> float | None:
    vector = instant(parse(text), memory, at)
    assert len(vector.labels) < 2
    return float(vector.values[0, 0]) if vector.labels else None


def test_a_sample_holds_until_the_lookback_ends() -> None:
    memory = Memory().add("x", [(100, 7)])
    assert value("x", memory, 99.9) is None
    assert value("x", memory, 100) == 7
    assert value("x", memory, 100 + LOOKBACK - 0.1) == 7
    assert value("x", memory, 100 + LOOKBACK) is None


def test_a_stale_marker_ends_a_series_at_once() -> None:
    memory = Memory().add("x", [(100, 7), (101, 8), (102, math.nan)])
    assert value("x", memory, 101.5) == 8
    assert value("x", memory, 102) is None
    assert value("absent(x)", memory, 102) == 1


def test_a_range_leaves_stale_markers_out() -> None:
    memory = Memory().add("x", [(100, 1), (101, 3), (102, math.nan), (103, 5)])
    assert value("count_over_time(x[10s])", memory, 103) == 3
    assert value("max_over_time(x[10s])", memory, 102) == 3
    assert value("sum_over_time(x[1s])", memory, 102) is None


def test_a_window_is_open_at_its_start() -> None:
    memory = Memory().add("x", [(100, 1), (110, 3), (120, 5)])
    assert value("count_over_time(x[10s])", memory, 120) == 1
    assert value("count_over_time(x[10001ms])", memory, 120) == 2


def test_a_counter_counts_through_a_restart() -> None:
    memory = Memory().add("x_total", [(t, v) for t, v in enumerate([100, 110, 5, 15, 20])])
    # 10 before the restart, 5 at once after it, 10, 5; then extrapolation by half a distance to the window's start.
    assert value("increase(x_total[5s])", memory, 4) == pytest.approx(30 * 5 / 4)


def test_not_a_number_is_a_sample() -> None:
    memory = Memory().add("x", [(100, 0)])
    vector = instant(parse("x / x"), memory, 100)
    assert vector.present.all()
    assert np.isnan(vector.values).all()
    assert value("count(x / x)", memory, 100) == 1
    assert value("x / x > 0", memory, 100) is None


def test_a_scalar_is_one_series_without_labels() -> None:
    vector = query_range(parse("time() * 2"), Memory(), 10, 14, step=2)
    assert vector.labels == [()]
    assert vector.values.tolist() == [[20, 24, 28]]
    assert vector.times.tolist() == [10, 12, 14]


def test_series_that_share_times_with_a_gap_in_one_of_them() -> None:
    memory, times = Memory(), np.arange(6.0)
    labels = [labels_of({"__name__": "x", "i": str(i)}) for i in range(3)]
    memory.rows(labels, times, np.array([[1, 2, 3, 4, 5, 6], [1, np.nan, 3, 4, 5, 6], [9, 8, 7, 6, 5, 4.0]]))
    vector = instant(parse("count_over_time(x[10s])"), memory, 5)
    assert {dict(each)["i"]: v for each, v in zip(vector.labels, vector.values[:, 0], strict=True)} == {
        "0": 6,
        "1": 5,
        "2": 6,
    }


def test_queries_of_one_moment_share_aggregations() -> None:
    memory, shared = Memory().add("x", [(100, 7)]), Shared()
    first = instant(parse("sum(x) + 1"), memory, 100, shared=shared)
    memory.series.clear()
    again = instant(parse("sum(x) + 2"), memory, 100, shared=shared)
    assert (first.values[0, 0], again.values[0, 0]) == (8, 9)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x * on (job) y", "several series match"),
        ('label_replace(x, "i", "", "job", ".*")', "same labels"),
        ('label_replace(x, "no-name", "", "job", ".*")', "'no-name' is no label name"),
        ('label_replace(x, "a", "", "job", "(?P<1>a)")', "no regular expression"),
        ("max_over_time(x[100d:1s])", "larger step"),
    ],
)
def test_what_cannot_be_evaluated_is_said(text: str, says: str) -> None:
    memory = Memory()
    for name in ("x", "y"):
        for i in "01":
            memory.add(name, [(100, 7)], job="a", i=i)
    with pytest.raises(EvaluationError, match=says):
        instant(parse(text), memory, 100)


def test_too_many_steps_are_refused() -> None:
    with pytest.raises(EvaluationError, match=str(MAX_STEPS)):
        query_range(parse("x"), Memory(), 0, MAX_STEPS, step=1)


@given(st.lists(st.integers(0, 50), min_size=2, max_size=40), st.integers(2, 60), st.integers(1, 50))
def test_increase_is_what_was_counted(steps: list[int], window: int, at: int) -> None:
    """Samples each second, window on the samples: extrapolation alone may add, by at most a distance at each end."""
    memory = Memory().add("x_total", list(enumerate(np.cumsum(steps).astype(float))))
    result = value(f"increase(x_total[{window}s])", memory, at)
    inside = [i for i in range(len(steps)) if at - window < i <= at]
    if len(inside) < 2:
        assert result is None
    else:
        exact = sum(steps[inside[0] + 1 : inside[-1] + 1])
        assert exact <= result <= exact * (1 + 2.2 / (len(inside) - 1)) + 1e-9


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=30), st.data())
def test_statistics_over_time_are_those_of_the_window(values: list[float], data: st.DataObject) -> None:
    memory = Memory().add("x", list(enumerate(values)))
    at, window = data.draw(st.integers(0, len(values) - 1)), data.draw(st.integers(1, 40))
    inside = values[max(0, at - window + 1) : at + 1]
    for function, expected in [
        ("min", min(inside)),
        ("max", max(inside)),
        ("sum", math.fsum(inside)),
        ("avg", math.fsum(inside) / len(inside)),
        ("stddev", float(np.std(inside))),
        ("count", len(inside)),
        ("last", inside[-1]),
    ]:
        assert value(f"{function}_over_time(x[{window}s])", memory, at) == pytest.approx(expected, abs=1e-6)


@given(st.lists(st.integers(0, 9), min_size=4, max_size=4), st.floats(0.01, 0.99))
def test_a_quantile_lies_in_its_bucket(counts: list[int], q: float) -> None:
    bounds, memory = [1.0, 2.0, 4.0], Memory()
    for bound, total in zip([*bounds, math.inf], np.cumsum(counts), strict=True):
        memory.add("h_bucket", [(0, float(total))], le="+Inf" if bound == math.inf else str(bound))
    result = instant(parse(f"histogram_quantile({q}, h_bucket)"), memory, 0)
    observations = [bound for bound, n in zip([*bounds, 4.0], counts, strict=True) for _ in range(n)]
    if not observations:
        assert np.isnan(result.values).all()
    else:
        upper = observations[min(math.ceil(q * len(observations) - 1e-9), len(observations)) - 1]
        assert result.values[0, 0] <= upper + 1e-9


def test_a_range_is_its_instants() -> None:
    memory = Memory().add("x_total", [(t, t * t % 37) for t in range(60)], i="a").add("x_total", [(30, 1)], i="b")
    text = "sum by (i) (rate(x_total[10s])) or x_total"
    whole = query_range(parse(text), memory, 5, 55, step=3)
    for step, at in enumerate(whole.times):
        assert _samples(instant(parse(text), memory, at), 0) == _samples(whole, step)


def _samples(vector: Vector, step: int) -> dict[object, float]:
    return {
        labels: float(values[step])
        for labels, values, present in zip(vector.labels, vector.values, vector.present, strict=True)
        if present[step]
    }
