"""Two servers on the engine, their step counts by arithmetic, and where the difference comes from."""

from __future__ import annotations

from collections.abc import Callable
from itertools import permutations
from random import Random
from typing import TYPE_CHECKING

import pytest
from exercise import (
    Request,
    best_order,
    causes,
    continuous,
    continuous_steps,
    fewest_steps,
    padded_tokens,
    slots_used,
    static,
    static_steps,
    worst_lengths,
)
from hypothesis import given
from hypothesis.strategies import integers, lists

from llm_course.paths import MODELS

if TYPE_CHECKING:
    from llm_engine import Engine


class Rows:
    """An observer that notes which requests compute something in each step."""

    def __init__(self) -> None:
        self.steps: list[list[int]] = []

    def watch(self, engine: object) -> None: ...

    def queued(self, sequence: object) -> None: ...

    def launched(self, step, now: float) -> None:  # type: ignore[no-untyped-def]
        self.steps.append(sorted(int(sequence.request_id) for sequence in step.num_tokens))

    def computed(self, step: object, sampled: object, now: float) -> None: ...

    def finished(self, sequence: object) -> None: ...


def engine(slots: int, rows: Rows) -> Engine:
    from llm_engine import Engine, EngineConfig

    config = EngineConfig(
        str(MODELS / "zoo" / "llama"), max_num_seqs=slots, num_gpu_blocks_override=200, max_model_len=128,
        enable_prefix_caching=False, attention_backend="torch",
    )  # fmt: skip
    return Engine(config, [rows])


def requests(*lengths: int) -> list[Request]:
    return [Request([5 + index] * (2 + index % 7), length) for index, length in enumerate(lengths)]


MIXED = Random(3).choices(range(1, 25), k=21)
UNIFORM = Random(0).choices(range(100, 1025), k=256)


def test_a_batch_starts_when_the_one_before_has_ended() -> None:
    """Two slots, answers of 3, 1, 2 and 2 tokens: the second request's slot stays empty until the first has ended."""
    rows = Rows()
    steps = static(engine(16, rows), requests(3, 1, 2, 2), size=2)
    assert rows.steps == [[0, 1], [0], [0], [2, 3], [2, 3]]
    assert steps == 5


def test_the_last_batch_can_be_smaller() -> None:
    """Five requests in batches of two are three batches, and all five get their tokens."""
    rows = Rows()
    steps = static(engine(2, rows), requests(1, 2, 1, 1, 3), size=2)
    assert rows.steps == [[0, 1], [1], [2, 3], [4], [4], [4]]
    assert steps == 6
    assert static_steps([1, 2, 1, 1, 3], 2) == 6


def test_a_free_slot_is_taken_in_the_next_step() -> None:
    """The same answers on the engine as it is: the third request joins when the second has left."""
    rows = Rows()
    steps = continuous(engine(2, rows), requests(3, 1, 2, 2))
    assert rows.steps == [[0, 1], [0, 2], [0, 2], [3], [3]]
    assert steps == 5


def test_the_arithmetic_is_what_happens() -> None:
    """21 answers of 1 to 24 tokens in four slots: both formulas give the steps that the engine takes."""
    counted = static(engine(4, Rows()), requests(*MIXED), size=4)
    assert static_steps(MIXED, 4) == counted
    counted = continuous(engine(4, Rows()), requests(*MIXED))
    assert continuous_steps(MIXED, 4) == counted


def test_equal_lengths_gain_nothing() -> None:
    """Sixteen answers of ten tokens in four slots take 40 steps either way, and every slot is used."""
    assert static_steps([10] * 16, 4) == 40
    assert continuous_steps([10] * 16, 4) == 40
    assert slots_used([10] * 16, 4, 40) == 1.0
    assert causes([10] * 16, 4, 4) == (1.0, 1.0)


