"""The number of engines: enough for the load, up at once, down late, no flapping, and zero."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_router.control.scaling.policy import FRESH_SECONDS, START_SECONDS, Load, decide, load_of, needed, policy

LOADS = st.integers(0, 500)


@pytest.mark.parametrize(
    ("load", "engines"),
    [
        (Load(), 0),
        (Load(running=1), 1),
        (Load(running=8), 1),
        (Load(running=8, waiting=1), 2),
        (Load(running=8, queued=9), 3),
        (Load(tickets=1), 1),
        (Load(running=1, kv_usage=0.89), 1),
        (Load(running=4, kv_usage=1.85), 3),
    ],
)
def test_engines_for_a_load(load: Load, engines: int) -> None:
    assert needed(load, target=8) == engines


@given(LOADS, LOADS, LOADS, st.integers(1, 100))
def test_enough_and_not_one_too_many(running: int, waiting: int, queued: int, target: int) -> None:
    count = needed(Load(running=running, waiting=waiting, queued=queued), target)
    requests = running + waiting + queued
    assert count * target >= requests
    assert count == 0 or (count - 1) * target < requests or count == 1


@given(LOADS, LOADS, st.integers(1, 100))
def test_more_load_never_needs_fewer(load: int, more: int, target: int) -> None:
    assert needed(Load(running=load + more), target) >= needed(Load(running=load), target)


@given(st.integers(0, 9), st.lists(st.integers(0, 9)), st.integers(0, 9), st.integers(0, 9), st.booleans())
def test_an_order_is_kept_while_its_engines_start(
    want: int, peaks: list[int], ordered: int, running: int, starting: bool
) -> None:
    order = decide(want, peaks, ordered=ordered, running=running, starting=starting)
    assert order >= want
    if starting and running < ordered:
        assert order >= ordered


@dataclass
class Point:
    timestamp: float
    value: float


def series(*points: tuple[float, float]) -> list[Point]:
    return [Point(*point) for point in points]


def test_only_the_newest_value_of_each_replica_counts() -> None:
    metrics = {"running": {"a": series((10, 1), (11, 3)), "b": series((11, 2))}, "waiting": {"a": series((11, 4))}}
    assert load_of(metrics, 0, now=11) == Load(running=5, waiting=4)


def test_an_old_report_does_not_count() -> None:
    metrics = {"running": {"a": series((10, 1)), "b": series((20, 2))}}
    assert load_of(metrics, 0, now=20).running == 2
    assert load_of(metrics, 0, now=20 + FRESH_SECONDS + 0.1).running == 0


def test_an_edge_whose_queue_two_replicas_heard_of_counts_once_and_edges_add_up() -> None:
    metrics = {
        "queue:edge-1": {"a": series((10, 7)), "b": series((10, 5))},
        "queue:edge-2": {"b": series((10, 2))},
    }
    assert load_of(metrics, 0, now=10).queued == 9


@dataclass
class Deployment:
    """The policy in a loop with Serve's part: engines start after a while, and lower orders wait."""

    low: int = 1
    high: int = 4
    target: float = 8
    downscale_delay: float = 15
    start_time: float = 5
    now: float = 1000
    ordered: int = 1
    ready_at: list[float] = field(default_factory=list)
    state: dict[str, Any] = field(default_factory=dict)
    last_up: float | None = None
    lower_since: float | None = None
    orders: list[tuple[float, int]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.ready_at = [0.0] * self.ordered

    @property
    def running(self) -> int:
        return sum(when <= self.now for when in self.ready_at)

    def tick(self, load: float, tickets: float = 0, dt: float = 0.5) -> None:
        self.now += dt
        share = load / self.running if self.running else 0
        replicas = {str(n): series((self.now, share)) for n in range(self.running)}
        context = SimpleNamespace(
            current_time=self.now,
            config=SimpleNamespace(target_ongoing_requests=self.target, downscale_delay_s=self.downscale_delay),
            raw_metrics={"running": replicas},
            total_queued_requests=tickets,
            policy_state=self.state,
            last_scale_up_time=self.last_up,
            target_num_replicas=self.ordered,
            current_num_replicas=self.running,
            capacity_adjusted_min_replicas=self.low,
            capacity_adjusted_max_replicas=self.high,
        )
        order, self.state = policy(context)  # type: ignore[arg-type]
        if order >= self.ordered:
            self.lower_since = None
        elif self.lower_since is None:
            self.lower_since = self.now
        if order > self.ordered or (
            self.lower_since is not None and self.now - self.lower_since >= self.downscale_delay
        ):
            self._order(order)

    def _order(self, order: int) -> None:
        if order > self.ordered:
            self.last_up = self.now
            self.ready_at += [self.now + self.start_time] * (order - self.ordered)
        else:
            self.ready_at = sorted(self.ready_at)[:order]
        self.ordered, self.lower_since = order, None
        self.orders.append((self.now, order))


def test_the_first_order_comes_with_the_load() -> None:
    deployment = Deployment()
    begin = deployment.now
    deployment.tick(27)
    assert deployment.orders == [(begin + 0.5, 4)]


def test_one_up_and_one_down_for_a_step_of_load() -> None:
    deployment = Deployment()
    for _ in range(120):
        deployment.tick(27)
    for _ in range(200):
        deployment.tick(0)
    assert [order for _, order in deployment.orders] == [4, 1]


@given(st.lists(st.floats(17, 24), min_size=1, max_size=200), st.floats(0, 60))
def test_a_noisy_load_within_one_engines_range_does_not_flap(loads: list[float], start_time: float) -> None:
    deployment = Deployment(start_time=start_time)
    for load in loads:
        deployment.tick(load)
    assert [order for _, order in deployment.orders] == [3]


@given(st.lists(st.floats(0, 40), min_size=1, max_size=300), st.floats(0, 60))
def test_no_order_is_reversed_within_the_downscale_time(loads: list[float], start_time: float) -> None:
    """A lower order follows the last higher one after the peak window and Serve's delay, never sooner."""
    deployment = Deployment(start_time=start_time)
    for load in loads:
        deployment.tick(load)
    for (before, high), (after, low) in zip(deployment.orders, deployment.orders[1:], strict=False):
        assert low > high or after - before >= deployment.downscale_delay


@given(st.lists(st.floats(0, 40), min_size=1, max_size=100))
def test_bounds_hold(loads: list[float]) -> None:
    deployment = Deployment(low=2, high=3, ordered=2)
    for load in loads:
        deployment.tick(load)
    assert all(2 <= order <= 3 for _, order in deployment.orders)


def test_to_zero_and_back_by_a_ticket() -> None:
    deployment = Deployment(low=0)
    for _ in range(100):
        deployment.tick(0)
    assert deployment.ordered == 0
    deployment.tick(0, tickets=1)
    assert deployment.ordered == 1


def test_engines_that_wait_for_a_gpu_do_not_hold_the_order_for_ever() -> None:
    deployment = Deployment(start_time=1e9)
    deployment.tick(27)
    assert deployment.ordered == 4
    for _ in range(int((START_SECONDS + 2 * deployment.downscale_delay) / 0.5) + 2):
        deployment.tick(1)
    assert deployment.ordered == 1
