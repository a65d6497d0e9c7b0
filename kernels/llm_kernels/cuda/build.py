"""CUDA sources to shared libraries with nvcc, on first use, cached by the hash of what they are made of.

A source is plain CUDA C++ with `extern "C"` launchers that take device pointers, sizes and a stream, and return a
cudaError_t: no PyTorch headers, so a build takes seconds and outlives torch upgrades.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import logging
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from llm_kernels.errors import BuildError

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
    """The compiler: $LLM_KERNELS_NVCC, the PATH, or CUDA's usual place."""
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


def cache_folder() -> Path:
    root = os.environ.get("LLM_KERNELS_CACHE") or Path(
        os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"), "llm-kernels"
    )
    return Path(root)


def key(source: Path, flags: tuple[str, ...] = FLAGS) -> str:
    """The hash of the source, of what it may include (headers beside it, all in `cuda/`), of flags and compiler."""
    digest = hashlib.sha256(" ".join((*flags, _version())).encode())
    included = sorted({*SOURCES.glob("*.cu*"), *source.parent.glob("*.cuh")} - {source})
    for path in (source, *included):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:16]


def build(source: Path, flags: tuple[str, ...] = FLAGS) -> Path:
    """The shared library of `source`, from the cache or made now."""
    target = cache_folder() / "cuda" / f"{source.stem}-{key(source, flags)}.so"
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            made = Path(scratch, target.name)
            output = _run(source, ["-shared", "-Xcompiler", "-fPIC", *flags, "-Xptxas", "-v", "-o", str(made)])
            target.with_suffix(".log").write_text(output)
            made.replace(target)  # whoever builds at the same time makes the same file
    return target


@functools.cache
def load(source: Path) -> ctypes.CDLL:
    return ctypes.CDLL(str(build(source)))


def compile_only(source: Path, output: Path) -> list[Resources]:
    """Compile to a cubin without a GPU; registers, spills and shared memory of each kernel."""
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
    command = [compiler, str(source), "-I", str(SOURCES), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(f"nvcc could not compile {source.name}:\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


@functools.cache
def _version() -> str:
    compiler = nvcc()
    if compiler is None:
        return "none"
    return subprocess.run([compiler, "--version"], capture_output=True, text=True, check=False).stdout
