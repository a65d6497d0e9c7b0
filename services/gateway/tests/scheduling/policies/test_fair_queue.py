from __future__ import annotations

from collections import Counter
from itertools import count

from hypothesis import given, settings
from hypothesis import strategies as st

from llm_gateway.classes import DEFAULT_CLASSES
from llm_gateway.scheduling.policies.fair_queue import MAX_TENANTS, FairQueue, TokenCounters
from llm_gateway.waiting import Waiting

STANDARD = DEFAULT_CLASSES[1]


class World:
    """One fair queue; a request costs its prompt tokens when it is served."""

    def __init__(self) -> None:
        self.counters = TokenCounters()
        self.queue = FairQueue(self.counters)
        self._order = count()

    def push(self, tenant: str, tokens: int = 1, weight: float = 1.0) -> Waiting:
        request = Waiting(STANDARD, 0.0, tenant=tenant, weight=weight, prompt_tokens=tokens)
        request.order, request.queued = next(self._order), True
        self.queue.push(request.order, request)
        return request

    def serve(self) -> str:
        turn = self.queue.turn()
        assert turn is not None
        request = turn[1]
        self.counters.charge(request.tenant, request.prompt_tokens, request.weight)
        self.remove(request)
        return request.tenant

    def remove(self, request: Waiting) -> None:
        request.queued = False
        self.queue.removed(request)


def test_a_tenant_that_comes_back_is_lifted_to_the_smallest_counter_of_those_that_wait() -> None:
    world = World()
    for _ in range(10):
        world.push("a", 100)
    for _ in range(5):
        world.serve()
    assert world.counters.of("a") == 500
    world.push("b", 100)
    assert world.counters.of("b") == 500
    for _ in range(4):
        world.push("b", 100)
    assert "".join(world.serve() for _ in range(10)).count("a") == 5


def test_if_nobody_waits_it_is_lifted_to_the_counter_of_the_last_one_that_did() -> None:
    world = World()
    world.push("a", 300)
    world.serve()
    world.push("b")
    assert world.counters.of("b") == 300


def test_a_tenant_that_had_more_than_the_rest_keeps_its_counter() -> None:
    world = World()
    world.push("a", 300)
    world.serve()
    world.counters.charge("b", 900, 1.0)
    world.push("a")
    world.push("b")
    assert (world.counters.of("a"), world.counters.of("b")) == (300, 900)


def test_output_charged_later_costs_turns() -> None:
    world = World()
    for tenant in "abab":
        world.push(tenant, 1)
    assert world.serve() == "a"
    world.counters.charge("a", 10, 1.0)
    assert [world.serve() for _ in range(3)] == ["b", "b", "a"]


def test_queues_that_share_accounts_share_the_floor() -> None:
    world = World()
    other = FairQueue(world.counters)
    world.counters.charge("a", 70, 1.0)
    world.push("a")
    late = Waiting(STANDARD, 0.0, tenant="b", queued=True, order=99)
    other.push(0.0, late)
    assert world.counters.of("b") == 70


def test_accounts_of_tenants_that_come_once_are_forgotten() -> None:
    world = World()
    world.push("stays", 1)
    for index in range(5 * MAX_TENANTS):
        world.push(f"t{index}", 5)
        while (turn := world.queue.turn()) is not None and turn[1].tenant != "stays":
            world.serve()
        if turn is not None:
            world.serve()
            world.push("stays", 1)
    assert len(world.counters._counters) <= 2 * MAX_TENANTS + 2


@settings(deadline=None)
@given(
    weights=st.lists(st.sampled_from([0.5, 1.0, 2.0, 4.0]), min_size=2, max_size=5),
    sizes=st.lists(st.integers(1, 500), min_size=20, max_size=20),
    served=st.integers(50, 200),
)
def test_two_tenants_that_always_wait_differ_by_at_most_one_request(
    weights: list[float], sizes: list[int], served: int
) -> None:
    world = World()
    tokens: Counter[str] = Counter()
    size = iter(sizes * 100)
    pending = {str(index): [next(size) for _ in range(2)] for index in range(len(weights))}
    for tenant, ahead in pending.items():
        for one in ahead:
            world.push(tenant, one, weights[int(tenant)])
    for _ in range(served):
        tenant = world.serve()
        tokens[tenant] += pending[tenant].pop(0)
        pending[tenant].append(next(size))
        world.push(tenant, pending[tenant][-1], weights[int(tenant)])
    shares = [tokens[str(index)] / weight for index, weight in enumerate(weights)]
    assert max(shares) - min(shares) <= max(sizes) / min(weights) + 1e-6
