"""Aborted requests give everything back: while they wait, while they run, and after they were preempted."""

from __future__ import annotations

import pytest

from llm_course.paths import MODELS
from llm_engine import Engine, EngineConfig, SamplingParams


@pytest.mark.parametrize("steps", [0, 1, 4, 12])
def test_blocks_of_aborted_requests_come_back(steps: int) -> None:
    model = str(MODELS / "zoo" / "llama")
    engine = Engine(EngineConfig(model, num_gpu_blocks_override=12, block_size=4, max_model_len=48))
    for index in range(5):
        params = SamplingParams(temperature=0, max_tokens=20, ignore_eos=True)
        engine.add_request(str(index), [index + 5] * 12, params)
    for _ in range(steps):
        engine.step()
    for index in range(5):
        engine.abort_request(str(index))
    while engine.has_work:
        engine.step()
    assert engine.kv_cache.pool.num_available == engine.num_blocks
