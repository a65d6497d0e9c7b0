"""A prompt that is computed in chunks gets the answer that it gets in one piece, wherever a chunk begins."""

from __future__ import annotations

import pytest

from llm_course.fault_runs import run
from llm_course.paths import MODELS
from llm_engine import Engine, EngineConfig, SamplingParams

MODEL = str(MODELS / "zoo" / "llama")


def answer(budget: int) -> list[int]:
    config = EngineConfig(
        MODEL, num_gpu_blocks_override=64, block_size=4, max_model_len=96, max_num_batched_tokens=budget,
        max_num_seqs=1,
    )  # fmt: skip
    engine = Engine(config)
    params = SamplingParams(temperature=0, max_tokens=8, ignore_eos=True)
    engine.add_request("r", list(range(40, 71)), params)
    return run(engine)["r"]


@pytest.mark.parametrize("budget", [4, 6, 7, 13])
def test_chunks_do_not_change_the_answer(budget: int) -> None:
    assert answer(budget) == answer(64)
