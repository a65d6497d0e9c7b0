"""vLLM on this GPU with the workload of `gpu_throughput.py`, for a ratio within one session on one card.

    PYTHONPATH=libs/contract:services/engine:kernels python3 services/engine/benchmarks/gpu/gpu_vllm.py

Needs vLLM (0.26 was used) instead of nothing but torch: random weights of the same shapes, the same requests, the same
limits; CUDA graphs and compilation as vLLM has them by default. Each shape runs in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.gpu.gpu_throughput import (
    BARS,
    BATCH_1_TOKENS,
    COMMON,
    REQUESTS,
    SHAPES,
    SHORTEST,
    TEMPERATURE,
    Request,
    rotated,
    settings_of,
    workload,
)
from benchmarks.measure import RESULTS, card, environment, rounded, save

from llm_engine import SamplingParams


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, nargs="+", default=list(BARS))
    parser.add_argument("--requests", type=int, default=REQUESTS)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--ranks", type=int, default=1, help="tensor-parallel ranks, one per GPU")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    setting, shapes = environment(), []
    for shape in arguments.shape:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as alone:
            shapes.append(alone.submit(measure, shape, arguments).result())
    name = f"gpu_vllm_{card()}" if arguments.ranks == 1 else f"gpu_parallel_vllm_{card()}"
    save(name, {**setting, "requests": arguments.requests, "shapes": shapes}, arguments.out)
    return 0


def measure(shape: str, arguments: argparse.Namespace) -> dict[str, Any]:
    os.environ.setdefault("VLLM_USE_FLASHINFER_SAMPLER", "0")
    import vllm  # pants: no-infer-dep

    begun = time.perf_counter()
    config = {**COMMON, **SHAPES[shape], "architectures": [f"{SHAPES[shape]['model_type'].title()}ForCausalLM"]}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(config))
        llm = vllm.LLM(folder, **settings_of(config), gpu_memory_utilization=0.9, tensor_parallel_size=arguments.ranks)
    ready = time.perf_counter()

    def serve(requests: list[Request]) -> tuple[int, float]:
        prompts = [{"prompt_token_ids": prompt} for prompt, _ in requests]
        params = [
            vllm.SamplingParams(
                temperature=p.temperature, max_tokens=p.max_tokens, ignore_eos=p.ignore_eos, detokenize=False
            )
            for _, p in requests
        ]
        started = time.perf_counter()
        outputs = llm.generate(prompts, params, use_tqdm=False)
        return sum(len(output.outputs[0].token_ids) for output in outputs), time.perf_counter() - started

    def seconds_per_token(number: int) -> float:
        def run(tokens: int) -> float:
            params = SamplingParams(temperature=TEMPERATURE, max_tokens=tokens, ignore_eos=True)
            return serve(rotated([(list(range(tokens, tokens + SHORTEST)), params)], number))[1]

        return (run(BATCH_1_TOKENS) - run(1)) / (BATCH_1_TOKENS - 1)

    runs = arguments.runs
    requests = workload(arguments.requests, config["vocab_size"])
    serve(requests[:8])
    batch_1 = [seconds_per_token(number) for number in range(runs + 1)][1:]
    rates = [tokens / seconds for tokens, seconds in (serve(rotated(requests, n + 1)) for n in range(runs))]
    return {
        "shape": shape,
        "vllm": vllm.__version__,
        "output_tokens_per_second": rounded(median(rates)),
        "output_tokens_per_second_range": [rounded(min(rates)), rounded(max(rates))],
        "tpot_bs1_seconds": rounded(median(batch_1)),
        "tpot_bs1_seconds_range": [rounded(min(batch_1)), rounded(max(batch_1))],
        "runs": runs,
        "tensor_parallel_size": arguments.ranks,
        "start_seconds": rounded(ready - begun),
    }


if __name__ == "__main__":
    sys.exit(main())
