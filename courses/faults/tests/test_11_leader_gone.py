"""Answers that share a prompt do not depend on whether the first of them still runs."""

from __future__ import annotations

import pytest

from llm_course.paths import MODELS
from llm_engine import Engine, EngineConfig, SamplingParams

MODEL = str(MODELS / "zoo" / "llama")


@pytest.mark.parametrize("num_prompt_tokens", [9, 10])
def test_the_second_answer_is_right_after_the_first_has_ended(num_prompt_tokens: int) -> None:
    def answers(n: int) -> dict[int, list[int]]:
        config = EngineConfig(
            MODEL, num_gpu_blocks_override=32, block_size=4, max_model_len=48, enable_prefix_caching=False
        )
        engine = Engine(config)
        params = SamplingParams(temperature=0, max_tokens=1, n=n, ignore_eos=True)
        engine.add_request("r", list(range(40, 40 + num_prompt_tokens)), params)
        found: dict[int, list[int]] = {}
        while engine.has_work:
            for output in engine.step():
                found.setdefault(output.index, []).extend(output.token_ids)
        return found

    first = answers(1)[0]
    assert answers(3) == {0: first, 1: first, 2: first}
