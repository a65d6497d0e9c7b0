"""One machine that was recorded, ten that differ from it in one thing, this machine, and a server on it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from exercise import (
    BUILD_ONLY,
    PROBLEMS,
    Machine,
    answer,
    diagnose,
    driver_of,
    driver_runs,
    gpu_problem,
    has_kernels,
    toolkit_of,
    version,
)

from llm_course.paths import MODELS

RECORDED = Path(__file__).parents[1] / "recorded"
WHEEL = ("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120")
"""torch.cuda.get_arch_list() of PyTorch 2.11 for CUDA 13.0."""
NO_DRIVER = (
    "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. "
    "Make sure that the latest NVIDIA driver is installed and running.\n"
)
MISMATCH = "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 580.159\n"


def recorded(name: str) -> str:
    return (RECORDED / name).read_text(encoding="utf-8")


def h200() -> Machine:
    """Return the machine that the results on the H200 come from."""
    return Machine(
        python="3.12.3",
        torch_cuda="13.0",
        torch_arch=WHEEL,
        smi=recorded("nvidia-smi.txt"),
        capability="9.0",
        module="NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.159.04  Release Build",
        nvcc=recorded("nvcc.txt"),
        compiler=recorded("gcc.txt"),
    )


def with_driver(text: str, cuda: str) -> str:
    """Return the recorded table as another driver would print it."""
    return recorded("nvidia-smi.txt").replace("580.159.04", text).replace("CUDA Version: 13.0", f"CUDA Version: {cuda}")


MACHINES: list[tuple[dict[str, Any], str]] = [
    ({"smi": with_driver("550.54.15", "12.4")}, "old driver"),
    ({"smi": None}, "container"),
    ({"smi": None, "module": None}, "no gpu"),
    ({"smi": NO_DRIVER, "module": None}, "driver not loaded"),
    ({"smi": MISMATCH}, "driver updated"),
    ({"smi": "No devices were found\n"}, "no devices"),
    ({"visible": ""}, "hidden"),
    ({"visible": "-1"}, "hidden"),
    ({"torch_cuda": None, "torch_arch": ()}, "torch for cpus"),
    ({"capability": "7.0"}, "no kernels"),
]


def test_versions_compare_as_numbers() -> None:
    """Driver 525.60.13 is newer than 525.9, and CUDA 12.10 is newer than 12.9."""
    assert version("580.159.04") == (580, 159, 4)
    assert version("525.60.13") > version("525.9")
    assert version("12.10") > version("12.9")


def test_the_recorded_versions() -> None:
    """nvidia-smi's table and nvcc's release of the recorded machine; an error is no table."""
    assert driver_of(recorded("nvidia-smi.txt")) == (580, 159, 4)
    assert toolkit_of(recorded("nvcc.txt")) == (13, 0)
    assert driver_of(NO_DRIVER) is None


def test_a_driver_runs_newer_minor_versions() -> None:
    """A driver of branch 550 came with CUDA 12.4. It runs 11.8, 12.1 and 12.9, but not 13.0, nor a CUDA 99."""
    runs = [driver_runs((550, 54, 15), cuda) for cuda in ((11, 8), (12, 1), (12, 9), (13, 0), (99, 0))]
    assert runs == [True, True, True, False, False]


def test_the_oldest_driver_of_a_toolkit(record_property: Callable[[str, object], None]) -> None:
    """CUDA 12.8 was released with drivers of branch 570, and runs on much older ones."""
    oldest = next((branch for branch in range(400, 700) if driver_runs((branch, 0), (12, 8))), None)
    record_property("prediction", oldest)
    assert oldest == 525


@pytest.mark.parametrize(
    ("arch", "runs_on"),
    [
        (("sm_80",), ["8.0", "8.6", "8.9"]),
        (("sm_86", "sm_90"), ["8.6", "8.9", "9.0"]),
        (("sm_75", "compute_80"), ["7.5", "8.0", "8.6", "8.9", "9.0", "10.0", "12.0"]),
        (("sm_90a",), ["9.0"]),
        (("sm_100f", "sm_120"), ["10.0", "12.0"]),
        ((), []),
    ],
    ids=["sm", "two-sm", "ptx", "a", "f", "none"],
)
def test_which_gpus_a_build_has_code_for(arch: tuple[str, ...], runs_on: list[str]) -> None:
    """Machine code runs within its major version from its minor on, PTX on all that is newer, `a` on one only."""
    capabilities = ["7.0", "7.5", "8.0", "8.6", "8.9", "9.0", "10.0", "12.0"]
    assert [each for each in capabilities if has_kernels(arch, each)] == runs_on


def test_a_good_machine_has_no_problem() -> None:
    """The recorded machine: an H200, driver 580, PyTorch for CUDA 13.0, nvcc 13.0, GCC 13."""
    assert diagnose(h200()) == []


@pytest.mark.parametrize(("change", "problem"), MACHINES, ids=[problem.replace(" ", "-") for _, problem in MACHINES])
def test_ten_machines_without_a_usable_gpu(change: dict[str, Any], problem: str) -> None:
    """Each differs in one thing from the recorded machine: its problem, and no other of the GPU."""
    assert gpu_problem(replace(h200(), **change)) == problem


def test_what_is_wrong_first_is_said_first() -> None:
    """An old driver under a hidden GPU under a PyTorch for CPUs: visibility, then PyTorch, then the driver."""
    machine = replace(h200(), smi=with_driver("470.82.01", "11.4"), visible="", torch_cuda=None, torch_arch=())
    found = [gpu_problem(machine)]
    machine = replace(machine, visible=None)
    found.append(gpu_problem(machine))
    found.append(gpu_problem(replace(machine, torch_cuda="13.0", torch_arch=WHEEL)))
    assert found == ["hidden", "torch for cpus", "old driver"]


def test_one_visible_gpu_is_enough() -> None:
    """CUDA_VISIBLE_DEVICES=1 and =0,1 hide none of the GPUs that they name; a list ends at -1, so -1,0 is empty."""
    assert [gpu_problem(replace(h200(), visible=each)) for each in ("1", "0,1", "-1,0")] == [None, None, "hidden"]


def test_wheels_need_no_toolkit() -> None:
    """Without nvcc vLLM cannot be built, and runs all the same: the GPU has no problem."""
    machine = replace(h200(), nvcc=None)
    assert (gpu_problem(machine), diagnose(machine)) == (None, ["no nvcc"])


def test_another_minor_version_of_nvcc_will_do() -> None:
    """nvcc 13.1 builds extensions for a PyTorch of CUDA 13.0; nvcc 12.8 does not."""
    text = recorded("nvcc.txt")
    found = [
        diagnose(replace(h200(), nvcc=text.replace("release 13.0", f"release {each}"))) for each in ("13.1", "12.8")
    ]
    assert found == [[], ["other toolkit"]]


def test_python_has_two_bounds() -> None:
    """3.9 and 3.10 are too old for vLLM 0.32, 3.15 is too new, and 3.11 is newer than 3.9."""
    versions = ("3.9.18", "3.10.14", "3.11.7", "3.14.0", "3.15.0")
    assert [diagnose(replace(h200(), python=each)) for each in versions] == [["python"], ["python"], [], [], ["python"]]


def test_a_laptop_needs_no_nvcc() -> None:
    """No GPU, PyTorch for CPUs, a compiler: one thing to say, and it says what to use."""
    laptop = Machine(python="3.11.7", compiler="g++ (Debian 12.2.0-14) 12.2.0")
    assert diagnose(laptop) == ["no gpu"]
    assert diagnose(replace(laptop, compiler=None)) == ["no gpu", "no compiler"]


def test_this_machine() -> None:
    """The doctor and PyTorch agree on whether this machine's GPU can be used."""
    import torch

    found = diagnose(here())
    assert found == [problem for problem in PROBLEMS if problem in found]
    assert torch.cuda.is_available() == all(problem in (*BUILD_ONLY, "python") for problem in found)


