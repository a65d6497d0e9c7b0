"""The engine on several GPUs: throughput and seconds per token by number of tensor-parallel ranks, with random weights.

    PYTHONPATH=libs/contract:services/engine:kernels python3 services/engine/benchmarks/gpu/gpu_parallel.py

The workload and the shapes are those of `gpu_throughput.py`; every (shape, degree) runs in a process of its own.
`--check` compares greedy tokens in float32 of one rank and of several instead, on the shipped models.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import torch
from benchmarks.gpu.gpu_throughput import SHAPES, copy_bandwidth, measure, rotated
from benchmarks.measure import MODELS, RESULTS, card, environment, rounded, save

from llm_engine import LLM, SamplingParams

BATCH = 64
PROMPT, SHORT, LONG = 100, 16, 144
"""Prompt of every request, and the two lengths of answers whose difference in time is that of the decodes."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, nargs="+", default=["qwen3-0.6b", "llama3-8b"])
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--requests", type=int, default=256)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=60.0, help="for all of one shape, without loading it")
    parser.add_argument("--check", action="store_true", help="compare tokens instead of measuring")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    if arguments.check:
        return check(arguments.ranks)
    setting = environment()
    bandwidth = alone(copy_bandwidth)
    rows = []
    for shape in arguments.shape:
        for ranks in arguments.ranks:
            limits = {"requests": arguments.requests, "runs": arguments.runs, "seconds": arguments.seconds}
            rows.append(alone(measured, shape, ranks, {**limits, "bandwidth": bandwidth}))
            print(rows[-1], file=sys.stderr, flush=True)
    save(f"gpu_parallel_{card()}", {**setting, "shapes": with_ratios(rows)}, arguments.out)
    return 0


def alone(function: Any, *arguments: Any) -> Any:
    """Call the function in a process of its own: a process can be a rank of one model only."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(function, *arguments).result()


def measured(shape: str, ranks: int, limits: dict[str, Any]) -> dict[str, Any]:
    settings = {"tensor_parallel_size": ranks}
    found = measure(shape, argparse.Namespace(**limits, set=settings), at_end=seconds_per_step)
    return {**found, "tensor_parallel_size": ranks}


def seconds_per_step(llm: LLM) -> dict[str, float]:
    """Measure the time per token of `BATCH` requests that decode together."""

    def run(number: int, tokens: int) -> float:
        params = SamplingParams(temperature=0.6, max_tokens=tokens, ignore_eos=True)
        prompts = [list(range(first, first + PROMPT)) for first in range(BATCH)]
        requests = rotated([(prompt, params) for prompt in prompts], number)
        begun = time.perf_counter()
        for index, (prompt, each) in enumerate(requests):
            llm.engine.add_request(str(index), prompt, each, only_final=True)
        while llm.engine.has_work:
            llm.engine.step()
        return time.perf_counter() - begun

    times = [(run(number, LONG) - run(number + 50, SHORT)) / (LONG - SHORT) for number in range(4)][1:]
    return {f"tpot_bs{BATCH}_seconds": rounded(median(times))}


def with_ratios(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add each row's ratios to the row of one rank of the same shape."""
    ones = {row["shape"]: row for row in rows if row["tensor_parallel_size"] == 1}
    names = ("output_tokens_per_second", "tpot_bs1_seconds", f"tpot_bs{BATCH}_seconds")
    for row in rows:
        if one := ones.get(row["shape"]):
            row["ratio_to_one_rank"] = {name: rounded(row[name] / one[name]) for name in names}
    return rows


def check(degrees: list[int]) -> int:
    """Return 0 if greedy tokens in float32 are the same with all numbers of ranks."""
    models = [MODELS / "main", *(MODELS / "zoo" / name for name in ("llama", "qwen3", "gemma"))]
    wrong = 0
    for model in models:
        answers = [alone(greedy, str(model), ranks) for ranks in degrees]
        same = all(answer == answers[0] for answer in answers)
        wrong += not same
        print(f"{model.name}: {sum(map(len, answers[0]))} greedy tokens are {'equal' if same else 'NOT equal'}")
    return 1 if wrong else 0


def greedy(model: str, ranks: int) -> list[list[int]]:
    llm = LLM(model, tensor_parallel_size=ranks, dtype="float32", num_gpu_blocks_override=400)
    torch.manual_seed(0)
    prompts = [torch.randint(5, 500, (length,)).tolist() for length in (1, 33, 150, 70, 5, 260)]
    outputs = llm.generate(prompts, SamplingParams(temperature=0, max_tokens=60, ignore_eos=True), use_tqdm=False)
    llm.engine.close()
    return [output.outputs[0].token_ids for output in outputs]


if __name__ == "__main__":
    sys.exit(main())