def test_an_empty_seat_is_a_slot() -> None:
    """Answers of 3, 5, 8 and 20 tokens in four slots use 36 of 80; a fifth of 20 tokens makes it 56 of 160."""
    assert slots_used([3, 5, 8, 20], 4, static_steps([3, 5, 8, 20], 4)) == pytest.approx(36 / 80)
    assert slots_used([3, 5, 8, 20, 20], 4, static_steps([3, 5, 8, 20, 20], 4)) == pytest.approx(56 / 160)


def test_two_reasons_for_a_least_number() -> None:
    """Ten answers of 3 tokens in four slots need 8 steps, since 7 have only 28 slots; with one of 20 it is 20."""
    assert fewest_steps([3] * 10, 4) == 8
    assert fewest_steps([*[3] * 10, 20], 4) == 20


@given(lengths=lists(integers(1, 30), min_size=1, max_size=40), slots=integers(1, 9))
def test_between_the_bounds(lengths: list[int], slots: int) -> None:
    """Continuous batching never takes more steps than static, and exceeds the least by less than the longest answer."""
    steps = continuous_steps(lengths, slots)
    assert fewest_steps(lengths, slots) <= steps <= static_steps(lengths, slots)
    assert steps < fewest_steps(lengths, slots) + max(lengths)


def test_prompts_are_filled_up() -> None:
    """Prompts of 4, 10 and 6 tokens in batches of two: six tokens are computed for nothing, none in the last batch."""
    assert padded_tokens([4, 10, 6], 2) == 6
    assert padded_tokens([7] * 9, 4) == 0


@given(lengths=lists(integers(1, 9), min_size=1, max_size=6), size=integers(1, 4))
def test_no_order_is_better(lengths: list[int], size: int) -> None:
    """No other order takes fewer steps in static batches, even if the last batch is not full."""
    order = best_order(lengths, size)
    assert sorted(order) == sorted(lengths)
    assert static_steps(order, size) == min(static_steps(each, size) for each in permutations(lengths))


def test_a_server_that_knows_the_future() -> None:
    """Sorted by length, static batches of eight come within a tenth of continuous ones: what they lack is knowledge."""
    best = static_steps(best_order(UNIFORM, 8), 8)
    unsorted = static_steps(UNIFORM, 8)
    assert best <= 1.1 * continuous_steps(UNIFORM, 8)
    assert unsorted >= 1.4 * best


def test_a_workload_with_a_factor_of_two() -> None:
    """Your lengths make static batching take almost as many times the steps as there are slots."""
    lengths = worst_lengths(slots=4, batches=6, longest=120)
    assert len(lengths) == 24
    assert min(lengths) >= 1
    assert max(lengths) <= 120
    ratio = static_steps(lengths, 4) / continuous_steps(lengths, 4)
    assert ratio >= 2, "continuous batching gains less than a factor of two"
    eight = worst_lengths(slots=8, batches=8, longest=1000)
    assert static_steps(eight, 8) / continuous_steps(eight, 8) > 7.8


def test_seven_short_answers_wait_for_a_long_one(record_property: Callable[[str, object], None]) -> None:
    """In each group of eight one answer has 64 tokens and seven have 4: the engine needs far fewer than 512 steps."""
    lengths = [64, 4, 4, 4, 4, 4, 4, 4] * 8
    assert static_steps(lengths, 8) == 512
    steps = continuous(engine(8, Rows()), requests(*lengths))
    record_property("prediction", steps)
    assert steps == continuous_steps(lengths, 8)
    assert 512 / steps > 3.5


def test_two_causes_of_one_factor() -> None:
    """256 answers of 100 to 1,024 tokens, 64 slots against 128: the two factors multiply to the ratio of the steps."""
    refilling, seats = causes(UNIFORM, 64, 128)
    assert refilling * seats == pytest.approx(static_steps(UNIFORM, 64) / continuous_steps(UNIFORM, 128))
    assert refilling == pytest.approx(static_steps(UNIFORM, 64) / continuous_steps(UNIFORM, 64))
    assert refilling > 1.2
    assert seats > 1.2
