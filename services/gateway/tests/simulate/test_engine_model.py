"""The engine model against cases worked out by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_gateway.simulate.engine_model import EngineModel, Sequence, SimulatedEngine
from llm_gateway.simulate.load import TraceRequest

MODEL = EngineModel(itl_base=1.0, itl_slope=0.5, prefill=0.1, kv_tokens=1000, max_running=4)
"""A step takes 1.5 s for one sequence, 2 s for two."""


def sequence(prompt: int, output: int) -> Sequence:
    return Sequence(TraceRequest(0.0, "standard", "", prompt, output))


def run_to_the_end(engine: SimulatedEngine) -> None:
    while engine.next_event < math.inf:
        engine.run()


def test_one_request_is_prefilled_and_then_takes_a_step_for_each_further_token() -> None:
    engine, one = SimulatedEngine(MODEL), sequence(20, 5)
    engine.submit(one, 10.0)
    run_to_the_end(engine)
    assert (one.first_token, one.finished) == pytest.approx((12.0, 12.0 + 4 * 1.5))


def test_a_request_for_one_token_ends_with_its_prefill() -> None:
    engine, one = SimulatedEngine(MODEL), sequence(20, 1)
    engine.submit(one, 0.0)
    run_to_the_end(engine)
    assert one.first_token == one.finished == pytest.approx(2.0)


def test_a_prefill_halts_the_batch_and_then_slows_it() -> None:
    """Sequence a decodes 2 steps until 4, waits for b's prefill until 5, and shares 2 s steps with b until both end."""
    engine, a, b = SimulatedEngine(MODEL), sequence(10, 5), sequence(10, 3)
    engine.submit(a, 0.0)
    assert engine.run() == []
    engine.submit(b, 4.0)
    run_to_the_end(engine)
    assert (a.first_token, b.first_token) == pytest.approx((1.0, 5.0))
    assert (a.finished, b.finished) == pytest.approx((9.0, 9.0))


def test_more_than_the_batch_holds_wait_in_the_engine_in_order() -> None:
    engine = SimulatedEngine(EngineModel(1.0, 0.0, 0.1, 1000, max_running=1))
    a, b = sequence(10, 2), sequence(10, 2)
    engine.submit(a, 0.0)
    engine.submit(b, 0.0)
    run_to_the_end(engine)
    assert (a.finished, b.first_token, b.finished) == pytest.approx((2.0, 3.0, 4.0))


def test_a_prompt_that_does_not_fit_waits_for_room() -> None:
    engine = SimulatedEngine(EngineModel(1.0, 0.0, 0.1, 100, max_running=4))
    a, b = sequence(60, 11), sequence(40, 2)
    engine.submit(a, 0.0)
    engine.submit(b, 0.0)
    run_to_the_end(engine)
    assert a.finished == pytest.approx(16.0)
    assert b.first_token == pytest.approx(20.0)
    assert a.preemptions == b.preemptions == 0


def test_when_the_cache_is_full_the_last_one_admitted_is_computed_again() -> None:
    """At 18 s a and b hold 51 + 41 tokens. 8 more fit, 4 each, at 2 s per step. Then b is recomputed after a."""
    model = EngineModel(itl_base=2.0, itl_slope=0.0, prefill=0.2, kv_tokens=100, max_running=4)
    engine, a, b = SimulatedEngine(model), sequence(50, 11), sequence(40, 11)
    engine.submit(a, 0.0)
    engine.submit(b, 0.0)
    run_to_the_end(engine)
    assert (a.first_token, b.first_token) == pytest.approx((10.0, 18.0))
    assert (a.preemptions, b.preemptions) == (0, 1)
    assert a.finished == pytest.approx(18.0 + 10 * 2.0)
    again = 38.0 + 0.2 * (40 + 5)
    assert b.finished == pytest.approx(again + 5 * 2.0), "5 tokens before, 1 with the prefill, 5 more"


def test_one_sequence_larger_than_the_cache_runs_alone() -> None:
    engine, one = SimulatedEngine(EngineModel(1.0, 0.0, 0.1, kv_tokens=10, max_running=4)), sequence(50, 3)
    engine.submit(one, 0.0)
    run_to_the_end(engine)
    assert one.finished == pytest.approx(7.0)


REQUESTS = st.lists(st.tuples(st.floats(0, 50), st.integers(1, 300), st.integers(1, 60)), max_size=40)


@settings(deadline=None)
@given(requests=REQUESTS, kv_tokens=st.integers(50, 600), max_running=st.integers(1, 8))
def test_whatever_comes_every_sequence_ends_and_the_cache_is_empty(
    requests: list[tuple[float, int, int]], kv_tokens: int, max_running: int
) -> None:
    model = EngineModel(0.5, 0.1, 0.01, kv_tokens, max_running)
    engine = SimulatedEngine(model)
    everyone: list[Sequence] = []
    done: list[Sequence] = []
    for at, prompt, output in sorted(requests):
        while engine.next_event <= at:
            done += engine.run()
        everyone.append(sequence(prompt, output))
        engine.submit(everyone[-1], at)
    before = 0.0
    while engine.next_event < math.inf:
        assert engine.next_event >= before, "time does not run backwards"
        before = engine.next_event
        done += engine.run()
        assert engine.kv_used() <= max(kv_tokens, 400) + 1e-6
    assert sorted(map(id, done)) == sorted(map(id, everyone))
    assert engine.kv_used() == 0.0
    for one in everyone:
        assert one.finished - one.first_token >= (one.request.output_tokens - 1) * model.itl(1) * (1 - 1e-9) - 1e-6
