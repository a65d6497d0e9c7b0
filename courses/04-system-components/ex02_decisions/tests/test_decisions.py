"""Scripted steps of a scheduler without a model; random ones, whose reasons are put to the proof; then the engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from copy import deepcopy
from itertools import count
from random import Random
from types import SimpleNamespace
from typing import Any

import pytest
from exercise import Decision, DecisionLog, Kind, Reason, replay, waits

from llm_course.paths import MODELS
from llm_engine.kv_cache.manager import KVCacheManager
from llm_engine.sampling.params import SamplingParams
from llm_engine.scheduler.scheduler import Scheduler, Step
from llm_engine.scheduler.sequence import FinishReason, Sequence

BLOCK_SIZE = 4
MANY = 10_000


class World:
    """A scheduler without a model: each sequence whose tokens are all computed gets one more."""

    def __init__(self, *, blocks: int = 100, seats: int = 8, budget: int = 64) -> None:
        self.scheduler = Scheduler(KVCacheManager(blocks, BLOCK_SIZE), seats, budget)
        self.log: list[Decision] = []
        self.observer = DecisionLog(self.log.append)
        observed: Any = SimpleNamespace(scheduler=self.scheduler, kv_cache=self.scheduler.kv_cache)
        self.observer.watch(observed)
        self.steps: list[dict[str, int]] = []
        self._numbers = count()

    def add(self, name: str, prompt: int, output: int = 4, *, same: bool = False, **params: Any) -> Sequence:
        """Queue a request; with `same` all prompts have the same tokens."""
        number = next(self._numbers)
        tokens = [place if same else 1000 * (number + 1) + place for place in range(prompt)]
        sequence = Sequence(
            name, tokens, SamplingParams(**params), arrival=number, max_num_tokens=prompt + output
        )  # fmt: skip
        self.scheduler.add(sequence)
        return sequence

    def step(self) -> list[Decision]:
        """Run one step, and return what was logged for it."""
        before = len(self.log)
        step = self.scheduler.schedule()
        self.observer.launched(step, 0.0)
        self.steps.append({f"{sequence.request_id}/0": tokens for sequence, tokens in step.num_tokens.items()})
        self._compute(step)
        return self.log[before:]

    def run(self, steps: int = MANY) -> None:
        while self.scheduler.has_work and len(self.steps) < steps:
            self.step()

    def _compute(self, step: Step) -> None:
        self.scheduler.advance(step)
        for sequence in step.num_tokens:
            if sequence.num_uncomputed_tokens == 0:
                sequence.token_ids.append(7)
        self.scheduler.commit(step)
        for sequence in step.num_tokens:
            if sequence.is_full:
                self.scheduler.finish(sequence, FinishReason.LENGTH)
                self.observer.finished(sequence)


def of(name: str, decisions: list[Decision]) -> Decision:
    """Return the one decision about this request."""
    found = [decision for decision in decisions if decision.name == f"{name}/0"]
    assert len(found) == 1, f"{len(found)} decisions about {name} in one step"
    return found[0]


def why(name: str, decisions: list[Decision]) -> tuple[Kind, Reason | None]:
    decision = of(name, decisions)
    return decision.kind, decision.reason


# Who gets tokens


def test_a_whole_prompt() -> None:
    """A prompt that fits is admitted whole, and there is no reason to give."""
    world = World()
    world.add("a", 10)
    assert world.step() == [Decision(0, "a/0", Kind.ADMITTED, None, num_tokens=10)]
    assert world.step() == [Decision(1, "a/0", Kind.COMPUTED, None, num_tokens=1)]


def test_a_cached_prefix() -> None:
    """The second of two equal prompts of 10 tokens finds two blocks: 8 tokens are cached and 2 are computed."""
    world = World()
    world.add("a", 10, same=True)
    world.step()
    world.add("b", 10, same=True)
    decision = of("b", world.step())
    assert (decision.num_cached, decision.num_tokens, decision.num_left) == (8, 2, 0)


def test_a_chunk_says_what_is_left() -> None:
    """A budget of 6: of a prompt of 10 tokens 4 are left, because of the budget."""
    world = World(budget=6)
    world.add("a", 10)
    assert world.step() == [Decision(0, "a/0", Kind.ADMITTED, Reason.BUDGET, num_tokens=6, num_left=4)]


def test_a_chunk_for_logprobs() -> None:
    """With prompt log-probabilities a prompt of 200 tokens gets 128 in a step, though the budget has more."""
    world = World(budget=1000)
    world.add("a", 200, prompt_logprobs=1)
    assert world.step() == [Decision(0, "a/0", Kind.ADMITTED, Reason.LOGPROBS, num_tokens=128, num_left=72)]


# Who gets none


def test_running_and_skipped() -> None:
    """Three sequences decode and the budget becomes two: the third is skipped. So is one that is ending."""
    world = World(budget=3)
    first = world.add("a", 1)
    world.add("b", 1)
    world.add("c", 1)
    world.step()
    world.scheduler.max_num_batched_tokens = 2
    assert why("c", world.step()) == (Kind.SKIPPED, Reason.BUDGET)
    first.max_num_tokens = first.num_tokens
    assert why("a", world.step()) == (Kind.SKIPPED, Reason.ENDING)


@pytest.mark.parametrize(
    ("limits", "reason"),
    [({"budget": 10}, Reason.BUDGET), ({"seats": 1}, Reason.SEATS), ({"blocks": 5}, Reason.MEMORY)],
)
def test_held_at_the_head(limits: dict[str, int], reason: Reason) -> None:
    """The request at the head of the queue is held by the one limit that is tight; the next one by the queue."""
    world = World(**limits)
    world.add("a", 10)
    world.add("b", 12)
    world.add("c", 2)
    decisions = world.step()
    assert why("b", decisions) == (Kind.HELD, reason)
    assert why("c", decisions) == (Kind.HELD, Reason.QUEUE)
    assert of("c", decisions).because_of == "b/0"


def test_the_limit_that_is_met_first() -> None:
    """Budget, seats and memory are all used up: the scheduler looks at the budget first, so that is the reason."""
    world = World(budget=10, seats=1, blocks=5)
    world.add("a", 10)
    world.add("b", 12)
    assert why("b", world.step()) == (Kind.HELD, Reason.BUDGET)
    assert why("b", world.step()) == (Kind.HELD, Reason.SEATS)


def pressed() -> World:
    """Two sequences fill four blocks, and both need a fifth; a third one waits."""
    world = World(blocks=4, budget=100)
    world.add("a", 8)
    world.add("b", 8)
    world.step()
    world.add("c", 1)
    return world


def test_a_preemption_names_who_needed_it() -> None:
    """`a` needs a block and `b` loses all of its own: 8 computed tokens are lost, for `a`."""
    expected = Decision(1, "b/0", Kind.PREEMPTED, None, num_lost=8, because_of="a/0")
    assert of("b", pressed().step()) == expected


def test_none_is_admitted_under_pressure() -> None:
    """After a preemption there would be room for `c`, but in such a step none is admitted."""
    assert why("c", pressed().step()) == (Kind.HELD, Reason.PRESSURE)


# The log


def test_waiting_is_logged_once() -> None:
    """A request that waits 19 steps for a seat is in the log twice: when it begins to wait and when it is admitted."""
    world = World(seats=1)
    world.add("a", 1, 19)
    world.add("b", 1, 1)
    world.run()
    about = [(each.step, each.kind) for each in world.log if each.name == "b/0"]
    assert about == [(0, Kind.HELD), (19, Kind.ADMITTED)]


def test_another_reason_is_logged() -> None:
    """A request that waits for the budget and then for a seat is logged for each, and counted for each."""
    world = World(budget=4, seats=1)
    world.add("a", 10, 3)
    world.add("b", 2, 2)
    world.run()
    about = [(each.step, each.reason) for each in world.log if each.name == "b/0" and each.kind is Kind.HELD]
    assert about == [(0, Reason.BUDGET), (2, Reason.SEATS)]
    assert waits(world.log, world.observer.num_steps)["b/0"] == {Reason.BUDGET: 2, Reason.SEATS: 3}


def test_nothing_is_kept_of_the_finished() -> None:
    """A thousand requests later, one of them aborted while it waited, the observer's memory is as empty as before."""
    world = World(seats=1)

    def kept() -> int:
        return sum(len(each) for each in vars(world.observer).values() if isinstance(each, dict | list | set))

    before = kept()
    for number in range(1000):
        world.add(f"r{number}", 1, 1)
        gone = world.add(f"aborted {number}", 1, 1)
        world.step()
        world.scheduler.finish(gone, FinishReason.ABORT)
        world.observer.finished(gone)
    assert len(world.log) == 2000
    assert kept() == before


