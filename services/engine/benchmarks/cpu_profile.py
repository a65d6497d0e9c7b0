"""Where a step's time goes on a CPU at batch 1 and 16, on one thread and on two; and its time without the call of all.

python services/engine/benchmarks/cpu_profile.py
"""

from __future__ import annotations

import sys
import time
from typing import Any

import torch
from benchmarks.measure import MODELS, environment, heldout, rounded, save

from llm_engine import LLM, SamplingParams
from llm_engine.testing.parts import decoder_of

PROMPT_TOKENS, NEW_TOKENS, ROUNDS = 64, 128, 7
BATCHES, THREADS = (1, 16), (1, 2)


def main() -> int:
    setting = environment()
    llm = LLM(str(MODELS / "main"), attention_backend="cpp", enable_prefix_caching=False)
    ids = llm.engine.tokenizer.encode(heldout()[:20_000])
    found: dict[str, dict[str, float]] = {}
    for batch in BATCHES:
        prompts = [ids[i * PROMPT_TOKENS : (i + 1) * PROMPT_TOKENS] for i in range(batch)]
        for threads in THREADS:
            torch.set_num_threads(threads)
            found[f"batch {batch}, {threads} thread{'s' * (threads > 1)}"] = profile(llm, prompts)
    sizes = {"model": "main", "prompt_tokens": PROMPT_TOKENS, "output_tokens": NEW_TOKENS, "rounds": ROUNDS}
    save("cpu_profile", {**setting, **sizes, "milliseconds_per_step": found})
    return 0


def profile(llm: LLM, prompts: list[list[int]]) -> dict[str, float]:
    """Return milliseconds per step, prefill included, of the fastest run: slower ones were slowed from outside."""
    runs = [run(llm, prompts) for _ in range(ROUNDS + 1)][1:]
    best = min(runs, key=lambda figures: figures["together"])
    decoder: Any = decoder_of(llm)
    fused, decoder._fused = decoder._fused, None
    alone = [run(llm, prompts)["together"] for _ in range(ROUNDS + 1)][1:]
    decoder._fused = fused
    return {**best, "kernels called one by one": min(alone)}


def run(llm: LLM, prompts: list[list[int]]) -> dict[str, float]:
    decoder: Any = decoder_of(llm)
    params = SamplingParams(temperature=0, max_tokens=NEW_TOKENS, ignore_eos=True)
    before, begun = decoder._backend.decoder.seconds(), time.perf_counter()
    llm.generate(prompts, params, use_tqdm=False)
    whole = time.perf_counter() - begun
    kernels = {name: seconds - before[name] for name, seconds in decoder._backend.decoder.seconds().items()}
    parts = {**kernels, "all else, in Python": whole - sum(kernels.values()), "together": whole}
    return {name: rounded(seconds / NEW_TOKENS * 1e3) for name, seconds in parts.items()}


if __name__ == "__main__":
    sys.exit(main())
