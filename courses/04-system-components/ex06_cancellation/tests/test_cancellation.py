"""Aborts in every state of a request, and what they leave behind."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import aclosing
from random import Random
from typing import Any

import pytest
from exercise import Engine

from llm_course.paths import MODELS
from llm_engine import EngineConfig, SamplingParams
from llm_engine.errors import RequestError
from llm_engine.observers.observer import ObservedEngine
from llm_engine.sampling.sampler import Sampled
from llm_engine.scheduler.scheduler import Step
from llm_engine.scheduler.sequence import Sequence
from llm_engine.server.async_engine import AsyncEngine

MODEL = str(MODELS / "zoo" / "llama")
MOST_STEPS = 100
"""More than any of these tests needs. An abort that leaves something behind can keep an engine busy without end."""


class Listener:
    """An observer that notes ends and tokens, and fails for the answers in `fails_for`."""

    def __init__(self, *fails_for: int) -> None:
        self.ends: list[tuple[str, int, str]] = []
        self.tokens: list[str] = []
        self._fails_for = fails_for

    def watch(self, engine: ObservedEngine) -> None: ...
    def queued(self, sequence: Sequence) -> None: ...
    def launched(self, step: Step, now: float) -> None: ...

    def computed(self, step: Step, sampled: list[Sampled], now: float) -> None:
        self.tokens += [item.sequence.request_id for item in sampled]

    def finished(self, sequence: Sequence) -> None:
        assert sequence.finish_reason is not None
        self.ends.append((sequence.request_id, sequence.index, sequence.finish_reason.value))
        if sequence.index in self._fails_for:
            raise ZeroDivisionError("an observer's mistake")


def make(*observers: Listener, **settings: Any) -> Engine:
    chosen: dict[str, Any] = {"num_gpu_blocks_override": 64, "block_size": 4, "max_model_len": 64, **settings}
    return Engine(EngineConfig(MODEL, check_invariants=True, attention_backend="torch", **chosen), observers)


def add(engine: Engine, name: str, prompt: list[int], max_tokens: int = 20, n: int = 1) -> None:
    params = SamplingParams(temperature=0.8, seed=3, n=n, max_tokens=max_tokens, ignore_eos=True)
    engine.add_request(name, prompt, params)


def steps(engine: Engine, count: int) -> list[str]:
    """Return the request of each output."""
    return [output.request_id for _ in range(count) for output in engine.step()]


def rest(engine: Engine) -> dict[str, list[int]]:
    """Run to the end, and return the tokens of each request."""
    found: dict[str, list[int]] = {}
    step_until(engine, lambda: not engine.has_work, found)
    return found


def step_until(engine: Engine, is_reached: Callable[[], object], found: dict[str, list[int]] | None = None) -> None:
    """Step until `is_reached`, and add the tokens of each request to `found`. AssertionError after MOST_STEPS."""
    for _ in range(MOST_STEPS):
        if is_reached():
            return
        for output in engine.step():
            if found is not None:
                found.setdefault(output.request_id, []).extend(output.token_ids)
    raise AssertionError(f"the engine is not done after {MOST_STEPS} steps; still running: {names(engine)}")


def names(engine: Engine) -> list[str]:
    """Return the requests of the scheduler's sequences, one name for each sequence."""
    return [sequence.request_id for sequence in (*engine.scheduler.running, *engine.scheduler.waiting)]


def available(engine: Engine) -> int:
    return engine.kv_cache.pool.num_available


def test_a_waiting_request_leaves_the_queue() -> None:
    """An aborted request that has not started leaves the queue, and the one behind it starts."""
    engine = make(max_num_seqs=1)
    for name in ("a", "b", "c"):
        add(engine, name, [5, 6, 7], max_tokens=3)
    steps(engine, 1)
    engine.abort_request("b")
    assert [sequence.request_id for sequence in engine.scheduler.waiting] == ["c"]
    assert sorted(rest(engine)) == ["a", "c"]


def test_a_running_request_gives_its_blocks_back() -> None:
    """The only request is aborted while it runs: nothing is left to do, and all blocks are available."""
    engine = make()
    add(engine, "a", list(range(5, 20)))
    steps(engine, 5)
    engine.abort_request("a")
    assert not engine.has_work
    assert available(engine) == 64


def test_shared_blocks_stay(record_property: Callable[[str, object], None]) -> None:
    """One of three requests with the same prompt is aborted: only the block that it does not share comes back."""
    engine = make(block_size=16)
    add(engine, "a", list(range(5, 41)))
    steps(engine, 1)
    add(engine, "b", list(range(5, 41)))
    add(engine, "c", list(range(5, 41)))
    steps(engine, 1)
    before = available(engine)
    engine.abort_request("b")
    record_property("prediction", available(engine) - before)
    assert available(engine) - before == 1
    assert sorted(rest(engine)) == ["a", "c"]


def test_a_preempted_request_ends_as_well() -> None:
    """A request that lost its blocks and waits is aborted: the others run to their end, and all blocks come back."""
    engine = make(num_gpu_blocks_override=12, max_model_len=48)
    for name in ("a", "b", "c"):
        add(engine, name, [len(name), ord(name), 9, 8, 7, 6])
    step_until(engine, lambda: engine.num_preemptions)
    (victim,) = engine.scheduler.waiting
    engine.abort_request(victim.request_id)
    assert victim.request_id not in rest(engine)
    assert available(engine) == 12


