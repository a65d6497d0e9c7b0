"""The whole simulation: conservation, determinism, closed forms, and the promises of the default policy."""

from __future__ import annotations

import functools
import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_gateway.classes import DEFAULT_CLASSES
from llm_gateway.scheduling.policies import POLICY_NAMES, PolicyName
from llm_gateway.settings import GatewaySettings
from llm_gateway.simulate.engine_model import EngineModel
from llm_gateway.simulate.events import Replay, replay
from llm_gateway.simulate.load import Mix, TraceRequest
from llm_gateway.simulate.summary import ClassRow, summarise
from llm_gateway.simulate.synthetic import mean_lengths, poisson

MODEL = EngineModel()
CAPACITY = MODEL.capacity(*mean_lengths(), MODEL.max_running)
MIXED = {"interactive": 0.5, "standard": 0.3, "batch": 0.2}


def gateway(model: EngineModel = MODEL, engines: int = 1, slots: int | None = None, **more: Any) -> GatewaySettings:
    engine = {"max_in_flight": slots or model.max_running, "kv_tokens": model.kv_tokens}
    return GatewaySettings(engines=[{"url": f"http://e{index}", **engine} for index in range(engines)], **more)


def rows(result: Replay, weights: dict[str, float] | None = None) -> dict[str, ClassRow]:
    return {row.name: row for row in summarise(result, DEFAULT_CLASSES, weights or {})}


TRACES = st.lists(
    st.builds(
        TraceRequest,
        st.floats(0, 100),
        st.sampled_from(["interactive", "standard", "batch"]),
        st.sampled_from(["", "a", "b"]),
        st.integers(1, 4000),
        st.integers(1, 500),
        st.one_of(st.none(), st.integers(1, 1000)),
    ),
    min_size=1,
    max_size=60,
)


@pytest.mark.parametrize("policy", POLICY_NAMES)
@settings(deadline=None, max_examples=25)
@given(trace=TRACES, slots=st.integers(1, 6), max_queue=st.integers(0, 40))
def test_every_request_is_served_once_or_turned_away(
    policy: PolicyName, trace: list[TraceRequest], slots: int, max_queue: int
) -> None:
    trace.sort(key=lambda request: request.at)
    model = EngineModel(kv_tokens=9000, max_running=4)
    result = replay(trace, policy, gateway(model, 2, slots, max_queue=max_queue), model)
    assert [one.request for one in result.sequences] == trace
    for one in result.sequences:
        if math.isnan(one.granted):
            assert math.isnan(one.first_token)
            assert math.isnan(one.finished)
        else:
            assert one.request.at <= one.granted < one.first_token <= one.finished <= result.ended
    assert sum(result.violations.values()) == 0


@pytest.mark.parametrize("policy", POLICY_NAMES)
def test_the_same_seed_gives_the_same_run(policy: PolicyName) -> None:
    trace = poisson(1.5 * CAPACITY, 120, Mix(MIXED, {"a": 1.0, "b": 1.0}), 5)
    settings_ = gateway(engines=2, max_queue=60)
    first, again = (replay(trace, policy, settings_, MODEL, seed=9) for _ in range(2))
    assert rows(first) == rows(again)


# --- closed forms ---


def test_three_requests_by_hand() -> None:
    """One slot; prefill 1 s, then 2 steps of 1 s. FCFS serves a, b, c; under priority c passes b."""
    model = EngineModel(itl_base=1.0, itl_slope=0.0, prefill=0.1, max_running=1)
    trace = [TraceRequest(float(at), name, "", 10, 3) for at, name in enumerate(["batch", "batch", "interactive"])]
    for policy, expected in (("fcfs", [1.0, 4.0, 7.0]), ("composite", [1.0, 7.0, 4.0])):
        result = replay(trace, policy, gateway(model), model)  # type: ignore[arg-type]
        assert [one.first_token for one in result.sequences] == pytest.approx(expected)
        assert result.ended == pytest.approx(9.0)


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
def test_one_slot_and_equal_requests_are_an_m_d_1_queue(load: float) -> None:
    """Lindley (1952): the next request's wait is this one's plus the service time less the time between them, or 0."""
    model = EngineModel(itl_base=0.1, itl_slope=0.0, prefill=0.01, max_running=1)
    service = 10 * 0.01 + 9 * 0.1
    between = np.random.default_rng(11).exponential(service / load, 4_000)
    trace = [TraceRequest(at, "standard", "", 10, 10) for at in np.cumsum(between).tolist()]
    classes = [cls.model_copy(update={"max_queue": 10_000}) for cls in DEFAULT_CLASSES]
    result = replay(trace, "fcfs", gateway(model, classes=classes, max_queue=10_000), model)
    waits = [one.granted - one.request.at for one in result.sequences]
    expected = itertools.accumulate(between[1:], lambda wait, gap: max(0.0, wait + service - gap), initial=0.0)
    assert waits == pytest.approx(list(expected), abs=1e-6)
    assert max(waits) > service


