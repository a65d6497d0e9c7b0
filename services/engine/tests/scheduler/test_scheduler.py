"""Scheduling without a model: a step is "computed" by committing it and appending a made-up token."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_engine.kv_cache.manager import PREFIX_CACHES, KVCacheManager
from llm_engine.observers.invariants import InvariantError, check, check_step
from llm_engine.sampling.params import SamplingParams
from llm_engine.scheduler.policies import ORDERS
from llm_engine.scheduler.scheduler import Scheduler, Step
from llm_engine.scheduler.sequence import FinishReason, Sequence, Status

BLOCK = 4


class World:
    """A scheduler, and the order in which requests arrive."""

    def __init__(
        self,
        blocks: int = 100,
        seqs: int = 8,
        budget: int = 16,
        policy: str = "fcfs",
        cache: str = "hash",
        host: int = 0,
        overlap: bool = False,
    ) -> None:
        kv_cache = KVCacheManager(blocks, BLOCK, cache, num_host_blocks=host)
        self.scheduler = Scheduler(kv_cache, seqs, budget, ORDERS[policy])
        self.arrivals = 0
        self.overlap = overlap
        self.flying: tuple[Step, dict[Sequence, int]] | None = None
        """A step that is launched and not read, with its sequences and the positions of their tokens."""

    def add(self, num_tokens: int, priority: int = 0, first: int | None = None) -> Sequence:
        start = 1000 * self.arrivals if first is None else first
        tokens = [start + index for index in range(num_tokens)]
        item = Sequence(str(self.arrivals), tokens, SamplingParams(), arrival=self.arrivals, priority=priority)
        self.arrivals += 1
        self.scheduler.add(item)
        return item

    def step(self) -> Step:
        step = self.scheduler.schedule()
        check_step(step, self.scheduler)
        self.scheduler.advance(step)
        places = {item: item.num_tokens for item in step.num_tokens if item.num_uncomputed_tokens == 0}
        for item in places:
            item.token_ids.append(-1)
        before, self.flying = self.flying, (step, places)
        if not self.overlap:
            before, self.flying = self.flying, None
        if before is not None:
            self.read(*before)
        check(self.scheduler)
        return step

    def read(self, step: Step, places: dict[Sequence, int]) -> None:
        for item, place in places.items():
            item.token_ids[place] = 7
        self.scheduler.commit(step)


def scheduled(step: Step) -> dict[str, int]:
    return {item.request_id: count for item, count in step.num_tokens.items()}


def test_a_long_prompt_is_cut_into_chunks_of_the_budget() -> None:
    world = World(budget=16)
    world.add(40)
    assert [scheduled(world.step()) for _ in range(4)] == [{"0": 16}, {"0": 16}, {"0": 8}, {"0": 1}]


def test_decodes_come_first_and_a_chunk_takes_what_is_left() -> None:
    world = World(budget=16)
    world.add(3)
    world.step()
    world.add(40)
    world.add(5)
    assert scheduled(world.step()) == {"0": 1, "1": 15}
    assert scheduled(world.step()) == {"0": 1, "1": 15}
    assert scheduled(world.step()) == {"0": 1, "1": 10, "2": 5}
    assert scheduled(world.step()) == {"0": 1, "1": 1, "2": 1}


def test_no_more_sequences_run_than_allowed() -> None:
    world = World(seqs=2)
    for _ in range(3):
        world.add(2)
    assert scheduled(world.step()) == {"0": 2, "1": 2}
    assert len(world.scheduler.waiting) == 1


def test_first_come_first_served_ignores_priority() -> None:
    world = World(seqs=1)
    world.add(2, priority=5)
    world.add(2, priority=0)
    assert scheduled(world.step()) == {"0": 2}


def test_priority_serves_the_lower_number_first_and_ties_by_arrival() -> None:
    world = World(seqs=1, policy="priority")
    late, early, urgent = world.add(2, priority=1), world.add(2, priority=0), world.add(2, priority=0)
    order = []
    for _ in range(3):
        (item,) = world.step().num_tokens
        order.append(item)
        world.scheduler.finish(item, FinishReason.LENGTH)
    assert order == [early, urgent, late]


def test_the_youngest_is_preempted_and_keeps_its_place_in_the_queue() -> None:
    world = World(blocks=4)
    old, young = world.add(8), world.add(7)
    world.step()
    waiting = world.add(3)
    step = world.step()  # old needs a third block, young fills its second: one is preempted
    assert [item.victim for item in step.preempted] == [young]
    assert young.status is Status.WAITING
    assert young.block_table == []
    assert young.num_computed_tokens == 0
    assert world.scheduler.waiting == [young, waiting]
    assert scheduled(step) == {old.request_id: 1}


def test_under_priority_the_least_urgent_is_preempted_though_it_is_older() -> None:
    world = World(blocks=4, policy="priority")
    patient, urgent = world.add(7, priority=9), world.add(8, priority=0)
    world.step()
    step = world.step()
    assert [item.victim for item in step.preempted] == [patient]
    assert scheduled(step) == {urgent.request_id: 1}


def test_a_victim_that_was_already_scheduled_gives_its_tokens_back() -> None:
    world = World(blocks=5, budget=8, policy="priority")
    patient = world.add(4, priority=9)
    world.step()  # patient decodes from now on, in front of any prefill
    urgent = world.add(12, priority=0)
    steps = [world.step() for _ in range(4)]
    assert [item.victim for step in steps for item in step.preempted] == [patient]
    assert urgent.num_preemptions == 0


def test_a_preempted_sequence_takes_its_cached_blocks_up_again() -> None:
    world = World(blocks=4)
    old, young = world.add(8), world.add(7)
    world.step()
    world.step()
    assert young.num_preemptions == 1
    world.scheduler.finish(old, FinishReason.LENGTH)
    step = world.step()
    assert scheduled(step) == {young.request_id: 4}  # 8 tokens, of which the first block survived
    assert young.num_cached_tokens == 0  # that counts the first admission


def test_another_victim_policy_can_be_plugged_in() -> None:
    scheduler = Scheduler(KVCacheManager(4, BLOCK), 8, 16, select_victim=lambda running, order: min(running, key=order))
    world = World()
    world.scheduler = scheduler
    old, young = world.add(8), world.add(7)
    world.step()
    assert [item.victim for item in world.step().preempted] == [old]
    assert young.status is Status.RUNNING


@pytest.mark.parametrize("steps", [0, 1, 2])
def test_an_aborted_sequence_gives_everything_back(steps: int) -> None:
    world = World(blocks=10, budget=8)
    item = world.add(20)
    for _ in range(steps):
        world.step()
    world.scheduler.finish(item, FinishReason.ABORT)
    world.scheduler.finish(item, FinishReason.ABORT)  # twice is once
    check(world.scheduler)
    assert world.scheduler.kv_cache.pool.num_available == 10
    assert not world.scheduler.has_work


def test_a_sequence_that_does_not_fit_yet_is_not_overtaken() -> None:
    world = World(blocks=5)
    world.add(12)
    world.step()
    world.add(12)
    world.add(1)
    assert scheduled(world.step()) == {"0": 1}


def test_the_checks_find_a_leaked_block() -> None:
    world = World()
    item = world.add(8)
    world.step()
    item.block_table.pop()
    with pytest.raises(InvariantError):
        check(world.scheduler)


def test_the_checks_find_a_step_over_budget() -> None:
    world = World(budget=4)
    item = world.add(8)
    step = world.scheduler.schedule()
    step.num_tokens[item] = 5
    with pytest.raises(InvariantError, match="budget"):
        check_step(step, world.scheduler)


@settings(max_examples=1000, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    blocks=st.integers(8, 30),
    seqs=st.integers(1, 6),
    budget=st.integers(6, 40),
    policy=st.sampled_from(sorted(ORDERS)),
    cache=st.sampled_from(sorted(PREFIX_CACHES)),
    host=st.sampled_from([0, 5, 40]),
    overlap=st.booleans(),
)
def test_random_schedules_keep_every_invariant_and_finish_everything(
    seed: int, blocks: int, seqs: int, budget: int, policy: str, cache: str, host: int, overlap: bool
) -> None:
    rng = random.Random(seed)
    world = World(blocks, seqs, budget, policy, cache, host, overlap)
    longest = blocks * BLOCK
    left: dict[Sequence, int] = {}
    to_come = 12
    for _ in range(2000):
        while to_come and rng.random() < 0.4:
            prompt = rng.randint(1, longest - 1)
            output = rng.randint(1, min(20, longest - prompt))
            left[world.add(prompt, rng.randint(-1, 1), first=rng.choice([0, 0, 500]))] = output
            to_come -= 1
        step = world.step()
        for item in [item for item in step.num_tokens if item.num_uncomputed_tokens == 1]:
            left[item] -= item.num_output_tokens > 0
            if left[item] <= 0 or rng.random() < 0.02:
                world.scheduler.finish(item, rng.choice([FinishReason.LENGTH, FinishReason.ABORT]))
        if left and rng.random() < 0.05:
            world.scheduler.finish(rng.choice(list(left)), FinishReason.ABORT)
        check(world.scheduler)
        if not to_come and not world.scheduler.has_work:
            break
    assert not world.scheduler.has_work, "somebody starved"
    assert world.scheduler.kv_cache.pool.num_available == blocks
    assert len(world.scheduler.kv_cache.free_host_blocks) == host