@pytest.mark.parametrize("count", [0, 1, 4])
def test_all_answers_of_a_request_end(count: int) -> None:
    """A request for three answers is aborted before its prompt is computed, right after, and later: all three end."""
    listener = Listener()
    engine = make(listener)
    add(engine, "a", [5, 6, 7, 8, 9], n=3)
    steps(engine, count)
    engine.abort_request("a")
    assert sorted(listener.ends) == [("a", 0, "abort"), ("a", 1, "abort"), ("a", 2, "abort")]
    assert not engine.has_work
    assert available(engine) == 64


def test_an_answer_ends_once() -> None:
    """One of two answers has ended by its length when the request is aborted: only the other one ends by the abort."""
    listener = Listener()
    engine = make(listener, max_num_seqs=1)
    add(engine, "a", [5, 6, 7], max_tokens=3, n=2)
    step_until(engine, lambda: listener.ends)
    engine.abort_request("a")
    assert listener.ends == [("a", 0, "length"), ("a", 1, "abort")]


def test_unknown_and_finished_requests_are_ignored() -> None:
    """Aborting a request that never was, has finished, or was aborted already does nothing."""
    listener = Listener()
    engine = make(listener)
    add(engine, "done", [5, 6], max_tokens=1)
    rest(engine)
    add(engine, "a", [5, 6, 7])
    for name in ("unknown", "done", "a", "a"):
        engine.abort_request(name)
    assert listener.ends == [("done", 0, "length"), ("a", 0, "abort")]


def test_an_id_can_be_used_again() -> None:
    """A client that retries with the id of its aborted request is served."""
    engine = make()
    add(engine, "a", [5, 6, 7], max_tokens=4)
    steps(engine, 2)
    engine.abort_request("a")
    try:
        add(engine, "a", [5, 6, 7], max_tokens=4)
    except RequestError as error:
        raise AssertionError(f"the id is refused: {error}") from None
    assert len(rest(engine)["a"]) == 4


def test_a_step_in_flight_gives_an_aborted_request_nothing() -> None:
    """A request is aborted while its token is computed: no output, observers see no token, the other one goes on."""
    listener = Listener()
    engine = make(listener, async_scheduling=True)
    alone = make()
    for each in (engine, alone):
        add(each, "b", [9, 8, 7, 6], max_tokens=8)
    add(engine, "a", [5, 6, 7])
    steps(engine, 4)
    engine.abort_request("a")
    seen = listener.tokens.count("a")
    found = rest(engine)
    assert listener.tokens.count("a") == seen
    assert "a" not in found
    assert found["b"] == rest(alone)["b"][-len(found["b"]) :]
    assert available(engine) == 64


def test_an_observer_that_fails_keeps_no_blocks() -> None:
    """The observer fails for the first two of three answers: the third one ends, and all blocks come back."""
    engine = make(Listener(0, 1))
    add(engine, "a", [5, 6, 7, 8, 9], n=3)
    steps(engine, 3)
    engine.abort_request("a")
    assert not engine.has_work
    assert available(engine) == 64


def test_overdue_requests_are_aborted() -> None:
    """With a limit of ten seconds, the requests that are older end, oldest first; the others go on."""
    engine = make(max_num_seqs=2)
    params = SamplingParams(temperature=0, max_tokens=4, ignore_eos=True)
    for name, arrival in (("old", 80.0), ("older than ten", 89.9), ("ten", 90.0), ("new", 99.0)):
        engine.enqueue(name, engine.prepare([5, 6], params), arrival_time=arrival)
    steps(engine, 1)
    try:
        overdue = engine.abort_overdue(10.0, now=100.0)
    except RuntimeError as error:
        raise AssertionError(str(error)) from None
    assert overdue == ["old", "older than ten"]
    assert sorted(rest(engine)) == ["new", "ten"]


async def test_a_client_hangs_up() -> None:
    """The reader of a stream leaves after its first token: its answer ends by the abort, and all blocks come back."""
    listener = Listener()
    runner = AsyncEngine(make(listener, max_model_len=200, num_gpu_blocks_override=128))
    await runner.start()
    params = SamplingParams(temperature=0, max_tokens=180, ignore_eos=True)
    try:
        async with aclosing(runner.generate([runner.engine.prepare([5, 6, 7], params)])) as results:
            async for _ in results:
                break
    finally:
        await runner.stop()  # a command behind the abort in the same queue
    assert runner.died_at is None
    assert [reason for _, _, reason in listener.ends] == ["abort"]
    assert not rest(runner.engine)
    assert available(runner.engine) == 128


@pytest.mark.parametrize("overlap", [False, True])
def test_random_aborts(overlap: bool) -> None:
    """After 100 aborts at random moments all blocks are back, and the requests that survive got their own tokens."""
    random = Random(7)
    engine = make(num_gpu_blocks_override=20, max_num_seqs=4, async_scheduling=overlap)
    quiet = make(num_gpu_blocks_override=64)
    for name in ("x", "y"):
        for each in (engine, quiet):
            add(each, name, [9, 8, 7, 6, ord(name)], max_tokens=30)
    expected, found = rest(quiet), {"x": list[int](), "y": list[int]()}
    for index in range(100):
        add(engine, str(index), [9, 8, 7, 6, *([index % 7] * random.randrange(1, 9))], n=1 + index % 2)
        for _ in range(random.randrange(3)):
            for output in engine.step():
                found.setdefault(output.request_id, []).extend(output.token_ids)
        engine.abort_request(str(index))
        assert str(index) not in names(engine)
    for name, tokens in rest(engine).items():
        found.setdefault(name, []).extend(tokens)
    assert {name: found[name] for name in ("x", "y")} == expected
    assert available(engine) == 20
