"""Seconds per token of a quantised checkpoint against its 16-bit original, by batch size, on a GPU.

    python3 services/engine/benchmarks/gpu/gpu_quantized.py ORIGINAL QUANTIZED [QUANTIZED …]

The folders are those of `python quantize/benchmarks/large_model.py --keep FOLDER`: random weights in the shape of
Llama-3-8B. All engines are loaded at once and take turns, a batch size at a time, so that a drift of the machine meets
all of them. Prompts have 100 tokens. Seconds per token are those of a step that decodes the whole batch: the time of
many tokens less the time of one.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.measure import RESULTS, card, environment, rounded, save

from llm_engine import LLM, SamplingParams

BATCHES = (1, 4, 16, 32, 64, 128, 256)
PROMPT, TOKENS, RUNS = 100, 65, 5


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("original", type=Path)
    parser.add_argument("quantized", type=Path, nargs="+")
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    setting = environment()
    folders = (arguments.original, *arguments.quantized)
    engines = {folder.name: load(folder, max(arguments.batches)) for folder in folders}
    rows = [compare(engines, batch, arguments.runs) for batch in arguments.batches]
    save(f"gpu_quantized_{card()}", {**setting, "original": arguments.original.name, "rows": rows}, arguments.out)
    return 0


def load(folder: Path, batch: int) -> LLM:
    blocks = batch * (PROMPT + TOKENS + 32) // 16
    return LLM(str(folder), max_num_seqs=batch, max_num_batched_tokens=16_384, max_model_len=1024,
               num_gpu_blocks_override=max(64, blocks), enable_prefix_caching=False)  # fmt: skip


def compare(engines: dict[str, LLM], batch: int, runs: int) -> dict[str, Any]:
    """Return each engine's median seconds per token at a batch size, and the original's over them."""
    seconds: dict[str, list[float]] = {name: [] for name in engines}
    for number in range(runs + 1):  # the first one warms up
        for name, llm in engines.items():
            found = seconds_per_token(llm, batch)
            if number:
                seconds[name].append(found)
    medians = {name: median(each) for name, each in seconds.items()}
    first = next(iter(medians.values()))
    row = {
        "batch": batch,
        "seconds_per_token": {name: rounded(each) for name, each in medians.items()},
        "range": {name: [rounded(min(each)), rounded(max(each))] for name, each in seconds.items()},
        "speedup": {name: rounded(first / each) for name, each in medians.items()},
    }
    print(row, flush=True)
    return row


def seconds_per_token(llm: LLM, batch: int) -> float:
    def run(count: int) -> float:
        params = SamplingParams(temperature=0, max_tokens=count, ignore_eos=True)
        prompts = [[(7 * place + index) % 1000 + 5 for place in range(PROMPT)] for index in range(batch)]
        begun = time.perf_counter()
        llm.generate(prompts, params, use_tqdm=False)
        return time.perf_counter() - begun

    return (run(TOKENS) - run(1)) / (TOKENS - 1)


if __name__ == "__main__":
    sys.exit(main())
