"""A preempted request goes on where it was: its answer is the one that it gets with memory to spare."""

from __future__ import annotations

from llm_course.fault_runs import drawn_prompt, run
from llm_course.paths import MODELS
from llm_engine import Engine, EngineConfig, SamplingParams

MODEL = str(MODELS / "zoo" / "llama")


def params(max_tokens: int) -> SamplingParams:
    return SamplingParams(temperature=1.0, seed=3, max_tokens=max_tokens, ignore_eos=True)


def answers(num_blocks: int) -> tuple[dict[str, list[int]], int]:
    """Return each request's tokens, and the number of preemptions."""
    config = EngineConfig(
        MODEL, num_gpu_blocks_override=num_blocks, block_size=4, max_model_len=48, max_num_seqs=3,
        enable_prefix_caching=False,
    )  # fmt: skip
    engine = Engine(config)
    for index in range(3):
        engine.add_request(str(index), drawn_prompt(6, index), params(12 + 10 * index))
    engine.add_request("3", drawn_prompt(2, 3), params(4))
    return run(engine), engine.num_preemptions


def test_preemption_does_not_change_an_answer() -> None:
    expected, _ = answers(200)
    found, preemptions = answers(12)
    assert preemptions > 0
    assert found == expected
