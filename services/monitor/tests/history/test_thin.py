"""A thinned series is a part of the series: its extremes, its increase and its ends are exact."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from llm_monitor.history.chunk import Chunk
from llm_monitor.history.thin import is_counter, thin

VALUES = st.lists(st.floats(allow_nan=True, allow_infinity=False) | st.sampled_from([0.0, 1.0, 2.0]), max_size=60)


def thinned(values: list[float], step: int = 10, *, counter: bool = False) -> dict[int, float]:
    """Return the kept samples of a series with one sample a millisecond, from 1 on."""
    row = np.array([values])
    chunk = Chunk(np.zeros(1, np.int32), np.arange(1, len(values) + 1), row, np.ones(row.shape, np.bool_))
    kept = thin(chunk, step, np.array([counter]))
    return dict(zip(kept.times.tolist(), kept.values[0].tolist(), strict=True)) if len(kept.ids) else {}


def increase(values: list[float]) -> float:
    real = [value for value in values if not math.isnan(value)]
    return sum(now - before if now >= before else now for before, now in pairwise(real))


def test_a_rising_series_keeps_the_last_sample_of_each_step() -> None:
    assert list(thinned([float(number) for number in range(30)])) == [1, 10, 20, 30]
    assert list(thinned([5.0] * 30)) == [10, 20, 30]


def test_a_peak_and_a_dip_stay_at_their_times() -> None:
    assert thinned([1.0] * 12 + [9.0] + [1.0] * 3 + [0.5] + [1.0] * 3) == {10: 1, 13: 9, 17: 0.5, 20: 1}


def test_a_series_that_ends_keeps_its_last_sample_and_the_marker() -> None:
    assert repr(thinned([1.0] * 13 + [math.nan] * 2)) == repr({10: 1.0, 13: 1.0, 14: math.nan})


@given(VALUES)
def test_extremes_of_each_step_are_within_what_is_kept_since_the_sample_before(values: list[float]) -> None:
    kept = thinned(values)
    for start in range(0, len(values), 10):
        real = [value for value in values[start : start + 10] if not math.isnan(value)]
        # The range of a step, and the last real sample before it, as a line on a chart begins there.
        shown = [value for at, value in kept.items() if start < at <= start + 10 and not math.isnan(value)]
        before = [value for at, value in kept.items() if at <= start and not math.isnan(value)][-1:]
        if real:
            assert max(shown + before) >= max(real)
            assert min(shown + before) <= min(real)
            assert shown[-1] == real[-1]


@given(st.lists(st.integers(0, 5), max_size=60), st.lists(st.integers(1, 59), max_size=6))
def test_the_increase_of_a_counter_is_exact_through_any_restarts(rises: list[int], restarts: list[int]) -> None:
    values, total = [], 0.0
    for at, rise in enumerate(rises):
        total = float(rise) if at in restarts else total + rise
        values.append(total)
    kept = [value for _, value in sorted(thinned(values, counter=True).items())]
    if values:
        assert kept[0] >= values[0]
        assert increase([values[0], *kept]) == increase(values)


@given(VALUES, st.booleans())
def test_every_kept_sample_is_real(values: list[float], counter: bool) -> None:
    for at, value in thinned(values, counter=counter).items():
        assert repr(values[at - 1]) == repr(value)


def test_counters_are_told_by_their_names() -> None:
    assert is_counter("vllm:prompt_tokens_total")
    assert is_counter("vllm:time_to_first_token_seconds_bucket")
    assert not is_counter("vllm:num_requests_running")
