"""The request that came last makes room for the one that came first."""

from __future__ import annotations

from llm_course.paths import MODELS
from llm_engine import Engine, EngineConfig, SamplingParams

MODEL = str(MODELS / "zoo" / "llama")


def test_the_oldest_request_is_never_preempted() -> None:
    engine = Engine(EngineConfig(MODEL, num_gpu_blocks_override=12, block_size=4, max_model_len=48))
    params = SamplingParams(temperature=0, max_tokens=30, ignore_eos=True)
    sequences = []
    for index in range(4):
        prepared = engine.prepare([index + 5] * 8, params)
        engine.enqueue(str(index), prepared)
        sequences.append(prepared.sequence)
    while engine.has_work:
        engine.step()
    counts = [sequence.num_preemptions for sequence in sequences]
    assert sum(counts) > 0
    assert counts[0] == 0
