"""A doctor for installations: from what the tools of a machine print to the first thing to repair.

Three versions of CUDA meet on a machine. The driver came with one (`nvidia-smi` prints it), PyTorch was built with one
(`torch.version.cuda`) and brings its libraries along, and the toolkit (`nvcc`) is needed only to build from source.
"""

from __future__ import annotations

import json
import re
import urllib.request
from dataclasses import dataclass

Version = tuple[int, ...]

PYTHONS = ((3, 11), (3, 15))
"""vLLM 0.32 runs from the first on, and below the second."""
MINIMUM_DRIVER = {11: 450, 12: 525, 13: 580}
"""Major version of CUDA to the oldest driver branch that runs programs built with any of its minor versions.

https://docs.nvidia.com/deploy/cuda-compatibility/minor-version-compatibility.html
"""
PROBLEMS = {
    "python": "make an environment with a Python that vLLM has wheels for",
    "no gpu": "no NVIDIA driver is loaded here: use the engine of this repository, or vLLM for CPUs (./lab vllm)",
    "container": "the host has a driver, and the container does not see it: start it with --gpus all",
    "driver not loaded": "load the kernel module (modprobe nvidia), or install the driver again after a new kernel",
    "driver updated": "the driver's library is newer than its loaded module: reboot",
    "no devices": "the driver runs and sees no GPU: check MIG, the slot, and what the container may use",
    "hidden": "CUDA_VISIBLE_DEVICES hides every GPU: unset it",
    "torch for cpus": "install PyTorch from an index for CUDA",
    "old driver": "update the driver, or install a PyTorch built with an older CUDA",
    "no kernels": "this PyTorch has no code for this GPU: install one built with a newer CUDA",
    "no compiler": "install gcc or clang: Triton and the engine's CPU kernels need one as well",
    "no nvcc": "install the CUDA toolkit, if you want to build vLLM from source; wheels do without",
    "other toolkit": "nvcc and PyTorch have CUDA versions of different majors: extensions will not build",
}
"""Each problem and its remedy, in the order in which they are repaired."""
BUILD_ONLY = ("no compiler", "no nvcc", "other toolkit")


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """The output of a machine's tools as text; None for a command or a file that is not there."""

    python: str
    torch_cuda: str | None = None
    """`torch.version.cuda`; None if PyTorch was built for CPUs."""
    torch_arch: tuple[str, ...] = ()
    """`torch.cuda.get_arch_list()`: `sm_90` is machine code, `compute_90` is PTX."""
    smi: str | None = None
    """`nvidia-smi`, with its errors."""
    capability: str | None = None
    """`nvidia-smi --query-gpu=compute_cap --format=csv,noheader`: `9.0`."""
    module: str | None = None
    """/proc/driver/nvidia/version. A container sees its host's."""
    nvcc: str | None = None
    """`nvcc --version`"""
    compiler: str | None = None
    """The first line of `gcc --version`."""
    visible: str | None = None
    """The environment's CUDA_VISIBLE_DEVICES."""


def version(text: str) -> Version:
    """Return (580, 159, 4) for `580.159.04`: tuples compare as versions do, texts and floats do not."""
    # region exercise: one integer for each part
    return tuple(int(part) for part in text.split("."))
    # endregion


def driver_of(smi: str) -> Version | None:
    """Return the driver's version from nvidia-smi's table; None if there is no table."""
    # region exercise: `Driver Version: …`
    found = re.search(r"Driver Version: ([\d.]+)", smi)
    return version(found[1]) if found else None
    # endregion


def toolkit_of(nvcc: str) -> Version | None:
    """Return the toolkit's (major, minor) from the output of `nvcc --version`."""
    # region exercise: `release 13.0, V13.0.88`
    found = re.search(r"release ([\d.]+)", nvcc)
    return version(found[1]) if found else None
    # endregion


def driver_runs(driver: Version, cuda: Version) -> bool:
    """Return whether the driver runs programs built with this CUDA; False for a major that the table does not know.

    A driver runs every older CUDA. Since CUDA 11 it also runs newer minor versions of a major that it knows.
    """
    # region exercise: one comparison with MINIMUM_DRIVER
    return cuda[0] in MINIMUM_DRIVER and driver[0] >= MINIMUM_DRIVER[cuda[0]]
    # endregion


