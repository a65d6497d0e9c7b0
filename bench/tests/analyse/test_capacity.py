"""The estimate against simulated targets whose capacity is known."""

import numpy as np
import pytest

from llm_bench.analyse.capacity import PREFILL_COST, estimate_capacity
from llm_bench.errors import TargetError
from llm_bench.measure.record import RequestRecord


def processor(slots: int, duration: float, seed: int, step: float = 0.02) -> list[RequestRecord]:
    """A target with `slots` that each make a token every `step` seconds, kept full with short and long requests."""
    rng = np.random.default_rng(seed)
    records: list[RequestRecord] = []
    for _ in range(slots):
        at = 0.0
        while at < duration:
            tokens = int(rng.choice([20, 200], p=[0.8, 0.2]))
            times = [at + step * (position + 1) for position in range(tokens)]
            seen = [moment for moment in times if moment < duration]
            done = len(seen) == tokens
            records.append(
                RequestRecord(
                    index=len(records),
                    class_name="only",
                    scheduled_at=at,
                    planned_prompt_tokens=50,
                    max_tokens=tokens,
                    prompt_tokens=50,
                    sent_at=at,
                    ended_at=duration,
                    outcome="ok" if done else "incomplete",
                    output_tokens=len(seen),
                    chunk_times=seen,
                    chunk_tokens=[1] * len(seen),
                )
            )
            at = times[-1]
    return records


@pytest.mark.parametrize("seed", range(5))
def test_the_rate_of_a_known_target_is_found_from_a_few_seconds(seed: int) -> None:
    """56 tokens a request at 50 tokens/s and slot: 16 slots do 14.3 requests/s, though a long one takes 4 s."""
    capacity = estimate_capacity(processor(16, 10.0, seed), users=16, duration=10.0, expected=(50, 56))

    assert capacity.requests_per_second == pytest.approx(16 / (56 * 0.02), rel=0.06)
    assert capacity.measured_output_tokens_per_second == pytest.approx(16 / 0.02, rel=0.01)
    assert capacity.output_tokens_per_second == pytest.approx(56 * capacity.requests_per_second)
    assert 0 < capacity.relative_error < 0.1
    assert len(capacity.blocks) == 8


def steady(start: float, end: float, index: int = 0, prompt_tokens: int = 0) -> RequestRecord:
    """One long answer: a token every 10 ms from `start` to `end`."""
    times = np.arange(start, end, 0.01).tolist()
    return RequestRecord(
        index=index,
        class_name="only",
        scheduled_at=start,
        planned_prompt_tokens=prompt_tokens,
        max_tokens=len(times),
        prompt_tokens=9999,
        sent_at=start,
        ended_at=end,
        outcome="ok",
        output_tokens=len(times),
        chunk_times=times,
        chunk_tokens=[1] * len(times),
    )


def test_work_of_the_warm_up_and_after_the_end_does_not_count() -> None:
    busy_at_the_edges = [steady(0.0, 12.0), *(steady(0.0, 2.9, 1 + i) for i in range(9)), steady(10.1, 12.0, 10)]

    capacity = estimate_capacity(busy_at_the_edges, users=1, duration=10.0, expected=(0, 10))

    assert capacity.requests_per_second == pytest.approx(10, rel=0.02)


def test_a_moment_of_disturbance_does_not_move_the_figure_but_shows_in_its_error() -> None:
    quiet = estimate_capacity([steady(0.0, 10.0)], users=1, duration=10.0, expected=(0, 10))
    disturbed = estimate_capacity([steady(0.0, 5.0), steady(6.5, 10.0, 1)], users=1, duration=10.0, expected=(0, 10))

    assert disturbed.requests_per_second == pytest.approx(quiet.requests_per_second, rel=0.02)
    assert quiet.relative_error < 0.01
    assert disturbed.relative_error > 0.1
    assert disturbed.measured_output_tokens_per_second < 0.85 * quiet.measured_output_tokens_per_second


def test_prompts_are_work_too_as_the_scenario_counts_them() -> None:
    """Ten answers of 100 tokens a second in a row, each after a prompt of 100: 110 units of work a second, not 100."""
    records = [steady(second, second + 1.0, index=second, prompt_tokens=100) for second in range(10)]

    capacity = estimate_capacity(records, users=1, duration=10.0, expected=(100, 100))

    assert PREFILL_COST > 0
    assert sum(capacity.blocks) / len(capacity.blocks) == pytest.approx(1.0, rel=0.05)


def test_a_target_that_gives_nothing_is_reported_with_its_reason() -> None:
    refused = RequestRecord(
        index=0,
        class_name="only",
        scheduled_at=0.0,
        planned_prompt_tokens=1,
        max_tokens=1,
        sent_at=0.0,
        ended_at=0.1,
        outcome="http_500",
        detail="boom",
    )

    with pytest.raises(TargetError, match="http_500: boom"):
        estimate_capacity([refused], users=1, duration=1.0, expected=(1, 1))
    with pytest.raises(TargetError, match="--duration"):
        estimate_capacity([], users=1, duration=1.0, expected=(1, 1))