def test_a_log_of_memory_pressure(record_property: Callable[[str, object], None]) -> None:
    """Eight requests in memory for six: the log has every preemption, and all that was lost."""
    world = World(blocks=24, budget=1000)
    sequences = [world.add(str(number), 16, 16) for number in range(8)]
    world.run()
    preempted = [decision for decision in world.log if decision.kind is Kind.PREEMPTED]
    record_property("prediction", len(preempted))
    assert len(preempted) == sum(sequence.num_preemptions for sequence in sequences)
    assert all(decision.num_lost > 0 and decision.because_of for decision in preempted)


def random_worlds() -> Iterator[tuple[World, Scheduler, list[Decision]]]:
    """Yield after each of 300 steps the world, its scheduler as it was before, and what was logged."""
    for seed in range(6):
        random = Random(seed)
        world = World(blocks=random.choice((14, 20, 60)), seats=random.choice((2, 4, 6)), budget=random.choice((8, 16)))
        for number in range(50):
            if random.random() < 0.4:
                world.add(f"r{number}", random.randrange(1, 30), random.randrange(1, 12))
            before = deepcopy(world.scheduler)
            yield world, before, world.step()


def test_the_log_replays() -> None:
    """300 random steps under all limits: the log has the same tokens for the same sequences as the steps."""
    worlds = {id(world): world for world, _, _ in random_worlds()}
    for world in worlds.values():
        assert replay(world.log, len(world.steps)) == world.steps


