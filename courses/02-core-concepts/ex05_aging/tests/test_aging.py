"""The aging key, the bound that it promises, and the engine that serves in its order."""

from __future__ import annotations

import time
from collections.abc import Callable
from random import Random

import pytest
from exercise import aging, most_overtaking, overtaken, step_for

from llm_course.paths import MODELS
from llm_engine.sampling.params import SamplingParams
from llm_engine.scheduler.sequence import Sequence


def arrivals(*priorities: int) -> list[Sequence]:
    """Return sequences that arrive one after another with these priorities."""
    return [
        Sequence(f"r{arrival}", [1], SamplingParams(), arrival=arrival, priority=priority)
        for arrival, priority in enumerate(priorities)
    ]


def served(sequences: list[Sequence], step: int) -> list[int]:
    return [sequence.arrival for sequence in sorted(sequences, key=aging(step))]


def test_within_a_class_the_first_comes_first() -> None:
    """Requests of one class are served in order of arrival, whatever the step."""
    for step in (1, 5, 100):
        assert served(arrivals(1, 1, 1, 1), step) == [0, 1, 2, 3]


def test_an_urgent_request_overtakes() -> None:
    """A request of class 0 goes before one of class 2 that came a little earlier."""
    assert served(arrivals(2, 2, 0), step=4) == [2, 0, 1]


def test_an_old_request_is_not_overtaken() -> None:
    """With a step of two, a request of class 1 goes before one of class 0 that came three arrivals later."""
    assert served(arrivals(1, 1, 1, 0), step=2) == [0, 1, 3, 2]


def test_a_tie_goes_to_the_older() -> None:
    """Equal rank: whoever came first goes first."""
    late, early = arrivals(1, 0, 0, 0)[3], arrivals(1)[0]
    order = aging(3)
    assert order(early) < order(late)


def test_the_key_never_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sequence's key is the same after a minute of waiting, after a preemption, and whatever else has arrived."""
    order = aging(4)
    sequence, *_ = arrivals(2)
    first, now = order(sequence), time.monotonic()
    for clock in ("monotonic", "time", "perf_counter"):
        monkeypatch.setattr(time, clock, lambda: now + 60)
    sequence.num_preemptions, sequence.num_computed_tokens = 3, 1
    for other in arrivals(0, 1, 2):
        order(other)
    assert order(sequence) == first


def test_the_bound_is_the_one_that_happens(record_property: Callable[[str, object], None]) -> None:
    """Behind a request of class 2 comes nothing but class 0, with a step of 8: as many overtake as the bound says."""
    happened = overtaken(arrivals(2, *[0] * 60), aging(8))[0]
    record_property("prediction", happened)
    assert most_overtaking(8, 2, 0) == happened
    assert happened == 15


@pytest.mark.parametrize("step", [1, 3, 10])
def test_no_request_waits_beyond_the_bound(step: int) -> None:
    """In 500 random arrivals of four classes no request is overtaken more often than its bound."""
    random = Random(step)
    sequences = arrivals(*(random.choices((-1, 0, 2, 3), weights=(5, 3, 1, 1))[0] for _ in range(500)))
    counts = overtaken(sequences, aging(step))
    excess = [
        count - most_overtaking(step, sequence.priority, -1) for count, sequence in zip(counts, sequences, strict=True)
    ]
    assert max(excess) <= 0
    assert max(counts) > 0 or step == 1


def test_the_step_follows_from_the_bound() -> None:
    """`step_for` returns the largest step that keeps the promise, and refuses a promise that no step keeps."""
    assert [step_for(most, (0, 1, 3)) for most in (2, 5, 30)] == [1, 2, 10]
    assert step_for(0, (4, 4)) == 1
    assert most_overtaking(step_for(29, (0, 3)), 3, 0) <= 29 < most_overtaking(step_for(29, (0, 3)) + 1, 3, 0)
    with pytest.raises(ValueError, match=r"step|class"):
        step_for(1, (0, 3))


def test_the_engine_serves_by_it() -> None:
    """With room for one sequence, the engine's first tokens come in the order of the keys."""
    from llm_engine import Engine, EngineConfig
    from llm_engine.scheduler.policies import Policies

    config = EngineConfig(
        str(MODELS / "zoo" / "llama"), max_num_seqs=1, num_gpu_blocks_override=64, max_model_len=64,
        attention_backend="torch", check_invariants=True,
    )  # fmt: skip
    engine = Engine(config, policies=Policies(order=aging(2)))
    for arrival, priority in enumerate((1, 1, 1, 0, 0, 2, 0)):
        engine.add_request(str(arrival), [5 + arrival], SamplingParams(max_tokens=2, ignore_eos=True), priority)
    first: list[int] = []
    while engine.has_work:
        first += [int(output.request_id) for output in engine.step()]
    assert list(dict.fromkeys(first)) == [0, 1, 3, 2, 4, 6, 5]
