from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from llm_proxy.upstream.retry_budget import RetryBudget, RetryBudgetSettings


class World:
    def __init__(self, ratio: float = 0.2, per_second: float = 1.0, reserve: float = 10.0) -> None:
        self.now = 50.0
        settings = RetryBudgetSettings(ratio=ratio, per_second=per_second, reserve=reserve)
        self.budget = RetryBudget(settings, lambda: self.now)

    def retries(self) -> int:
        """Take all retries that are allowed now. Return their number."""
        count = 0
        while self.budget.retry():
            count += 1
        return count


def test_it_starts_full_and_is_used_up() -> None:
    assert World().retries() == 10


def test_requests_and_time_earn_retries_up_to_the_reserve() -> None:
    world = World()
    world.retries()
    for _ in range(15):
        world.budget.request()
    assert world.retries() == 3
    world.now += 4.0
    assert world.retries() == 4
    world.now += 1000.0
    assert world.retries() == 10


@given(st.lists(st.sampled_from(["request", "retry", "retry", "second"]), max_size=300))
def test_retries_never_exceed_what_was_earned(steps: list[str]) -> None:
    world = World()
    requests = retries = seconds = 0
    for step in steps:
        if step == "request":
            world.budget.request()
            requests += 1
        elif step == "second":
            world.now += 1.0
            seconds += 1
        else:
            retries += world.budget.retry()
        assert retries <= 10 + 0.2 * requests + seconds + 1e-9
