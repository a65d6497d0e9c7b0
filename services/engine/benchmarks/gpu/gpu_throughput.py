"""Output tokens per second on nano-vllm's workload, and seconds per token at batch 1, with random weights.

    PYTHONPATH=libs/contract:services/engine:kernels python3 services/engine/benchmarks/gpu/gpu_throughput.py

256 requests, prompts and answers of 100 to 1,024 tokens, uniform, drawn by Python's generator of seed 0, end of text
ignored, temperature 0.6. Needs no checkpoint, no tokenizer, and of Python packages only torch, triton, numpy,
safetensors, tokenizers and transformers. `--seconds` bounds one shape's time: what is not done by then is left out of
the figures, which say so.

Bandwidth utilisation is the weights' bytes over what the device copies in the time of one token at batch 1.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from benchmarks.measure import RESULTS, card, environment, rounded, save

from llm_engine import LLM, SamplingParams
from llm_engine.checkpoint.families import parse_config

COMMON: dict[str, Any] = {"torch_dtype": "bfloat16", "hidden_act": "silu", "max_position_embeddings": 4096}
SHAPES: dict[str, dict[str, Any]] = {
    "qwen3-0.6b": {
        "model_type": "qwen3", "vocab_size": 151936, "hidden_size": 1024, "intermediate_size": 3072,
        "num_hidden_layers": 28, "num_attention_heads": 16, "num_key_value_heads": 8, "head_dim": 128,
        "rms_norm_eps": 1e-6, "rope_theta": 1e6, "tie_word_embeddings": True,
    },
    "llama3-8b": {
        "model_type": "llama", "vocab_size": 128256, "hidden_size": 4096, "intermediate_size": 14336,
        "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 128,
        "rms_norm_eps": 1e-5, "rope_theta": 5e5, "tie_word_embeddings": False,
    },
    "llama3-70b": {
        "model_type": "llama", "vocab_size": 128256, "hidden_size": 8192, "intermediate_size": 28672,
        "num_hidden_layers": 80, "num_attention_heads": 64, "num_key_value_heads": 8, "head_dim": 128,
        "rms_norm_eps": 1e-5, "rope_theta": 5e5, "tie_word_embeddings": False,
    },
    "tiny": {
        "model_type": "qwen3", "vocab_size": 512, "hidden_size": 64, "intermediate_size": 96,
        "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
        "rms_norm_eps": 1e-6, "rope_theta": 1e4, "tie_word_embeddings": True,
    },
}  # fmt: skip
"""`tiny` is for trying the program out on a CPU."""
REQUESTS, SHORTEST, LONGEST = 256, 100, 1024
TEMPERATURE = 0.6
BATCH_1_TOKENS = 256
Request = tuple[list[int], SamplingParams]
BARS = {"qwen3-0.6b": (23_900, 1.8e-3), "llama3-8b": (9_830, 4.95e-3)}
"""Output tokens per second and seconds per token: what vLLM 0.26 does on one H200."""


def main() -> int:
    arguments = parse()
    setting = environment()
    shapes = [measure(shape, arguments) for shape in arguments.shape]
    setting["cuda"], setting["triton"] = torch.version.cuda, triton_version()
    setting["copy_bytes_per_second"] = rounded(arguments.bandwidth)
    save(f"gpu_throughput_{card()}", {**setting, "requests": arguments.requests, "shapes": shapes}, arguments.out)
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, nargs="+", default=list(BARS))
    parser.add_argument("--requests", type=int, default=REQUESTS)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=200.0, help="for all of one shape, without loading it")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument(
        "--set", type=json.loads, default={}, help='settings of the engine, as JSON: {"dtype": "float32"}'
    )
    arguments = parser.parse_args()
    arguments.bandwidth = copy_bandwidth()
    return arguments


def measure(
    shape: str, arguments: argparse.Namespace, at_end: Callable[[LLM], dict[str, float]] = lambda llm: {}
) -> dict[str, Any]:
    """Measure the shape. `at_end` measures more with the engine before it is closed."""
    started = time.perf_counter()
    config = {**COMMON, **SHAPES[shape]}
    llm = open_shape(config, arguments.set)
    ready = time.perf_counter()
    deadline = ready + arguments.seconds
    requests = workload(arguments.requests, config["vocab_size"])
    serve(llm, requests[:8], ready + arguments.seconds / 10)  # compiles kernels
    batch_1 = [seconds_per_token(llm, number) for number in range(arguments.runs + 1)][1:]
    runs: list[dict[str, float]] = []
    while len(runs) < arguments.runs and (not runs or runs[-1]["seconds"] < deadline - time.perf_counter()):
        runs.append(serve(llm, rotated(requests, len(runs) + 1), deadline))
    model = parse_config(config)
    itemsize = llm.engine._runner._memory.device[0].element_size()
    weight_bytes = (model.num_linear_parameters + model.vocab_size * model.hidden_size) * itemsize
    rates, tpot = [run["output_tokens_per_second"] for run in runs], median(batch_1)
    found = {
        "shape": shape,
        "output_tokens_per_second": rounded(median(rates)),
        "output_tokens_per_second_range": [rounded(min(rates)), rounded(max(rates))],
        "tpot_bs1_seconds": rounded(tpot),
        "tpot_bs1_seconds_range": [rounded(min(batch_1)), rounded(max(batch_1))],
        "bandwidth_utilisation_bs1": rounded(weight_bytes / tpot / arguments.bandwidth),
        "complete": all(run["complete"] for run in runs),
        "runs": runs,
        "start_seconds": rounded(ready - started),
        "kv_blocks": llm.engine.num_blocks,
        "settings": arguments.set,
        **at_end(llm),
    }
    llm.engine.close()
    if shape in BARS:
        rate, seconds = BARS[shape]
        found["ratio_to_vllm_throughput"] = rounded(median(rates) / rate)
        found["ratio_to_vllm_tpot"] = rounded(tpot / seconds)
    return found


def open_shape(config: dict[str, Any], settings: dict[str, Any]) -> LLM:
    gc.collect()  # the shape before
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(config))
        return LLM(folder, **{**settings_of(config), **settings})


def settings_of(config: dict[str, Any]) -> dict[str, Any]:
    gpu = torch.cuda.is_available()
    return {
        "load_format": "dummy",
        "skip_tokenizer_init": True,
        "max_num_seqs": 256,
        "max_num_batched_tokens": 16_384 if gpu else 1024,
        "max_model_len": 2 * LONGEST if gpu else config["max_position_embeddings"],
    }


def workload(count: int, vocab_size: int) -> list[Request]:
    """nano-vllm's bench.py, call by call."""
    random.seed(0)
    prompts = [
        [random.randint(0, min(10_000, vocab_size - 1)) for _ in range(random.randint(SHORTEST, LONGEST))]
        for _ in range(count)
    ]
    params = [
        SamplingParams(temperature=TEMPERATURE, ignore_eos=True, max_tokens=random.randint(SHORTEST, LONGEST))
        for _ in range(count)
    ]
    return list(zip(prompts, params, strict=True))


