"""The cost of preemption: a KV cache a third as large as the batch wants; blocks are recomputed or swapped out.

python services/engine/benchmarks/preemption.py
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from benchmarks.measure import MODELS, environment, heldout, paired_rates, save

from llm_engine import LLM, SamplingParams

REQUESTS, PROMPT_TOKENS, NEW_TOKENS, ROUNDS = 24, 200, 100, 5
BLOCKS = REQUESTS * (PROMPT_TOKENS + NEW_TOKENS) // 16 // 3
WAYS: dict[str, dict[str, Any]] = {
    "roomy": {"num_gpu_blocks_override": 3 * BLOCKS + 64},
    "recompute": {"num_gpu_blocks_override": BLOCKS},
    "recompute_without_prefix_cache": {"num_gpu_blocks_override": BLOCKS, "prefix_cache": "off"},
    "swap_without_prefix_cache": {"num_gpu_blocks_override": BLOCKS, "prefix_cache": "off", "num_cpu_blocks": 999},
}


def main() -> int:
    setting = environment()
    llms = {name: LLM(str(MODELS / "main"), max_model_len=512, **settings) for name, settings in WAYS.items()}
    summary = paired_rates({name: _generator(llm) for name, llm in llms.items()}, ROUNDS).summary("roomy")
    for name, llm in llms.items():
        summary[name]["preemptions_per_run"] = llm.engine.num_preemptions // (ROUNDS + 1)
    sizes = {"model": "main", "requests": REQUESTS, "prompt_tokens": PROMPT_TOKENS, "output_tokens": NEW_TOKENS}
    save("preemption", {**setting, **sizes, "blocks": BLOCKS, "rounds": ROUNDS, **summary})
    return 0


def _generator(llm: LLM) -> Callable[[], int]:
    ids = llm.engine.tokenizer.encode(heldout()[:80_000])
    prompts = [ids[start : start + PROMPT_TOKENS] for start in range(0, PROMPT_TOKENS * REQUESTS, PROMPT_TOKENS)]
    params = SamplingParams(temperature=0, max_tokens=NEW_TOKENS, ignore_eos=True)

    def run() -> int:
        return sum(len(output.token_ids) for output in llm.generate(prompts, params, use_tqdm=False))

    return run


if __name__ == "__main__":
    sys.exit(main())
