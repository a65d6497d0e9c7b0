"""A prefix whose blocks were given away is not found: the second answer to a prompt equals the first."""

from __future__ import annotations

from llm_course.fault_runs import run
from llm_course.paths import MODELS
from llm_engine import Engine, EngineConfig, SamplingParams


def answer(engine: Engine, prompt: list[int]) -> list[int]:
    engine.add_request("r", prompt, SamplingParams(temperature=0, max_tokens=8, ignore_eos=True))
    return run(engine)["r"]


def test_a_prompt_gets_the_same_answer_after_its_blocks_were_used_by_others() -> None:
    model = str(MODELS / "zoo" / "llama")
    engine = Engine(EngineConfig(model, num_gpu_blocks_override=12, block_size=4, max_model_len=48))
    prompt = list(range(40, 64))
    first = answer(engine, prompt)
    for other in range(4):
        answer(engine, [100 + other] * 24)
    assert answer(engine, prompt) == first
    assert engine.kv_cache.pool.num_evictions > 0
