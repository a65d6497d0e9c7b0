from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_gateway.engines.budget import KvBudget


@pytest.mark.parametrize(
    ("kappa", "kv_tokens", "used", "cost", "fits"),
    [
        (1.0, 100, 60, 40, True),
        (1.0, 100, 60, 41, False),
        (1.5, 100, 60, 90, True),
        (1.0, 100, 0, 1000, True),
        (1.0, 0, 60, 1000, True),
        (0.0, 100, 60, 1000, True),
    ],
)
def test_a_request_fits_if_the_predicted_tokens_do(
    kappa: float, kv_tokens: int, used: int, cost: int, fits: bool
) -> None:
    budget = KvBudget(kappa, kv_tokens)
    budget.used = used
    assert budget.fits(cost) is fits


@given(st.lists(st.integers(0, 300), max_size=50), st.integers(1, 500))
def test_more_than_one_request_never_exceeds_the_capacity(costs: list[int], kv_tokens: int) -> None:
    budget, held = KvBudget(1.0, kv_tokens), list[int]()
    for cost in costs:
        if budget.fits(cost):
            budget.used += cost
            held.append(cost)
        assert budget.used <= budget.capacity or len([one for one in held if one]) == 1
    for cost in held:
        budget.used -= cost
    assert budget.used == 0