def rotated(requests: list[Request], number: int) -> list[Request]:
    """Rotate the prompts by some tokens, so that no run finds the prompts of the last one in the prefix cache."""
    return [([*prompt[number:], *prompt[:number]], params) for prompt, params in requests]


def serve(llm: LLM, requests: list[Request], deadline: float) -> dict[str, float]:
    """All at once; at the deadline what still runs is aborted, and counts as far as it came."""
    engine, tokens = llm.engine, 0
    begun = time.perf_counter()
    for index, (prompt, params) in enumerate(requests):
        engine.add_request(str(index), prompt, params, only_final=True)
    while engine.has_work and time.perf_counter() < deadline:
        tokens += sum(output.num_output_tokens for output in engine.step())
    seconds = time.perf_counter() - begun
    unfinished = [*engine.scheduler.running, *engine.scheduler.waiting]
    tokens += sum(sequence.num_output_tokens for sequence in unfinished)
    for index in range(len(requests)):
        engine.abort_request(str(index))
    while engine.has_work:
        engine.step()
    return {
        "output_tokens": tokens,
        "seconds": rounded(seconds),
        "output_tokens_per_second": rounded(tokens / seconds),
        "complete": not unfinished,
    }


def seconds_per_token(llm: LLM, number: int) -> float:
    """Measure one request alone after its first token: the time of many tokens less the time of one."""

    def run(count: int) -> float:
        params = SamplingParams(temperature=TEMPERATURE, max_tokens=count, ignore_eos=True)
        prompt = rotated([(list(range(count, count + SHORTEST)), params)], number)
        begun = time.perf_counter()
        serve(llm, prompt, float("inf"))
        return time.perf_counter() - begun

    return (run(BATCH_1_TOKENS) - run(1)) / (BATCH_1_TOKENS - 1)


def copy_bandwidth() -> float:
    """Bytes read and written per second when memory is copied on the device."""
    gpu = torch.cuda.is_available()
    source = torch.ones((2 << 30) if gpu else (64 << 20), dtype=torch.uint8, device="cuda" if gpu else "cpu")
    target = torch.empty_like(source)

    def copy() -> None:
        target.copy_(source)
        if gpu:
            torch.cuda.synchronize()

    return 2 * source.numel() / min(timed(copy) for _ in range(10))


def timed(call: Callable[[], None]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def triton_version() -> str | None:
    try:
        import triton
    except ImportError:
        return None
    return str(triton.__version__)


if __name__ == "__main__":
    sys.exit(main())
