"""The machine that a result was measured on."""

from __future__ import annotations

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version

import torch

from llm_kernels.cuda.build import nvcc


def environment() -> dict[str, object]:
    found: dict[str, object] = {"python": platform.python_version(), "torch": torch.__version__, "triton": _triton()}
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        found |= {
            "gpu": properties.name,
            "capability": f"{properties.major}.{properties.minor}",
            "multiprocessors": properties.multi_processor_count,
            "memory_bytes": properties.total_memory,
            "l2_bytes": getattr(properties, "L2_cache_size", None),
            "cuda": torch.version.cuda,
            "nvidia_smi": _output(
                "nvidia-smi", "--query-gpu=driver_version,clocks.sm,clocks.mem,power.limit", "--format=csv,noheader"
            ),
        }
    compiler = nvcc()
    found["nvcc"] = _output(compiler, "--version").splitlines()[-1:] if compiler else None
    return found


def _triton() -> str | None:
    try:
        return version("triton")
    except PackageNotFoundError:
        return None


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=20).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return ""
