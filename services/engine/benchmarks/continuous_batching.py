"""Continuous batching compared with static batching: nano-vllm's workload, a tenth as long, on the shipped main model.

    python services/engine/benchmarks/continuous_batching.py

Both have the same KV memory. Static batching, as a plain `generate` loop does it, reserves the longest sequence for
every request, pads prompts to the batch's longest, and runs a batch until its longest answer is done. The contender
`static_same_size` may run as many requests at once as continuous batching does, as if memory were no matter: what is
left is what waiting for the longest costs.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable

from benchmarks.measure import MODELS, environment, paired_rates, save

from llm_engine import LLM, SamplingParams

REQUESTS, SHORTEST, LONGEST, ROUNDS = 96, 10, 102, 5
STATIC_SEQUENCES, CONTINUOUS_SEQUENCES = 8, 16
BLOCK_SIZE = 4
BLOCKS = STATIC_SEQUENCES * -(-2 * LONGEST // BLOCK_SIZE)

Request = tuple[list[int], int]
"""Prompt and tokens to write."""


def main() -> int:
    setting = environment()
    requests = workload()
    tokens = sum(count for _, count in requests)
    paged = open_model(CONTINUOUS_SEQUENCES, BLOCKS)
    static = open_model(STATIC_SEQUENCES, BLOCKS)
    roomy = open_model(CONTINUOUS_SEQUENCES, BLOCKS * CONTINUOUS_SEQUENCES // STATIC_SEQUENCES)

    def continuous() -> int:
        generate(paged, requests)
        return tokens

    rates = paired_rates(
        {
            "static": in_batches(static, requests, STATIC_SEQUENCES),
            "static_same_size": in_batches(roomy, requests, CONTINUOUS_SEQUENCES),
            "continuous": continuous,
        },
        ROUNDS,
    )
    summary = rates.summary("static")
    same_size = rates.summary("static_same_size")["continuous"]
    summary["continuous"]["ratio_to_static_same_size"] = same_size["ratio_to_static_same_size"]
    sizes = {"requests": REQUESTS, "lengths": [SHORTEST, LONGEST], "output_tokens": tokens, "rounds": ROUNDS}
    memory = {"kv_blocks": BLOCKS, "block_size": BLOCK_SIZE, "static_sequences": STATIC_SEQUENCES}
    preemptions = {"preemptions_per_run": paged.engine.num_preemptions // (ROUNDS + 1)}
    save("continuous_batching", {**setting, "model": "main", **sizes, **memory, **preemptions, **summary})
    return 0


def workload() -> list[Request]:
    """Return nano-vllm's workload: uniform lengths, drawn by Python's generator with seed 0."""
    random.seed(0)
    prompts = [[random.randint(1, 4000) for _ in range(random.randint(SHORTEST, LONGEST))] for _ in range(REQUESTS)]
    return [(prompt, random.randint(SHORTEST, LONGEST)) for prompt in prompts]


def open_model(sequences: int, blocks: int) -> LLM:
    return LLM(
        str(MODELS / "main"),
        max_num_seqs=sequences,
        num_gpu_blocks_override=blocks,
        block_size=BLOCK_SIZE,
        max_model_len=2 * LONGEST,
        enable_prefix_caching=False,
    )


def generate(llm: LLM, requests: list[Request]) -> None:
    params = [SamplingParams(temperature=0, max_tokens=count, ignore_eos=True) for _, count in requests]
    llm.generate([prompt for prompt, _ in requests], params, use_tqdm=False)


def in_batches(llm: LLM, requests: list[Request], size: int) -> Callable[[], int]:
    batches = [requests[start : start + size] for start in range(0, len(requests), size)]

    def run() -> int:
        for batch in batches:
            prompt_len = max(len(prompt) for prompt, _ in batch)
            longest = max(count for _, count in batch)
            generate(llm, [([0] * (prompt_len - len(prompt)) + prompt, longest) for prompt, _ in batch])
        return sum(count for _, count in requests)

    return run


if __name__ == "__main__":
    sys.exit(main())
