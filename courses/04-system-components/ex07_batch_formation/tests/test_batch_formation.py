"""The budget, the steps that follow from it, and what users see of them, by a model of a step's time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from random import Random

import pytest
from exercise import COST, LEAST_PROMPT_TOKENS, TARGET_MS, Cost, Scheduler, prompt_budget

from llm_course.exercises import overlay
from llm_course.paths import MODELS
from llm_engine.kv_cache.manager import KVCacheManager
from llm_engine.observers.invariants import InvariantError, check, check_step
from llm_engine.sampling.params import SamplingParams
from llm_engine.scheduler.scheduler import Step
from llm_engine.scheduler.sequence import FinishReason, Sequence

Request = tuple[float, int, int]
"""Arrival in ms, tokens of the prompt, tokens of the answer."""
MOST_TOKENS = 2048


def chat(random: Random) -> list[Request]:
    """Short prompts, steadily."""
    return [(60.0 * index, random.randrange(20, 200), random.randrange(20, 80)) for index in range(60)]


def documents(random: Random) -> list[Request]:
    """Short answers, with a long prompt every now and then."""
    return [(80.0 * index, 3000 if index % 8 == 7 else 60, random.randrange(30, 60)) for index in range(40)]


def burst(random: Random) -> list[Request]:
    """Forty requests at once, after a few."""
    return [(0.0 if index < 4 else 300.0, random.randrange(50, 500), 40) for index in range(44)]


TRACES = {"chat": chat, "documents": documents, "burst": burst}


@dataclass
class Server:
    """A scheduler whose steps take the time that the model says."""

    scheduler: Scheduler = field(default_factory=lambda: Scheduler(KVCacheManager(4000, 16, "off"), 64, MOST_TOKENS))
    now: float = 0.0
    lengths: dict[Sequence, int] = field(default_factory=dict)
    times: dict[Sequence, list[float]] = field(default_factory=dict)
    """Arrival, then the time of each token."""

    def add(self, num_prompt: int, num_output: int, arrival: float = 0.0) -> Sequence:
        sequence = Sequence(str(len(self.times)), [1] * num_prompt, SamplingParams(), arrival=len(self.times))
        self.lengths[sequence], self.times[sequence] = num_prompt + num_output, [arrival]
        self.scheduler.add(sequence)
        return sequence

    def step(self) -> Step:
        step = self.scheduler.schedule()
        self.now += COST.of_step(step.total_tokens)
        self.scheduler.advance(step)
        self.scheduler.commit(step)
        for sequence in step.num_tokens:
            if sequence.num_uncomputed_tokens == 0:
                sequence.token_ids.append(2)
                self.times[sequence].append(self.now)
                if sequence.num_tokens == self.lengths[sequence]:
                    self.scheduler.finish(sequence, FinishReason.LENGTH)
        return step

    def run(self, requests: list[Request]) -> None:
        pending = sorted(requests)
        while pending or self.scheduler.has_work:
            if not self.scheduler.has_work:
                self.now = max(self.now, pending[0][0])
            while pending and pending[0][0] <= self.now:
                arrival, num_prompt, num_output = pending.pop(0)
                self.add(num_prompt, num_output, arrival)
            self.step()

    @property
    def mean_first(self) -> float:
        return sum(times[1] - times[0] for times in self.times.values()) / len(self.times)

    @property
    def p99_between(self) -> float:
        gaps = sorted(after - before for times in self.times.values() for before, after in pairwise(times[1:]))
        return gaps[int(0.99 * len(gaps))]


def served(name: str) -> Server:
    server = Server()
    server.run(TRACES[name](Random(1)))
    return server


def with_the_engines_own(name: str) -> tuple[float, float]:
    """Return the mean time to first token and the P99 between tokens with the scheduler that ships."""
    from llm_engine.scheduler import scheduler as module

    mine = module.Scheduler.schedule

    def plain(self: Scheduler) -> Step:
        step = Step(self.max_num_batched_tokens)
        self._schedule_running(step)
        self._schedule_waiting(step)
        return step

    module.Scheduler.schedule = plain
    try:
        server = served(name)
    finally:
        module.Scheduler.schedule = mine
    return server.mean_first, server.p99_between


def test_the_budget_is_what_the_target_leaves() -> None:
    """With its decodes, a step of that many prompt tokens meets the target, and one token more would miss it."""
    for cost, target, decodes in ((COST, TARGET_MS, 1), (COST, TARGET_MS, 100), (Cost(4.0, 0.25), 40.0, 32)):
        budget = prompt_budget(decodes, cost, target)
        assert budget is not None
        assert cost.of_step(decodes + budget) <= target
        assert cost.of_step(decodes + budget + 1) > target
    assert prompt_budget(0, COST, TARGET_MS) is None


def test_a_slow_batch_still_takes_prompts() -> None:
    """When the decodes alone take longer than the target, prompts go on in small pieces."""
    assert prompt_budget(192, COST, TARGET_MS) == LEAST_PROMPT_TOKENS
    assert prompt_budget(4, Cost(30.0, 1.0), TARGET_MS) == LEAST_PROMPT_TOKENS


def test_a_long_prompt_comes_in_pieces(record_property: Callable[[str, object], None]) -> None:
    """While 32 answers are written, a prompt of 2000 tokens takes as many steps as the target asks for."""
    server = Server()
    for _ in range(32):
        server.add(10, 100)
    server.step()
    sequence = server.add(2000, 10)
    count = 0
    while len(server.times[sequence]) == 1:
        server.step()
        count += 1
    record_property("prediction", count)
    assert count == 13


def test_a_lone_prompt_is_not_cut() -> None:
    """No answer is being written: a prompt of 5000 tokens gets the whole budget in each of its three steps."""
    server = Server()
    sequence = server.add(5000, 2)
    assert [server.step().num_tokens[sequence] for _ in range(3)] == [2048, 2048, 904]


@pytest.mark.parametrize("name", TRACES)
def test_tokens_come_on_time(name: str) -> None:
    """In 99 of 100 cases the next token of an answer comes within the target; our own scheduler misses it."""
    server = served(name)
    assert server.p99_between <= TARGET_MS
    if name != "chat":
        assert with_the_engines_own(name)[1] > TARGET_MS


@pytest.mark.parametrize("name", TRACES)
def test_first_tokens_come_in_time(name: str) -> None:
    """The price is bounded: the mean time to the first token is at most 2.5 times that of our own scheduler."""
    own, _ = with_the_engines_own(name)
    assert served(name).mean_first <= 2.5 * own


def test_the_books_balance() -> None:
    """At every step of a random load the budget adds up, and every block has one state."""
    random, server = Random(5), Server(Scheduler(KVCacheManager(120, 4, "off"), 8, 256))
    for _ in range(300):
        if random.random() < 0.3:
            server.add(random.randrange(1, 300), random.randrange(2, 40))
        if not server.scheduler.has_work:
            continue
        try:
            step = server.scheduler.schedule()
            check_step(step, server.scheduler)
        except InvariantError as error:
            raise AssertionError(str(error)) from None
        server.scheduler.advance(step)
        server.scheduler.commit(step)
        for sequence in step.num_tokens:
            if sequence.num_uncomputed_tokens == 0:
                sequence.token_ids.append(2)
                if sequence.num_tokens >= server.lengths[sequence]:
                    server.scheduler.finish(sequence, FinishReason.LENGTH)
        check(server.scheduler)


def answers() -> dict[str, list[int]]:
    from llm_engine import Engine, EngineConfig

    model = str(MODELS / "zoo" / "llama")
    config = EngineConfig(
        model, num_gpu_blocks_override=128, block_size=4, max_model_len=400, attention_backend="torch",
        check_invariants=True,
    )  # fmt: skip
    engine, found = Engine(config), dict[str, list[int]]()

    def step() -> None:
        for output in engine.step():
            found.setdefault(output.request_id, []).extend(output.token_ids)

    for index, length in enumerate((5, 300, 40)):
        engine.add_request(
            str(index), list(range(5, 5 + length)), SamplingParams(temperature=0, max_tokens=12, ignore_eos=True)
        )
        step()
    while engine.has_work:
        step()
    return found


def test_answers_do_not_change() -> None:
    """Greedy answers are those of the engine's own scheduler, token for token."""
    with overlay.PLAIN.active():
        expected = answers()
    assert answers() == expected