LIMITS = [Reason.PRESSURE, Reason.BUDGET, Reason.SEATS, Reason.MEMORY]
"""In the order in which the scheduler meets them."""


def is_held_without(limits: list[Reason], scheduler: Scheduler, name: str) -> bool:
    """Return whether the request stays in the queue if these limits are lifted and the step is planned again."""
    scheduler = deepcopy(scheduler)
    pool = scheduler.kv_cache.pool
    if Reason.BUDGET in limits:
        scheduler.max_num_batched_tokens = MANY
    if Reason.SEATS in limits:
        scheduler.max_num_seqs = MANY
    if Reason.MEMORY in limits:
        pool.free += range(pool.num_blocks, pool.num_blocks + MANY)
        pool.ref_counts += [0] * MANY
        pool.num_blocks += MANY
    scheduler.schedule()
    return any(f"{sequence.request_id}/0" == name for sequence in scheduler.waiting)


def test_every_reason_is_put_to_the_proof() -> None:
    """Lift all limits but the one that the log names: the request is still held. Lift that and all after it: not so."""
    proved = set()
    for _, before, decisions in random_worlds():
        for decision in decisions:
            if decision.kind is Kind.HELD and decision.reason in LIMITS:
                reason = Reason.MEMORY if decision.reason is Reason.PRESSURE else decision.reason
                others = [each for each in LIMITS if each is not reason]
                assert is_held_without(others, before, decision.name), f"{decision}: other limits hold it as well"
                from_it_on = LIMITS if reason is not decision.reason else LIMITS[LIMITS.index(reason) :]
                assert not is_held_without(from_it_on, before, decision.name), f"{decision}: another limit holds it"
                proved.add(decision.reason)
    assert proved == set(LIMITS)


# The engine


@pytest.mark.parametrize("overlap", [False, True])
def test_the_engine_does_not_notice(overlap: bool) -> None:
    """With the log the engine gives the same tokens in the same steps, with overlapped steps as well."""
    from llm_engine import Engine, EngineConfig

    def tokens(observers: list[DecisionLog]) -> tuple[dict[str, list[int]], int]:
        config = EngineConfig(
            str(MODELS / "zoo" / "llama"), max_num_seqs=3, max_num_batched_tokens=8, num_gpu_blocks_override=16,
            block_size=4, max_model_len=48, attention_backend="torch", async_scheduling=overlap, check_invariants=True,
        )  # fmt: skip
        engine = Engine(config, observers)
        for number in range(6):
            params = SamplingParams(max_tokens=14, ignore_eos=True)
            engine.add_request(str(number), [3 + number, *range(5, 15)], params)
        found: dict[str, list[int]] = {}
        steps = 0
        while engine.has_work:
            steps += 1
            for output in engine.step():
                found.setdefault(output.request_id, []).extend(output.token_ids)
        return found, steps

    log: list[Decision] = []
    observer = DecisionLog(log.append)
    assert tokens([observer]) == tokens([])
    computed = sum(sum(step.values()) for step in replay(log, observer.num_steps))
    lost = sum(decision.num_lost for decision in log)
    cached = sum(decision.num_cached for decision in log)
    assert lost > 0
    assert computed + cached - lost == 6 * (11 + 14 - 1)
    assert {Kind.ADMITTED, Kind.COMPUTED, Kind.PREEMPTED, Kind.HELD} <= {decision.kind for decision in log}
