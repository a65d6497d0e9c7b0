"""Where a decode step's time goes on a GPU, kernel by kernel, and what the host needs meanwhile.

    PYTHONPATH=libs/contract:services/engine:kernels python3 services/engine/benchmarks/gpu/gpu_profile.py

Random weights, as in `gpu_throughput`; prompts of 562 tokens, the mean of its workload; `prompts`: steps that fill
their token budget with them. A step's milliseconds are taken without a profiler; the device's with one, which slows the
host down but not the kernels. `waiting` is the time that the host waits for tokens: what it needs for itself is the
step less that. `floor`: what must be read at least, over what the device copies in a second, the keys and values for
attention and the weights for the matrix products.
"""

from __future__ import annotations

import argparse
import cProfile
import io
import json
import pstats
import random
import sys
import time
from pathlib import Path
from typing import Any

import torch
from benchmarks.gpu.gpu_throughput import COMMON, SHAPES, copy_bandwidth, open_shape, workload
from benchmarks.measure import RESULTS, card, environment, rounded, save
from torch import Tensor
from torch.autograd import DeviceType  # type: ignore[attr-defined]

from llm_engine import LLM, SamplingParams
from llm_engine.checkpoint.families import DecoderConfig, parse_config
from llm_engine.execution.transfer import HostCopy