def has_kernels(arch: tuple[str, ...], capability: str) -> bool:
    """Return whether a build with these architectures runs on a GPU of this compute capability (`8.6`).

    Machine code `sm_80` runs on the same major version from its own minor version on: on 8.0, 8.6 and 8.9, but neither
    on 7.5 nor on 9.0. The driver compiles PTX (`compute_80`) for any capability from 8.0 on. `sm_120` is 12.0. Code for
    one capability's own features (`sm_90a`) runs on that one only; `sm_100f` counts as `sm_100`.
    """
    # region exercise: the last digit is the minor version
    device = version(capability)
    for each in arch:
        kind, digits, suffix = re.findall(r"^(sm|compute)_(\d+)([af]?)$", each)[0]
        code = (int(digits[:-1]), int(digits[-1]))
        if suffix == "a":
            fits = code == device
        elif kind == "compute":
            fits = code <= device
        else:
            fits = code[0] == device[0] and code[1] <= device[1]
        if fits:
            return True
    return False
    # endregion


def gpu_problem(machine: Machine) -> str | None:
    """Return why PyTorch cannot compute on this machine's GPU, the first to be repaired; None if it can.

    The driver comes first, then the GPU's visibility, then PyTorch. nvidia-smi's errors contain `Driver/library version
    mismatch`, `couldn't communicate` or `No devices were found`. A list that is empty or begins with -1 hides all GPUs.
    """
    # region exercise: go through PROBLEMS from "no gpu" to "no kernels"
    if machine.smi is None:
        return "no gpu" if machine.module is None else "container"
    errors = {
        "Driver/library version mismatch": "driver updated",
        "couldn't communicate": "driver not loaded",
        "No devices were found": "no devices",
    }
    for text, problem in errors.items():
        if text in machine.smi:
            return problem
    if machine.visible is not None and machine.visible.strip().split(",")[0] in ("", "-1"):
        return "hidden"
    if machine.torch_cuda is None:
        return "torch for cpus"
    driver = driver_of(machine.smi)
    if driver is None or not driver_runs(driver, version(machine.torch_cuda)):
        return "old driver"
    if machine.capability is not None and not has_kernels(machine.torch_arch, machine.capability):
        return "no kernels"
    return None
    # endregion


def diagnose(machine: Machine) -> list[str]:
    """Return the machine's problems, keys of PROBLEMS in its order.

    Of those with the GPU only the first: the others may vanish with it. nvcc is looked at if PyTorch is built for CUDA:
    without one it is missing; one of another major than PyTorch's is the wrong one, one of another minor will do.
    """
    # region exercise: Python, the GPU, the compiler, nvcc
    found = []
    if not PYTHONS[0] <= version(machine.python)[:2] < PYTHONS[1]:
        found.append("python")
    if (problem := gpu_problem(machine)) is not None:
        found.append(problem)
    if machine.compiler is None:
        found.append("no compiler")
    if machine.torch_cuda is not None:
        toolkit = toolkit_of(machine.nvcc) if machine.nvcc is not None else None
        if toolkit is None:
            found.append("no nvcc")
        elif toolkit[0] != version(machine.torch_cuda)[0]:
            found.append("other toolkit")
    return found
    # endregion


def answer(url: str, prompt: str) -> tuple[str, str]:
    """Ask a server at `http://host:port` for its model and for the eight likeliest tokens after a prompt.

    Return (model, text). The same lines ask vLLM and this engine: GET /v1/models, then POST /v1/completions.
    """
    # region exercise: the model is `data[0].id`; send model, prompt, max_tokens and temperature as JSON
    with urllib.request.urlopen(f"{url}/v1/models", timeout=30) as response:
        model = json.load(response)["data"][0]["id"]
    body = json.dumps({"model": model, "prompt": prompt, "max_tokens": 8, "temperature": 0}).encode()
    request = urllib.request.Request(f"{url}/v1/completions", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as response:
        return model, json.load(response)["choices"][0]["text"]
    # endregion
