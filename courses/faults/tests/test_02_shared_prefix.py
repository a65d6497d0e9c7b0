"""A block that two sequences share stays owned when the first of them ends, whatever comes after it."""

from __future__ import annotations

from llm_course.fault_runs import drawn_prompt
from llm_course.paths import MODELS
from llm_engine import Engine, EngineConfig, SamplingParams

MODEL = str(MODELS / "zoo" / "llama")


def params(max_tokens: int) -> SamplingParams:
    return SamplingParams(temperature=1.0, seed=3, max_tokens=max_tokens, ignore_eos=True)


def answer(num_blocks: int) -> list[int]:
    """Return the long one of two answers to prompts that begin alike, while strangers need blocks."""
    engine = Engine(EngineConfig(MODEL, num_gpu_blocks_override=num_blocks, block_size=4, max_model_len=48))
    shared = drawn_prompt(16, 50)
    engine.add_request("first", [*shared, 7], params(2))
    while engine.has_work:
        engine.step()
    engine.add_request("long", [*shared, 8], params(20))
    engine.add_request("short", [*shared, 9], params(2))
    tokens: list[int] = []
    for step in range(40):
        if step in (3, 5, 7, 9):
            engine.add_request(str(step), drawn_prompt(12, step), params(2))
        tokens += [token for output in engine.step() if output.request_id == "long" for token in output.token_ids]
    return tokens


def test_a_shared_prefix_outlives_the_first_of_its_owners() -> None:
    assert answer(13) == answer(200)