def test_a_saturated_engine_serves_its_capacity() -> None:
    model = EngineModel(kv_tokens=10**7)
    trace = [TraceRequest(0.0, "standard", "", 500, 100)] * 3000
    classes = [cls.model_copy(update={"max_queue": 3000}) for cls in DEFAULT_CLASSES]
    result = replay(
        trace, "fcfs", gateway(model, classes=classes, max_queue=3000, shedding={"start": 2, "full": 3}), model
    )
    assert 3000 / result.ended == pytest.approx(model.capacity(500, 100, model.max_running), rel=0.03)


# --- what the default policy is for ---


@functools.cache
def mixed_load(
    policy: PolicyName, load: float, seed: int, seconds: float = 120, aging_rate: float = 0.05
) -> dict[str, ClassRow]:
    trace = poisson(load * CAPACITY, seconds, Mix(MIXED, {"": 1.0}), seed)
    return rows(replay(trace, policy, gateway(aging_rate=aging_rate), MODEL, seed=seed))


SEEDS = range(5)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("seconds", "aging_rate"), [(60, 0.05), (120, 0.02), (300, 0.01), (600, 0.005)])
def test_at_an_overload_of_a_fifth_interactive_p99_ttft_falls_by_more_than_70_percent(
    seconds: float, aging_rate: float, seed: int
) -> None:
    """The longer the overload, the longer the head start 2 / aging_rate has to be: see the next test."""
    fcfs, composite = (mixed_load(name, 1.2, seed, seconds, aging_rate) for name in ("fcfs", "composite"))
    before, after = fcfs["interactive"].ttft_p99, composite["interactive"].ttft_p99
    assert before is not None
    assert after is not None
    assert after <= 0.3 * before
    assert composite["interactive"].attainment > fcfs["interactive"].attainment
    assert composite["all"].output_tokens == pytest.approx(fcfs["all"].output_tokens, rel=0.05)


@pytest.mark.parametrize("seed", SEEDS)
def test_in_overload_that_lasts_a_class_keeps_its_head_start_and_no_more(seed: int) -> None:
    composite = mixed_load("composite", 1.2, seed, 600)
    waits = [composite[name].longest_wait or 0.0 for name in ("interactive", "standard", "batch")]
    assert waits[0] > 40, "the queue is long enough for every class to have aged"
    assert np.diff(waits) == pytest.approx([20, 20], abs=5)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("load", [0.7, 0.9, 1.0, 1.2])
def test_at_every_load_the_work_done_is_that_of_fcfs(load: float, seed: int) -> None:
    fcfs, composite = mixed_load("fcfs", load, seed), mixed_load("composite", load, seed)
    assert composite["all"].rejected == fcfs["all"].rejected == 0
    assert composite["all"].output_tokens == fcfs["all"].output_tokens
    assert composite["all"].violations == 0
    interactive = [each["interactive"].ttft_p99 for each in (composite, fcfs)]
    assert interactive[0] <= interactive[1] * 1.01  # type: ignore[operator]


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("policy", ["vtc", "composite"])
def test_tenants_that_each_ask_for_more_than_there_is_get_tokens_by_weight(policy: PolicyName, seed: int) -> None:
    weights = {"a": 1.0, "b": 2.0, "c": 4.0}
    trace = poisson(3 * CAPACITY, 300, Mix({"standard": 1.0}, dict.fromkeys(weights, 1.0)), seed)
    tenants = [{"name": name, "weight": weight} for name, weight in weights.items()]
    settings_ = gateway(tenants=tenants)
    fair = rows(replay(trace, policy, settings_, MODEL, seed=seed), weights)["standard"].jain
    assert fair is not None
    assert fair >= 0.95


def test_half_an_hour_of_saturating_interactive_load_leaves_batch_within_its_bound() -> None:
    trace = poisson(1.5 * CAPACITY, 1800, Mix({"interactive": 0.95, "batch": 0.05}, {"": 1.0}), 3)
    settings_ = gateway(shedding={"start": 2.0, "full": 3.0})
    result = replay(trace, "composite", settings_, MODEL)
    batch = rows(result)["batch"]
    slowest = 0.75 * CAPACITY  # requests per second at any time of this run
    assert batch.rejected == 0
    assert batch.longest_wait is not None
    assert batch.longest_wait <= 2 / settings_.aging_rate + settings_.fairness_window + settings_.max_queue / slowest
    assert sum(result.violations.values()) == 0
