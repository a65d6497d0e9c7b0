from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_bench.errors import ScenarioError
from llm_bench.workload.scenario import Scenario
from llm_bench.workload.schedule import PlannedRequest, draw_mix, draw_schedule, expected_tokens

CORPUS = "some words to cut prompts from\nand a second line\n"


def scenario(**changes: Any) -> Scenario:
    def kind(weight: float, prompt: int, low: int, high: int) -> dict[str, Any]:
        return {
            "weight": weight,
            "prompt_tokens": {"kind": "fixed", "tokens": prompt},
            "output_tokens": {"kind": "uniform", "low": low, "high": high},
        }

    values = {
        "name": "mix",
        "duration": 20,
        "arrivals": {"kind": "poisson", "rate": 10},
        "classes": {"interactive": kind(5, 10, 1, 9), "standard": kind(3, 20, 10, 20), "batch": kind(2, 40, 50, 90)},
        **changes,
    }
    return Scenario.model_validate(values)


def draw(seed: int = 1, salt: str = "s", **changes: Any) -> list[PlannedRequest]:
    return draw_schedule(scenario(**changes), CORPUS, seed=seed, salt=salt)


@given(seed=st.integers(0, 2**63))
def test_a_seed_fixes_the_schedule(seed: int) -> None:
    assert draw(seed) == draw(seed)


def test_another_seed_makes_another_schedule() -> None:
    assert [planned.scheduled_at for planned in draw(1)] != [planned.scheduled_at for planned in draw(2)]


def test_another_salt_changes_prompts_but_neither_times_nor_lengths() -> None:
    one, other = draw(salt="a"), draw(salt="b")

    assert [(p.scheduled_at, p.class_name, p.prompt_tokens, p.max_tokens) for p in one] == [
        (p.scheduled_at, p.class_name, p.prompt_tokens, p.max_tokens) for p in other
    ]
    assert not {p.prompt for p in one} & {p.prompt for p in other}


def test_the_schedule_is_in_order_and_unique() -> None:
    schedule = draw()

    assert [planned.index for planned in schedule] == list(range(200))
    times = [planned.scheduled_at or 0.0 for planned in schedule]
    assert times == sorted(times)
    assert len({planned.prompt for planned in schedule}) == 200


def test_the_mix_has_exactly_the_weights() -> None:
    assert Counter(planned.class_name for planned in draw()) == {"interactive": 100, "standard": 60, "batch": 40}


def test_classes_come_in_no_fixed_order() -> None:
    order = [planned.class_name for planned in draw()]

    follows = Counter(pairwise(order))
    assert len(follows) == 9  # every class follows every class


def test_lengths_belong_to_the_class() -> None:
    for planned in draw():
        low, high = {"interactive": (1, 9), "standard": (10, 20), "batch": (50, 90)}[planned.class_name]
        assert low <= planned.max_tokens <= high
        assert planned.prompt_tokens == {"interactive": 10, "standard": 20, "batch": 40}[planned.class_name]


def test_a_window_without_arrivals_is_refused() -> None:
    with pytest.raises(ScenarioError, match="raise the rate or the duration"):
        draw(duration=0.01, arrivals={"kind": "poisson", "rate": 1})


def test_a_closed_loop_has_the_mix_over_every_stretch() -> None:
    names = [planned.class_name for planned in draw_mix(scenario(), 100, CORPUS, seed=1, salt="s")]

    for start in range(0, 100, 10):
        assert Counter(names[start : start + 10]) == {"interactive": 5, "standard": 3, "batch": 2}


def test_expected_tokens_follow_the_weights() -> None:
    prompt, output = expected_tokens(scenario())

    assert prompt == pytest.approx(0.5 * 10 + 0.3 * 20 + 0.2 * 40)
    assert output == pytest.approx(0.5 * 5 + 0.3 * 15 + 0.2 * 70, rel=0.01)
