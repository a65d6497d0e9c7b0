"""Regression tests for defects of similar engines, with the numbers of nano-vllm's issues."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from llm_engine import Engine, SamplingParams

MakeEngine = Callable[..., Engine]
CACHES = ("hash", "radix")
TIGHT = {
    "num_gpu_blocks_override": 12,
    "block_size": 4,
    "max_model_len": 48,
    "max_num_batched_tokens": 16,
    "max_num_seqs": 4,
}


def tokens(engine: Engine, requests: dict[str, tuple[list[int], SamplingParams]]) -> dict[str, list[int]]:
    for request_id, (prompt, params) in requests.items():
        engine.add_request(request_id, prompt, params)
    found: dict[str, list[int]] = {request_id: [] for request_id in requests}
    while engine.has_work:
        for output in engine.step():
            found[output.request_id] += output.token_ids
    return found


def greedy(count: int = 8) -> SamplingParams:
    return SamplingParams(temperature=0, max_tokens=count, ignore_eos=True)


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("cache", CACHES)
@pytest.mark.parametrize("size", [32, 33])
def test_a_prompt_that_is_cached_whole(make_engine: MakeEngine, cache: str, size: int, overlap: bool) -> None:
    """#199, #211: a hit on the full prompt left nothing to compute, and nothing to sample from."""
    engine = make_engine(prefix_cache=cache, async_scheduling=overlap)
    request = {"a": (([5, 6, 7, 8] * 10)[:size], greedy())}
    first = tokens(engine, request)
    assert tokens(engine, request) == first
    assert len(first["a"]) == 8
    assert engine.kv_cache.stats.hits > 0


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("cache", CACHES)
def test_prefix_blocks_are_used_again_after_preemption(make_engine: MakeEngine, cache: str, overlap: bool) -> None:
    """#144, #233: a preempted sequence came back to blocks that had others' content, or counted them twice."""
    shared = [9, 8, 7, 6, 5, 4, 3, 2]
    requests = {str(index): (shared + [index + 1] * 4, greedy(20)) for index in range(4)}
    alone = {
        key: tokens(make_engine(enable_prefix_caching=False), {key: value})[key] for key, value in requests.items()
    }
    engine = make_engine(prefix_cache=cache, async_scheduling=overlap, **TIGHT)
    for _ in range(2):
        assert tokens(engine, requests) == alone
    assert engine.num_preemptions > 0
    assert engine.kv_cache.stats.hits > 0
    assert engine.kv_cache.pool.num_available == engine.num_blocks


@pytest.mark.parametrize("overlap", [False, True])
def test_one_step_mixes_prefill_and_decode(make_engine: MakeEngine, overlap: bool) -> None:
    """#73: a step was all prefill or all decode, and a mixed one wrote wrong tokens."""
    engine = make_engine(max_num_batched_tokens=16, max_num_seqs=4, async_scheduling=overlap)
    steps: list[list[int]] = []
    launch = engine._runner.launch
    engine._runner.launch = lambda step: steps.append(list(step.num_tokens.values())) or launch(step)  # type: ignore[method-assign, func-returns-value]
    requests = {"decode": ([5, 6], greedy(12)), "prompt": (list(range(10, 50)), greedy(4))}
    mixed = tokens(engine, requests)
    assert any(1 in counts and max(counts) > 1 for counts in steps)
    assert all(sum(counts) <= 16 for counts in steps)
    assert mixed == {key: tokens(make_engine(), {key: value})[key] for key, value in requests.items()}


def test_greedy_is_temperature_zero(make_engine: MakeEngine) -> None:
    """#249: temperature 0 was refused, or divided by."""
    prompt = [5, 6, 7, 8]
    expected = tokens(make_engine(), {"a": (prompt, greedy())})
    for params in (
        SamplingParams(temperature=1e-9, max_tokens=8, ignore_eos=True),
        SamplingParams(temperature=0, top_p=0.5, top_k=3, min_p=0.2, seed=9, max_tokens=8, ignore_eos=True),
        SamplingParams(temperature=1, top_k=1, max_tokens=8, ignore_eos=True),
    ):
        assert tokens(make_engine(), {"a": (prompt, params)}) == expected
