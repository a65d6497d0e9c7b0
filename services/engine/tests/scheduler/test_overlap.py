"""Overlap: the same answers, one step later, and no block without an owner."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_engine import Engine, EngineConfig, SamplingParams
from llm_engine.errors import EngineError
from llm_engine.metrics import EngineMetrics
from llm_engine.request.outputs import RequestOutput
from llm_engine.scheduler.placeholders import is_placeholder, placeholder, resolve

MakeEngine = Callable[..., Engine]
TIGHT: dict[str, Any] = {
    "num_gpu_blocks_override": 30,
    "block_size": 4,
    "max_model_len": 100,
    "max_num_batched_tokens": 24,
    "max_num_seqs": 6,
}


def finish(engine: Engine) -> dict[tuple[str, int], list[RequestOutput]]:
    """(request, answer) -> its outputs."""
    outputs: dict[tuple[str, int], list[RequestOutput]] = {}
    while engine.has_work:
        for output in engine.step():
            outputs.setdefault((output.request_id, output.index), []).append(output)
    assert engine.kv_cache.pool.num_available == engine.num_blocks
    return outputs


def answers(engine: Engine, requests: list[tuple[list[int], SamplingParams]]) -> dict[tuple[str, int], Any]:
    for index, (prompt, params) in enumerate(requests):
        engine.add_request(str(index), prompt, params)
    return {
        key: (
            [token for output in each for token in output.token_ids],
            "".join(output.text for output in each),
            [list(at) for output in each for at in output.logprobs or []],
            [output.num_output_tokens for output in each][-1],
            (each[-1].finish_reason, each[-1].stop_reason),
        )
        for key, each in finish(engine).items()
    }


def test_a_placeholder_stands_for_a_row_of_the_drawn_tokens() -> None:
    token_ids = torch.tensor([5, placeholder(1), 6, placeholder(0)])
    assert resolve(token_ids, torch.tensor([70, 80])).tolist() == [5, 80, 6, 70]
    assert [is_placeholder(token) for token in token_ids.tolist()] == [False, True, False, True]


def test_the_next_step_is_begun_before_the_first_token_is_told(make_engine: MakeEngine) -> None:
    engine = make_engine(async_scheduling=True)
    engine.add_request("a", [5, 6, 7], SamplingParams(temperature=0, max_tokens=2, ignore_eos=True))
    assert engine.step() == []
    (sequence,) = engine.scheduler.running
    assert sequence.token_ids == [5, 6, 7, placeholder(0)]
    (first,) = engine.step()
    assert (first.num_output_tokens, sequence.token_ids[3]) == (1, first.token_ids[0])
    (last,) = engine.step()
    assert last.finish_reason == "length"
    assert not engine.has_work


def test_an_answer_of_foreseen_length_costs_no_step_more(make_engine: MakeEngine) -> None:
    engine = make_engine(async_scheduling=True)
    launched = []
    launch = engine._runner.launch
    engine._runner.launch = lambda step: launched.append(step.total_tokens) or launch(step)  # type: ignore[method-assign, func-returns-value]
    engine.add_request("a", [5, 6, 7], SamplingParams(temperature=0, max_tokens=4, ignore_eos=True))
    finish(engine)
    assert launched == [3, 1, 1, 1]


def test_what_is_computed_past_an_unforeseen_end_is_dropped(make_engine: MakeEngine) -> None:
    plain, ahead = make_engine(), make_engine(async_scheduling=True)
    prompt = plain.tokenizer.encode("import os\n")
    (free,) = answers(plain, [(prompt, SamplingParams(temperature=0, max_tokens=12))]).values()
    stop = next(token for token in free[0][2:] if token not in free[0][:2])
    middle = len(free[1]) // 2
    requests = [
        (prompt, SamplingParams(temperature=0, max_tokens=12, stop_token_ids=(stop,))),
        (prompt, SamplingParams(temperature=0, max_tokens=12, stop=(free[1][middle - 2 : middle + 2],))),
        (prompt, SamplingParams(temperature=0, max_tokens=12, stop_token_ids=(stop,), logprobs=2)),
    ]
    expected = answers(plain, requests)
    assert answers(ahead, requests) == expected
    assert answers(ahead, requests) == expected  # the dropped tokens are in no cache


@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(temperature=0, max_tokens=20, repetition_penalty=1.3, presence_penalty=0.5),
        SamplingParams(temperature=0, max_tokens=20, bad_words=("self",)),
        SamplingParams(temperature=0.8, max_tokens=20, seed=3, min_tokens=8, logit_bias={9: 1.0}),
        SamplingParams(temperature=1.0, max_tokens=9, seed=5, n=3, logprobs=1),
    ],
)
def test_whatever_depends_on_earlier_tokens_waits_for_them(make_engine: MakeEngine, params: SamplingParams) -> None:
    requests = [([5, 6, 7, 8], params), ([9, 10], SamplingParams(temperature=0, max_tokens=15))]
    assert answers(make_engine(async_scheduling=True), requests) == answers(make_engine(), requests)


@pytest.fixture(scope="module")
def pair(models) -> tuple[Engine, Engine]:  # type: ignore[no-untyped-def]
    config: dict[str, Any] = {"check_invariants": True, **TIGHT}
    model = str(models / "zoo" / "llama")
    return Engine(EngineConfig(model, **config)), Engine(EngineConfig(model, async_scheduling=True, **config))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_random_requests_get_the_same_answers(pair: tuple[Engine, Engine], seed: int) -> None:
    """With preemption, chunks and cache hits; the engines keep what earlier examples left in their caches."""
    rng = random.Random(seed)
    requests = []
    for index in range(rng.randint(2, 9)):
        prompt = [rng.randint(1, 3) for _ in range(rng.randint(1, 50))]
        temperature = rng.choice([0.0, 1.0])
        stop = tuple(rng.sample(range(4096), 400))
        requests.append(
            (
                prompt,
                SamplingParams(temperature=temperature, seed=index, max_tokens=rng.randint(1, 30), stop_token_ids=stop),
            )
        )
    assert answers(pair[1], requests) == answers(pair[0], requests)


def test_requests_aborted_in_flight_leak_nothing(make_engine: MakeEngine) -> None:
    engine = make_engine(async_scheduling=True, num_cpu_blocks=10, **TIGHT)
    rng = random.Random(0)
    for index in range(150):
        engine.add_request(str(index), [rng.randint(1, 3)] * rng.randint(1, 50), SamplingParams(max_tokens=20))
        engine.step()
        if rng.random() < 0.6:
            engine.abort_request(str(rng.randint(max(0, index - 6), index)))
    finish(engine)
    assert engine.num_preemptions > 0
    assert len(engine.kv_cache.free_host_blocks) == 10


def test_metrics_count_only_what_was_told(models) -> None:  # type: ignore[no-untyped-def]
    metrics = EngineMetrics("m")
    config = EngineConfig(str(models / "zoo" / "llama"), num_gpu_blocks_override=256, async_scheduling=True)
    engine = Engine(config, [metrics])
    engine.tokenizer.eos_token_ids = tuple(range(4096))
    engine.add_request("a", [5, 6, 7], SamplingParams(max_tokens=9))
    finish(engine)
    text = metrics.render().decode()
    assert 'vllm:generation_tokens_total{engine="0",model_name="m"} 1.0' in text
    assert 'vllm:request_generation_tokens_sum{engine="0",model_name="m"} 1.0' in text


def test_speculation_rules_it_out() -> None:
    with pytest.raises(EngineError, match="does not work with speculation"):
        EngineConfig("model", async_scheduling=True, speculative_config={"num_speculative_tokens": 2})
