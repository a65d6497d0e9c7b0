import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_bench.measure.record import RequestRecord
from llm_bench.measure.summary import summarise
from llm_bench.measure.window import SteadyWindow, steady_window, truncation
from llm_bench.workload.scenario import Scenario

LENGTHS = {"kind": "fixed", "tokens": 3}


def record(at: float, wait: float) -> RequestRecord:
    return RequestRecord(
        index=0,
        class_name="chat",
        scheduled_at=at,
        planned_prompt_tokens=3,
        max_tokens=3,
        prompt_tokens=3,
        sent_at=at,
        ended_at=at + wait + 1.0,
        outcome="ok",
        output_tokens=3,
        chunk_times=[at + wait, at + wait + 0.5, at + wait + 1.0],
        chunk_tokens=[1, 1, 1],
    )


def cold_start(rng: np.random.Generator) -> list[RequestRecord]:
    """For ten seconds of a hundred the target is ten times as slow."""
    return [record(0.1 * n, (2.0 if n < 100 else 0.2) * float(rng.uniform(0.8, 1.2))) for n in range(1000)]


def scenario(**changes: Any) -> Scenario:
    kind = {"weight": 1, "prompt_tokens": LENGTHS, "output_tokens": LENGTHS}
    values = {"name": "x", "duration": 100, "arrivals": {"kind": "constant", "rate": 10}, "classes": {"chat": kind}}
    return Scenario.model_validate({**values, **changes})


def test_a_cold_start_is_cut_where_it_ends() -> None:
    window = steady_window(cold_start(np.random.default_rng(0)), 100.0, "auto", 0.0)

    assert window.start == pytest.approx(10.0, abs=1.0)
    assert window.end == math.inf


@given(seed=st.integers(0, 1000))
def test_a_steady_run_loses_little(seed: int) -> None:
    rng = np.random.default_rng(seed)
    records = [record(0.1 * n, float(rng.exponential(0.2))) for n in range(1000)]

    assert steady_window(records, 100.0, "auto", 0.0).start < 50.0


def test_a_queue_that_grows_to_the_end_is_not_cut() -> None:
    assert steady_window([record(0.1 * n, 0.01 * n) for n in range(1000)], 100.0, "auto", 0.0).start == 0.0


def test_too_few_requests_are_not_cut() -> None:
    assert steady_window([record(0.1 * n, 9.0 if n < 5 else 0.1) for n in range(40)], 4.0, "auto", 0.0).start == 0.0


def test_the_cut_minimises_the_error_of_the_rest() -> None:
    assert truncation(np.array([9.0, 5.0, 1, 1, 1, 1, 1, 1, 1, 1])) == 2
    assert truncation(np.ones(10)) == 0


def test_the_end_is_cut_by_the_median_request_but_by_no_more_than_a_tenth() -> None:
    records = [record(0.1 * n, 0.5) for n in range(1000)]

    assert steady_window(records, 100.0, 0.0, "auto") == SteadyWindow(0.0, 98.5)
    assert steady_window(records, 10.0, 0.0, "auto") == SteadyWindow(0.0, 9.0)


def test_a_cut_that_leaves_nothing_is_not_made() -> None:
    assert steady_window([], 10.0, 8.0, 3.0) == SteadyWindow(0.0, math.inf)


def test_only_requests_of_the_window_count_and_only_tokens_that_came_in_it() -> None:
    """Ten requests a second of three tokens; the tokens of the last second before the window came in it too."""
    records = [replace(record(0.1 * n, 5.0 if n < 100 else 0.25), index=n) for n in range(1000)]

    summary = summarise(scenario(warm_up=20, cool_down=10), records)

    assert summary.window == SteadyWindow(20.0, 90.0)
    assert summary.seconds == pytest.approx(70.0)
    figures = summary.classes["chat"]
    assert figures.requests == 700
    assert figures.ttft.max == pytest.approx(0.25)
    assert figures.output_tokens_per_second == pytest.approx(30.0, rel=0.001)


def test_without_a_cut_everything_counts() -> None:
    summary = summarise(scenario(), [record(0.0, 5.0), record(1.0, 0.2)])

    assert summary.window is None
    assert summary.seconds == pytest.approx(6.0)
    assert summary.classes["chat"].output_tokens_per_second == pytest.approx(1.0)
