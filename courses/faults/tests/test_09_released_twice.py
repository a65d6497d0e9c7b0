"""A request that is aborted after a preemption has nothing left to give back."""

from __future__ import annotations

from llm_course.fault_runs import drawn_prompt
from llm_course.paths import MODELS
from llm_engine import Engine, EngineConfig, SamplingParams

MODEL = str(MODELS / "zoo" / "llama")


def params(max_tokens: int) -> SamplingParams:
    return SamplingParams(temperature=1.0, seed=3, max_tokens=max_tokens, ignore_eos=True)


def answer(num_blocks: int) -> tuple[list[int], int]:
    """Return request 0's tokens, and the number of preemptions; request 1 is aborted, and 2 comes in its place."""
    config = EngineConfig(
        MODEL, num_gpu_blocks_override=num_blocks, block_size=4, max_model_len=48, enable_prefix_caching=False
    )
    engine = Engine(config)
    for index in range(2):
        engine.add_request(str(index), drawn_prompt(8, index), params(36))
    found: list[int] = []
    while len(found) < 22:
        found += [token for output in engine.step() if output.request_id == "0" for token in output.token_ids]
    engine.abort_request("1")
    engine.add_request("2", drawn_prompt(4, 9), params(8))
    while engine.has_work:
        found += [token for output in engine.step() if output.request_id == "0" for token in output.token_ids]
    return found, engine.num_preemptions


def test_an_abort_after_a_preemption_takes_no_block_from_the_others() -> None:
    expected, _ = answer(200)
    found, preemptions = answer(12)
    assert preemptions > 0
    assert found == expected