def test_a_server_answers() -> None:
    """The engine serves zoo/llama on a free port: the same question twice gets the same eight tokens."""
    with serving() as url:
        first, second = answer(url, "def main():"), answer(url, "def main():")
    assert first[0] == "zoo-llama"
    assert first[1]
    assert second == first


def here() -> Machine:
    """Return the machine that the tests run on."""
    import torch

    def run(*command: str) -> str | None:
        if shutil.which(command[0]) is None:
            return None
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        return done.stdout + done.stderr

    module = Path("/proc/driver/nvidia/version")
    capability = run("nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader")
    return Machine(
        python=".".join(map(str, sys.version_info[:3])),
        torch_cuda=torch.version.cuda,
        torch_arch=tuple(torch.cuda.get_arch_list()),
        smi=run("nvidia-smi"),
        capability=None if capability is None else capability.strip().splitlines()[0],
        module=module.read_text(encoding="utf-8") if module.exists() else None,
        nvcc=run("nvcc", "--version"),
        compiler=run("gcc", "--version") or run("clang", "--version"),
        visible=os.environ.get("CUDA_VISIBLE_DEVICES"),
    )


@contextmanager
def serving() -> Iterator[str]:
    """Serve a small model in a thread and yield the server's URL."""
    import uvicorn

    from llm_engine.engine import Engine
    from llm_engine.metrics import EngineMetrics
    from llm_engine.server.app import build_app
    from llm_engine.settings import EngineConfig

    metrics = EngineMetrics("zoo-llama")
    config = EngineConfig(str(MODELS / "zoo" / "llama"), num_gpu_blocks_override=32, max_model_len=64)
    app = build_app(Engine(config, [metrics]), metrics, "zoo-llama")
    app.state.intake.start()
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until = time.monotonic() + 60
        while not server.started and thread.is_alive() and time.monotonic() < until:
            time.sleep(0.02)
        assert server.started
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()
