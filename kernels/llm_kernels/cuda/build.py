"""CUDA sources, each compiled to a shared library with nvcc.

A source is plain CUDA C++ with `extern "C"` launchers. They take device pointers, sizes and a stream, and return a
cudaError_t. No PyTorch headers: a build takes seconds and outlives torch upgrades.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from llm_kernels.errors import BuildError
from llm_kernels.native import build_key, cached_library, run_compiler

log = logging.getLogger("llm_kernels")

SOURCES = Path(__file__).parent
FLAGS = ("-O3", "-std=c++17", "-gencode=arch=compute_90a,code=sm_90a", "--expt-relaxed-constexpr", "-lineinfo")


@dataclass(frozen=True)
class Resources:
    """The report of ptxas about one kernel."""

    kernel: str
    registers: int
    spill_stores_bytes: int
    spill_loads_bytes: int
    static_shared_bytes: int


@functools.cache
def nvcc() -> str | None:
    """Return nvcc's path: $LLM_KERNELS_NVCC, the PATH, or CUDA's usual place; None without it."""
    for candidate in (os.environ.get("LLM_KERNELS_NVCC"), shutil.which("nvcc"), "/usr/local/cuda/bin/nvcc"):
        if candidate and Path(candidate).is_file():
            return candidate
    return None


@functools.cache
def why_no_compiler() -> str | None:
    if nvcc() is not None:
        return None
    reason = "nvcc was not found: put it on the PATH or name it in LLM_KERNELS_NVCC"
    log.warning("%s; CUDA kernels fall back to Triton", reason)
    return reason


def key(source: Path, flags: tuple[str, ...] = FLAGS) -> str:
    """Return the hash of the source, the files it can include (`cuda/` and its own headers), flags and compiler."""
    included = sorted({*SOURCES.glob("*.cu*"), *source.parent.glob("*.cuh")} - {source})
    return build_key((*flags, _version()), (source, *included))


def build(source: Path, flags: tuple[str, ...] = FLAGS) -> Path:
    """Return the shared library of `source`, from the cache or compiled now. Raises BuildError."""

    def compile_to(target: Path) -> None:
        _run(source, ["-shared", "-Xcompiler", "-fPIC", *flags, "-o", str(target)])

    return cached_library("cuda", f"{source.stem}-{key(source, flags)}", compile_to)


@functools.cache
def load(source: Path) -> ctypes.CDLL:
    return ctypes.CDLL(str(build(source)))


def compile_only(source: Path, output: Path) -> list[Resources]:
    """Compile to a cubin, which takes no GPU. Return the registers, spills and shared memory of each kernel."""
    return parse_resources(_run(source, ["-cubin", *FLAGS, "-Xptxas", "-v", "-o", str(output)]))


def parse_resources(log_text: str) -> list[Resources]:
    found = []
    for part in re.split(r"Compiling entry function '", log_text)[1:]:
        registers = re.search(r"Used (\d+) registers", part)
        spills = re.search(r"(\d+) bytes spill stores, (\d+) bytes spill loads", part)
        shared = re.search(r"(\d+) bytes smem", part)
        found.append(
            Resources(
                part.split("'", 1)[0],
                int(registers[1]) if registers else 0,
                int(spills[1]) if spills else 0,
                int(spills[2]) if spills else 0,
                int(shared[1]) if shared else 0,
            )
        )
    return found


def _run(source: Path, arguments: list[str]) -> str:
    compiler = nvcc()
    if compiler is None:
        raise BuildError(f"{source.name} cannot be compiled: {why_no_compiler()}")
    return run_compiler((compiler, str(source), "-I", str(SOURCES), *arguments), source.name)


@functools.cache
def _version() -> str:
    compiler = nvcc()
    if compiler is None:
        return "none"
    return subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False).stdout
