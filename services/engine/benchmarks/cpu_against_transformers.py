"""Greedy decoding on a CPU, beside Hugging Face's generate, at batch 1 and 16: paired runs, float32, the same tokens.

    python services/engine/benchmarks/cpu_against_transformers.py

transformers gets the better of one and two threads; the engine has its default.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from statistics import median
from typing import Any

import torch
import transformers
from benchmarks.measure import MODELS, environment, heldout, paired_rates, save

from llm_engine import LLM, SamplingParams

PROMPT_TOKENS, NEW_TOKENS, ROUNDS = 64, 128, 5
BATCHES = (1, 16)
TRANSFORMERS = ("transformers_1_thread", "transformers_2_threads")


def main() -> int:
    setting = environment()
    llm = LLM(str(MODELS / "main"))
    threads = torch.get_num_threads()
    reference = transformers.AutoModelForCausalLM.from_pretrained(MODELS / "main", dtype=torch.float32)
    ids = llm.engine.tokenizer.encode(heldout()[:20_000])
    results: dict[str, Any] = {}
    for batch in BATCHES:
        prompts = [ids[i * PROMPT_TOKENS : (i + 1) * PROMPT_TOKENS] for i in range(batch)]
        ours, theirs = _engine(llm, prompts, threads), _transformers(reference, prompts)
        same = _tokens(llm, prompts) == theirs(1)
        rates = paired_rates(
            {
                **{name: partial(_counted, theirs, threads) for threads, name in enumerate(TRANSFORMERS, start=1)},
                "engine": ours,
            },
            ROUNDS,
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


def _tokens(llm: LLM, prompts: list[list[int]]) -> list[list[int]]:
    params = SamplingParams(temperature=0, max_tokens=NEW_TOKENS, min_tokens=NEW_TOKENS)
    return [output.token_ids for output in llm.generate(prompts, params, use_tqdm=False)]


def _engine(llm: LLM, prompts: list[list[int]], threads: int) -> Callable[[], int]:
    def run() -> int:
        torch.set_num_threads(threads)
        return _count(_tokens(llm, prompts))

    return run


def _transformers(model: Any, prompts: list[list[int]]) -> Callable[[int], list[list[int]]]:
    ids = torch.tensor(prompts)

    def run(threads: int) -> list[list[int]]:
        torch.set_num_threads(threads)
        output = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=NEW_TOKENS,
            min_new_tokens=NEW_TOKENS,
            do_sample=False,
            pad_token_id=0,
        )
        tokens: list[list[int]] = output[:, PROMPT_TOKENS:].tolist()
        return tokens

    return run


def _counted(run: Callable[[int], list[list[int]]], threads: int) -> int:
    return _count(run(threads))


def _count(outputs: list[list[int]]) -> int:
    return sum(map(len, outputs))


if __name__ == "__main__":
    sys.exit(main())
