"""A long prompt is served in its turn, however many short ones come after it."""

from __future__ import annotations

from llm_course.paths import MODELS
from llm_engine import Engine, EngineConfig, SamplingParams

MODEL = str(MODELS / "zoo" / "llama")


MOST_STEPS = 60


def test_short_requests_do_not_keep_a_long_one_waiting() -> None:
    engine = Engine(EngineConfig(MODEL, num_gpu_blocks_override=16, block_size=4, max_model_len=64))
    short = SamplingParams(temperature=0, max_tokens=12, ignore_eos=True)
    for index in range(2):
        engine.add_request(f"before{index}", [5 + index] * 8, short)
    engine.step()
    engine.add_request("long", list(range(30, 78)), SamplingParams(temperature=0, max_tokens=2, ignore_eos=True))
    for step in range(MOST_STEPS):
        if step % 4 == 0:
            engine.add_request(f"after{step}", [9 + step] * 8, short)
        if any(output.request_id == "long" for output in engine.step()):
            return
    raise AssertionError(f"no token in {MOST_STEPS} steps")
