"""Speculative decoding at batch 1 compared with none: paired runs of the shipped models, on a GPU or a CPU.

python services/engine/benchmarks/speculation.py
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
from benchmarks.measure import MODELS, environment, heldout, paired_rates, save

from llm_engine import LLM, SamplingParams

PROMPTS, PROMPT_TOKENS, NEW_TOKENS, ROUNDS = 6, 128, 128, 9
KV_BYTES = 2**28
"""KV memory of each way; all ways lie in memory together."""
WAYS: dict[str, dict[str, Any] | None] = {
    "none": None,
    "ngram_3": {"method": "ngram", "num_speculative_tokens": 3},
    "ngram_6": {"method": "ngram", "num_speculative_tokens": 6},
    "draft_2": {"model": str(MODELS / "draft"), "num_speculative_tokens": 2},
    "draft_3": {"model": str(MODELS / "draft"), "num_speculative_tokens": 3},
}


def main() -> int:
    setting = environment()
    llms = {
        name: LLM(str(MODELS / "main"), speculative_config=config, kv_cache_memory_bytes=KV_BYTES)
        for name, config in WAYS.items()
    }
    results: dict[str, Any] = {}
    for temperature in (0.0, 1.0):
        rates = paired_rates({name: _generator(llm, temperature) for name, llm in llms.items()}, ROUNDS)
        summary = rates.summary("none")
        for name, llm in llms.items():
            summary[name].update(acceptance(llm))
        results[f"temperature_{temperature:g}"] = summary
    sizes = {"model": "main", "draft_model": "draft", "batch": 1, "rounds": ROUNDS}
    lengths = {"prompts": PROMPTS, "prompt_tokens": PROMPT_TOKENS, "output_tokens": NEW_TOKENS}
    save("gpu_speculation" if torch.cuda.is_available() else "speculation", {**setting, **sizes, **lengths, **results})
    return 0


def _generator(llm: LLM, temperature: float) -> Callable[[], int]:
    ids = llm.engine.tokenizer.encode(heldout()[:40_000])
    prompts = [ids[start : start + PROMPT_TOKENS] for start in range(0, 300 * PROMPTS, 300)]
    params = SamplingParams(temperature=temperature, max_tokens=NEW_TOKENS, ignore_eos=True, seed=0)

    def run() -> int:
        return sum(len(llm.generate(prompt, params, use_tqdm=False)[0].token_ids) for prompt in prompts)

    return run


def acceptance(llm: LLM) -> dict[str, Any]:
    """Share of drafts accepted at each place, and tokens a step; forgets them."""
    if llm.engine.speculation is None:
        return {}
    stats = llm.engine.speculation.stats
    by_position = [round(count / max(1, stats.num_drafts), 3) for count in stats.accepted_by_position]
    tokens_per_draft = 1 + sum(stats.accepted_by_position) / max(1, stats.num_drafts)
    stats.num_drafts, stats.num_draft_tokens = 0, 0
    stats.accepted_by_position[:] = [0] * len(by_position)
    return {"acceptance_by_position": by_position, "tokens_per_verification": round(tokens_per_draft, 2)}


if __name__ == "__main__":
    sys.exit(main())