PROMPT_TOKENS, WARM_UP, STEPS, PROMPT_STEPS, BYTES = 562, 24, 40, 4, 2
GROUPS = {
    "attention": ("paged_attention", "add_splits"),
    "matrix products": ("nvjet", "gemm", "gemv", "splitK", "cutlass", "cublas", "matvec"),
    "norms, activation, rotary embedding": ("rms_norm", "gated", "rope", "silu"),
    "sampling": ("sample_", "ArgMax", "DistributionElementwise"),
}
"""Kinds of kernels by parts of their names; all others are `other`."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, nargs="+", default=["qwen3-0.6b", "llama3-8b"])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 256])
    parser.add_argument("--set", type=json.loads, default={}, help="settings of the engine, as JSON")
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    setting, bandwidth = environment(), copy_bandwidth()
    setting["copy_bytes_per_second"] = rounded(bandwidth)
    shapes: dict[str, Any] = {}
    for shape in arguments.shape:
        config = {**COMMON, **SHAPES[shape]}
        llm, model = open_shape(config, arguments.set), parse_config(config)
        shapes[shape] = {"prompts": profile_prompts(llm)}
        for batch in arguments.batch:
            floor = floor_milliseconds(model, batch, bandwidth)
            shapes[shape][f"batch_{batch}"] = {**profile(llm, batch, arguments.out), "floor_milliseconds": floor}
        del llm
    save(
        f"gpu_profile_{card()}",
        {**setting, "prompt_tokens": PROMPT_TOKENS, "steps": STEPS, "shapes": shapes},
        arguments.out,
    )
    return 0


def profile(llm: LLM, batch: int, out: Path) -> dict[str, Any]:
    """Profile steps of `batch` decodes each."""
    engine = llm.engine
    prompts = [(list(prompt) * 6)[:PROMPT_TOKENS] for prompt, _ in workload(batch, engine.vocab_size)]
    params = SamplingParams(temperature=0.6, ignore_eos=True, max_tokens=1024)
    for index, prompt in enumerate(prompts):
        engine.add_request(str(index), prompt, params, only_final=True)
    while any(not sequence.num_output_tokens for sequence in engine.scheduler.running) or engine.scheduler.waiting:
        engine.step()
    timed_steps(llm, WARM_UP)
    seconds, waiting = timed_steps(llm, STEPS)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as kernels:
        timed_steps(llm, STEPS)
    host = cProfile.Profile()
    host.runcall(timed_steps, llm, STEPS)
    text = io.StringIO()
    pstats.Stats(host, stream=text).sort_stats("tottime").print_stats(45)
    (out / f"gpu_profile_host_{engine.vocab_size}_{batch}.txt").write_text(text.getvalue())
    for index in range(batch):
        engine.abort_request(str(index))
    while engine.has_work:
        engine.step()
    return {
        "step_milliseconds": rounded(seconds / STEPS * 1e3),
        "host_milliseconds": rounded((seconds - waiting) / STEPS * 1e3),
        "waiting_milliseconds": rounded(waiting / STEPS * 1e3),
        **by_kernel(kernels, STEPS),
    }


def profile_prompts(llm: LLM) -> dict[str, Any]:
    """Profile steps that compute only prompts, each a different one, so that nothing is cached."""
    engine = llm.engine
    count = engine.config.max_num_batched_tokens // PROMPT_TOKENS
    random.seed(1)

    def steps() -> tuple[float, float]:
        for index in range(count * PROMPT_STEPS):
            prompt = [random.randrange(engine.vocab_size) for _ in range(PROMPT_TOKENS)]
            engine.add_request(str(index), prompt, SamplingParams(max_tokens=1), only_final=True)
        torch.cuda.synchronize()
        return timed_steps(llm, PROMPT_STEPS + 1)

    steps()
    seconds, _ = steps()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as kernels:
        steps()
    return {
        "prompt_tokens_per_step": count * PROMPT_TOKENS,
        "step_milliseconds": rounded(seconds / PROMPT_STEPS * 1e3),
        **by_kernel(kernels, PROMPT_STEPS),
    }


def floor_milliseconds(model: DecoderConfig, batch: int, bandwidth: float) -> dict[str, float]:
    context = PROMPT_TOKENS + WARM_UP + 3 * STEPS // 2  # in the middle of the steps with the profiler
    kv_bytes = batch * context * 2 * model.kv_size * model.num_layers * BYTES
    weight_bytes = (model.num_linear_parameters + model.vocab_size * model.hidden_size) * BYTES
    return {
        "attention": rounded(kv_bytes / bandwidth * 1e3),
        "matrix products": rounded(weight_bytes / bandwidth * 1e3),
    }


def timed_steps(llm: LLM, count: int) -> tuple[float, float]:
    """Return the seconds that `count` steps take, and the seconds that the host waits for the device."""
    waited, wait = 0.0, HostCopy.wait

    def timed_wait(copy: HostCopy) -> tuple[Tensor, ...]:
        nonlocal waited
        begun = time.perf_counter()
        found = wait(copy)
        waited += time.perf_counter() - begun
        return found

    HostCopy.wait = timed_wait  # type: ignore[method-assign, assignment]
    begun = time.perf_counter()
    for _ in range(count):
        llm.engine.step()
    HostCopy.wait = wait  # type: ignore[method-assign]
    return time.perf_counter() - begun, waited


def by_kernel(profiler: torch.profiler.profile, steps: int) -> dict[str, Any]:
    """Return launches and microseconds of each kernel of a step, the largest first, and the device's busy time."""
    every = profiler.events()  # type: ignore[no-untyped-call]
    events = [event for event in every if event.device_type == DeviceType.CUDA]
    events.sort(key=lambda event: event.time_range.start)
    busy, end = 0.0, float("-inf")
    found: dict[str, list[float]] = {}
    for event in events:
        begin, stop = event.time_range.start, event.time_range.end
        busy += max(0.0, stop - max(begin, end))
        end = max(end, stop)
        totals = found.setdefault(short(event.name), [0, 0.0])
        totals[0] += 1
        totals[1] += stop - begin
    groups = dict.fromkeys((*GROUPS, "other"), 0.0)
    for name, (_, microseconds) in found.items():
        groups[group_of(name)] += microseconds
    span = events[-1].time_range.end - events[0].time_range.start
    return {
        "device_busy_milliseconds": rounded(busy / steps / 1e3),
        "device_span_milliseconds": rounded(span / steps / 1e3),
        "launches": rounded(len(events) / steps),
        "groups_milliseconds": {name: rounded(total / steps / 1e3) for name, total in groups.items()},
        "kernels": [
            {"kernel": name, "launches": rounded(count / steps), "microseconds": rounded(total / steps)}
            for name, (count, total) in sorted(found.items(), key=lambda item: -item[1][1])[:30]
        ],
    }


def short(name: str) -> str:
    """Without return type, namespaces, template and function arguments, but enough to tell kernels apart."""
    plain = name.replace("void ", "").replace("at::native::", "").replace("(anonymous namespace)::", "")
    return plain[:96]


def group_of(kernel: str) -> str:
    return next((group for group, parts in GROUPS.items() if any(part in kernel for part in parts)), "other")


if __name__ == "__main__":
    sys.exit(main())
