"""Record on a GPU what exercise 1.5 reads: a profile of three decode steps, and nvidia-smi while one block spins.

PYTHONPATH=libs/contract:services/engine:kernels python3 courses/01-foundation/ex05_bottleneck/record.py FOLDER
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from llm_engine import LLM, SamplingParams

ROOT = Path(__file__).resolve().parents[3]
BATCH, PROMPT_TOKENS, WARM_UP, STEPS, PROFILED = 8, 64, 30, 40, 3
QUERY = "timestamp,utilization.gpu,utilization.memory,memory.used,power.draw,clocks.sm"
CATEGORIES = ("kernel", "gpu_memcpy", "cpu_op", "cuda_runtime", "ac2g")


def main() -> int:
    folder = Path(sys.argv[1])
    (folder / "trace.json").write_text(json.dumps(profile(), separators=(",", ":")).replace("},{", "},\n{") + "\n")
    (folder / "smi.csv").write_text(spin())
    return 0


def profile() -> dict[str, Any]:
    """Return three decode steps as the profiler's trace, and a step's milliseconds without a profiler."""
    engine = LLM(str(ROOT / "models" / "main"), num_gpu_blocks_override=512, max_model_len=512).engine
    params = SamplingParams(temperature=0.7, seed=1, max_tokens=400, ignore_eos=True)
    for index in range(BATCH):
        engine.add_request(str(index), list(range(100 + index, 100 + index + PROMPT_TOKENS)), params)
    for _ in range(WARM_UP):
        engine.step()
    torch.cuda.synchronize()
    begun = time.perf_counter()
    for _ in range(STEPS):
        engine.step()
    torch.cuda.synchronize()
    milliseconds = (time.perf_counter() - begun) / STEPS * 1e3
    activities = [torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
    with torch.profiler.profile(activities=activities) as profiler:
        for _ in range(PROFILED):
            engine.step()
        torch.cuda.synchronize()
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        profiler.export_chrome_trace(file.name)
        trace = json.loads(Path(file.name).read_text(encoding="utf-8"))
    device = torch.cuda.get_device_properties(0)
    return {
        "device": device.name,
        "num_sms": device.multi_processor_count,
        "torch": torch.__version__,
        "step_milliseconds": float(f"{milliseconds:.4g}"),
        "steps": PROFILED,
        "traceEvents": [essence(event) for event in trace["traceEvents"] if event.get("cat") in CATEGORIES],
    }


def essence(event: dict[str, Any]) -> dict[str, Any]:
    """Return the event without the arguments and the ends of long names that the exercise does not need."""
    kept: dict[str, Any] = {key: event[key] for key in ("ph", "cat", "pid", "tid", "ts", "dur") if key in event}
    arguments = {key: event["args"][key] for key in ("grid", "stream") if key in event.get("args", {})}
    return {**kept, "name": event["name"][:80], **({"args": arguments} if arguments else {})}


def spin() -> str:
    """Return what nvidia-smi reports while a kernel of one block keeps one multiprocessor busy, and then none does."""
    command = ("nvidia-smi", f"--query-gpu={QUERY}", "--format=csv", "-lms", "100")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as smi:
        until = time.perf_counter() + 3
        while time.perf_counter() < until:
            torch.cuda._sleep(200_000_000)  # type: ignore[no-untyped-call]
            torch.cuda.synchronize()
        time.sleep(1)
        smi.terminate()
        return smi.communicate()[0]


if __name__ == "__main__":
    sys.exit(main())
