from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_bench.load.tally import Tally, quantile
from llm_bench.measure.record import RequestRecord
from llm_bench.results.result import Result

MakeResult = Callable[..., Result]


def answered(wait: float, outcome: str = "ok") -> RequestRecord:
    """The first token after `wait`, the second 10 ms later."""
    record = RequestRecord(
        index=0,
        class_name="chat",
        scheduled_at=0.0,
        planned_prompt_tokens=5,
        max_tokens=5,
        outcome=outcome,
        output_tokens=2,
        ended_at=wait + 0.01,
    )
    record.chunk_times = [wait, wait + 0.01]
    return record


def tally_of(waits: list[float]) -> Tally:
    tally = Tally()
    for wait in waits:
        tally.add(answered(wait))
    return tally


@given(waits=st.lists(st.floats(1e-5, 1e4), min_size=1, max_size=50), share=st.floats(0.01, 1))
def test_a_quantile_is_that_of_the_samples_to_one_percent(waits: list[float], share: float) -> None:
    found, ordered = quantile(tally_of(waits).ttft, share), sorted(waits)

    assert found is not None
    rank = max(1, -(-share * len(waits) // 1))
    assert found == pytest.approx(ordered[int(rank) - 1], rel=0.0101)


@given(parts=st.lists(st.lists(st.floats(1e-4, 100), max_size=20), max_size=4))
def test_merged_tallies_are_the_tally_of_all(parts: list[list[float]]) -> None:
    merged = Tally.merge(tally_of(part).plain() for part in parts)

    assert merged == tally_of([wait for part in parts for wait in part])


def test_the_line_says_how_it_goes() -> None:
    tally = tally_of([0.2] * 99 + [2.0])
    tally.in_flight = 12
    tally.add(answered(0.1, outcome="reset"))

    line = tally.line()

    assert line.startswith("12 in flight, TTFT P50 ")
    assert line.endswith(", 1 failed")
    assert "TPOT P50 10 ms" in line.replace("10.0 ms", "10 ms")
    assert tally.finished == 101


def test_before_the_first_answer_there_are_no_percentiles() -> None:
    assert Tally(in_flight=3).line() == "3 in flight"
    assert quantile({}, 0.5) is None


def test_what_did_not_end_well_is_in_no_percentile() -> None:
    tally = Tally()
    tally.add(answered(0.2, outcome="rejected"))

    assert (tally.failed, tally.ttft, tally.tpot) == (1, {}, {})
