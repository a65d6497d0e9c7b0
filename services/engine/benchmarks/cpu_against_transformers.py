"""Greedy decoding on a CPU, compared with transformers' generate: batch 1 and 16, paired runs, float32, same tokens.

    python services/engine/benchmarks/cpu_against_transformers.py

Each with one thread and with two; ratios are to the better of transformers' two. Before each run that counts comes a
short one on as many threads: a new thread takes tens of milliseconds to get a processor of its own. The engine looks up
no prefixes, which every round after the first would find.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import torch
import transformers
from benchmarks.measure import MODELS, environment, heldout, paired, save

from llm_engine import LLM, SamplingParams

PROMPT_TOKENS, NEW_TOKENS, SHORT, ROUNDS = 64, 128, 16, 15
BATCHES = (1, 16)
TRANSFORMERS = ("transformers_1_thread", "transformers_2_threads")
ENGINE = ("engine_1_thread", "engine_2_threads")

Way = Callable[[int], list[list[int]]]
"""How many new tokens -> those of each prompt."""


def main() -> int:
    setting = environment()
    llm = LLM(str(MODELS / "main"), enable_prefix_caching=False)
    reference = transformers.AutoModelForCausalLM.from_pretrained(MODELS / "main", dtype=torch.float32)
    ids = llm.engine.tokenizer.encode(heldout()[:20_000])
    results: dict[str, Any] = {}
    for batch in BATCHES:
        prompts = [ids[i * PROMPT_TOKENS : (i + 1) * PROMPT_TOKENS] for i in range(batch)]
        ways: dict[tuple[str, str], Way] = {
            TRANSFORMERS: _transformers(reference, prompts),
            ENGINE: partial(_tokens, llm, prompts),
        }
        same = ways[ENGINE](NEW_TOKENS) == ways[TRANSFORMERS](NEW_TOKENS)
        rates = paired(
            {
                name: partial(_rate, run, threads)
                for names, run in ways.items()
                for threads, name in enumerate(names, start=1)
            },
            ROUNDS,
            "output_tokens_per_second",
        )
        best = max(TRANSFORMERS, key=lambda name: median(rates.by_name[name]))
        results[f"batch_{batch}"] = {"same_tokens": same, **rates.summary(best)}
    save(
        "cpu_against_transformers",
        {
            **setting,
            "transformers": transformers.__version__,
            "model": "main",
            "prompt_tokens": PROMPT_TOKENS,
            "output_tokens": NEW_TOKENS,
            "rounds": ROUNDS,
            **results,
        },
    )
    return 0


def _rate(run: Way, threads: int) -> float:
    torch.set_num_threads(threads)
    run(SHORT)
    begun = time.perf_counter()
    count = sum(map(len, run(NEW_TOKENS)))
    return count / (time.perf_counter() - begun)


def _tokens(llm: LLM, prompts: list[list[int]], count: int) -> list[list[int]]:
    params = SamplingParams(temperature=0, max_tokens=count, ignore_eos=True)
    return [output.token_ids for output in llm.generate(prompts, params, use_tqdm=False)]


def _transformers(model: Any, prompts: list[list[int]]) -> Way:
    ids = torch.tensor(prompts)
    model.generation_config.eos_token_id = None  # the end of text is a token like others, as with `ignore_eos`

    def run(count: int) -> list[list[int]]:
        output = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=count,
            do_sample=False,
            pad_token_id=0,
        )
        tokens: list[list[int]] = output[:, PROMPT_TOKENS:].tolist()
        return tokens

    return run


if __name__ == "__main__":
    sys.exit(main())
