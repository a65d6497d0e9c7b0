"""Record what nvidia-smi says while one GPU thread sleeps, and while the engine decodes with batches of 1 and 256.

PYTHONPATH=libs/contract:services/engine:kernels python3 services/engine/benchmarks/gpu/gpu_utilisation.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import torch
from benchmarks.gpu.gpu_throughput import COMMON, SHAPES, open_shape, workload
from benchmarks.measure import environment, save

from llm_engine import SamplingParams

FIELDS = "utilization.gpu,utilization.memory,power.draw"
PARAMS = SamplingParams(ignore_eos=True, max_tokens=1400)
SECONDS = 5


def main() -> int:
    setting = environment()
    loads: dict[str, Any] = {"one thread asleep": observe(sleep)}
    for batch in (1, 256):
        engine = open_shape({**COMMON, **SHAPES["llama3-8b"]}, {}).engine
        for index, (prompt, _) in enumerate(workload(batch, engine.vocab_size)):
            engine.add_request(str(index), prompt[:512], PARAMS, only_final=True)
        while engine.scheduler.waiting or any(not each.num_output_tokens for each in engine.scheduler.running):
            engine.step()
        loads[f"batch {batch}"] = observe(engine.step)
        del engine
    save("gpu_utilisation", {**setting, "loads": loads})
    return 0


def observe(load: Callable[[], object]) -> dict[str, float]:
    """Call `load` for SECONDS. Return the medians of nvidia-smi's readings, and the calls per second."""
    command = ("nvidia-smi", f"--query-gpu={FIELDS}", "--format=csv,noheader,nounits", "-lms", "250")
    smi, started, calls = subprocess.Popen(command, stdout=subprocess.PIPE, text=True), time.monotonic(), 0
    while time.monotonic() < started + SECONDS:
        load()
        calls += 1
    smi.terminate()
    rows = [line.split(",") for line in smi.communicate()[0].splitlines()[12:-1]]  # after it has caught up
    readings = {
        name: statistics.median(map(float, column))
        for name, column in zip(FIELDS.split(","), zip(*rows, strict=True), strict=True)
    }
    return {**readings, "calls_per_second": round(calls / SECONDS, 1)}


def sleep() -> None:
    """Keep one thread of one block busy with counting clock cycles."""
    torch.cuda._sleep(100_000_000)  # type: ignore[no-untyped-call]
    torch.cuda.synchronize()


if __name__ == "__main__":
    sys.exit(main())
