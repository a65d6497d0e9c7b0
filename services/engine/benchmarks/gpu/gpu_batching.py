"""Continuous batching compared with static batching on a GPU: nano-vllm's workload, random weights, equal KV memory.

    PYTHONPATH=libs/contract:services/engine:kernels python3 services/engine/benchmarks/gpu/gpu_batching.py

Static batching reserves the longest sequence for every request, pads prompts to the batch's longest, and runs a batch
until its longest answer is done. Continuous batching takes blocks as it needs them, and so has room for more requests.
`continuous_batching.py` does the same on a CPU, several times; this runs each once, after a warm-up.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.gpu.gpu_throughput import COMMON, LONGEST, REQUESTS, SHAPES, Request, open_shape, serve, workload
from benchmarks.measure import RESULTS, environment, rounded, save

from llm_engine import LLM

STATIC_SEQUENCES, CONTINUOUS_SEQUENCES, BLOCK_SIZE = 64, 128, 16
BLOCKS = STATIC_SEQUENCES * (2 * LONGEST // BLOCK_SIZE)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="qwen3-0.6b")
    parser.add_argument("--requests", type=int, default=REQUESTS)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    setting, config = environment(), {**COMMON, **SHAPES[arguments.shape]}
    memory = {"max_num_seqs": CONTINUOUS_SEQUENCES, "num_gpu_blocks_override": BLOCKS, "block_size": BLOCK_SIZE}
    llm = open_shape(config, {**memory, "enable_prefix_caching": False})
    requests = workload(arguments.requests, config["vocab_size"])
    serve(llm, requests[:STATIC_SEQUENCES], time.perf_counter() + 4)
    tokens = sum(params.max_tokens or 0 for _, params in requests)
    continuous, static = timed(llm, [requests]), timed(llm, padded(requests))
    found: dict[str, Any] = {
        "static": {"output_tokens_per_second": rounded(tokens / static), "ratio_to_static": 1.0},
        "continuous": {
            "output_tokens_per_second": rounded(tokens / continuous),
            "ratio_to_static": rounded(static / continuous),
        },
    }
    sizes = {"shape": arguments.shape, "requests": len(requests), "output_tokens": tokens, "kv_blocks": BLOCKS}
    limits = {"static_sequences": STATIC_SEQUENCES, "continuous_sequences": CONTINUOUS_SEQUENCES}
    preemptions = {"preemptions": llm.engine.num_preemptions}
    save("gpu_batching", {**setting, **sizes, **limits, **memory, **preemptions, **found}, arguments.out)
    return 0


def padded(requests: list[Request]) -> list[list[Request]]:
    """Batches in which every prompt and every answer is as long as the batch's longest."""
    batches = []
    for start in range(0, len(requests), STATIC_SEQUENCES):
        batch = requests[start : start + STATIC_SEQUENCES]
        prompt_len = max(len(prompt) for prompt, _ in batch)
        longest = max(params.max_tokens or 0 for _, params in batch)
        batches.append(
            [
                ([0] * (prompt_len - len(prompt)) + prompt, replace(params, max_tokens=longest))
                for prompt, params in batch
            ]
        )
    return batches


def timed(llm: LLM, batches: list[list[Request]]) -> float:
    begun = time.perf_counter()
    for batch in batches:
        serve(llm, batch, float("inf"))
    return time.perf_counter() - begun


if __name__ == "__main__":
    sys.exit(main())
