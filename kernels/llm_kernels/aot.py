"""Compile every Triton and CUDA kernel for sm_90 without a GPU; report registers, spills and shared memory.

    llm-kernels compile                 # a table
    llm-kernels compile --out FILE      # and JSON

A Triton launcher runs on tensors of the device `meta`, with the launch replaced by a compilation. The kernel is
therefore compiled exactly as it would be launched: same types, constants, divisibility by 16 and options.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from llm_kernels import dispatch, workloads
from llm_kernels.cuda import build
from llm_kernels.errors import BuildError

TYPES = {
    torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16", torch.float8_e4m3fn: "fp8e4nv",
    torch.int64: "i64", torch.int32: "i32", torch.int8: "i8", torch.uint8: "u8", torch.bool: "i1",
}  # fmt: skip


@dataclass(frozen=True)
class Compiled:
    source: str
    """triton:<op> <workload>, or the CUDA file."""
    kernel: str
    registers: int
    stack_bytes: int
    """Stack frame: spilled registers and arrays that are indexed at run time."""
    shared_bytes: int
    warps: int | None = None
    """Warps of a Triton kernel; None for a CUDA kernel."""


def compile_all(cuda_sources: list[Path], processes: int | None = None) -> list[Compiled]:
    """Compile every kernel. Raises BuildError, or Triton's error, for the first that does not compile."""
    sources = cuda_sources if build.nvcc() else []
    names = [workload.name for workload in workloads.large()] if dispatch.has_triton() else []
    # Spawned, because a fork inherits the pipes and locks that other threads hold at that moment.
    with ProcessPoolExecutor(processes or os.cpu_count() or 1, multiprocessing.get_context("spawn")) as pool:
        cuda, triton = pool.map(compile_cuda, sources), pool.map(compile_triton, names)
        groups = [*triton, *cuda]
    seen: dict[tuple[Any, ...], Compiled] = {}
    for compiled in (one for group in groups for one in group):
        seen.setdefault((compiled.kernel, compiled.registers, compiled.shared_bytes, compiled.warps), compiled)
    return sorted(seen.values(), key=lambda c: (c.source, c.kernel))


def compile_cuda(source: Path) -> list[Compiled]:
    with tempfile.TemporaryDirectory() as folder:
        resources = build.compile_only(source, Path(folder, "out.cubin"))
    return [
        Compiled(
            f"{source.parent.name}/{source.name}",
            readable(r.kernel),
            r.registers,
            r.spill_stores_bytes,
            r.static_shared_bytes,
        )
        for r in resources
    ]


def compile_triton(workload_name: str) -> list[Compiled]:
    workload = next(w for w in workloads.large() if w.name == workload_name)
    args = workload.inputs(0, "meta")
    implementation = workload.definition()["triton"]
    if implementation.refuses(*args) is not None:
        return []
    with launches_compiled_instead() as found:
        implementation.run(*args)
    return [Compiled(f"triton:{workload_name}", kernel, *rest) for kernel, *rest in found]


@contextmanager
def launches_compiled_instead() -> Iterator[list[tuple[str, int, int, int, int]]]:
    """Make Triton launches compile for sm_90 instead; yield (kernel, registers, stack, shared, warps) of each."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource
    from triton.runtime.jit import JITFunction

    found: list[tuple[str, int, int, int, int]] = []

    def compile_launch(self: Any, *args: Any, grid: Any, warmup: bool = False, **kwargs: Any) -> None:
        names = [p.name for p in self.params]
        values = dict(zip(names, args, strict=False)) | {k: v for k, v in kwargs.items() if k in names}
        options = {k: v for k, v in kwargs.items() if k not in names}
        signature, constants, attributes = {}, {}, {}
        for place, parameter in enumerate(self.params):
            value = values[parameter.name]
            kind, aligned = _kind(value, parameter.is_constexpr, parameter.do_not_specialize)
            signature[parameter.name] = kind
            if kind == "constexpr":
                constants[(place,)] = value
            elif aligned:
                attributes[(place,)] = [["tt.divisibility", 16]]
        source = ASTSource(self, signature, constants, attributes)
        kernel = triton.compile(source, target=GPUTarget("cuda", 90, 32), options=options)
        registers, stack = resource_usage(kernel.asm["cubin"])
        found.append((self.fn.__name__, registers, stack, kernel.metadata.shared, kernel.metadata.num_warps))

    original = JITFunction.run
    JITFunction.run = compile_launch
    try:
        yield found
    finally:
        JITFunction.run = original


def _kind(value: Any, is_constexpr: bool, general: bool) -> tuple[str, bool]:
    """Return (type in Triton's signature, whether it is a multiple of 16), as Triton's own launch does."""
    if is_constexpr or value is None or (isinstance(value, int) and value == 1 and not general):
        return "constexpr", False
    if isinstance(value, Tensor):
        return f"*{TYPES[value.dtype]}", True
    if isinstance(value, float):
        return "fp32", False
    return ("i32" if -(2**31) <= value < 2**31 else "i64"), value % 16 == 0 and not general


def resource_usage(cubin: bytes) -> tuple[int, int]:
    """Return (registers, stack bytes), read by the cuobjdump that comes with Triton."""
    import triton

    cuobjdump = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        done = subprocess.run([str(cuobjdump), "-res-usage", file.name], capture_output=True, text=True, check=False)
    match = re.search(r"REG:(\d+) STACK:(\d+)", done.stdout)
    if match is None:
        raise BuildError(f"cuobjdump gave no resource usage: {done.stdout}{done.stderr}")
    return int(match[1]), int(match[2])


def readable(mangled: str) -> str:
    """Return the kernel's own name from a mangled one: _Z12naive_kernelPK… -> naive_kernel, also inside a namespace.

    A name follows its length, whose digits can follow other digits.
    """
    for match in re.finditer(r"\d+", mangled):
        for start in range(match.start(), match.end()):
            name = mangled[match.end() : match.end() + int(mangled[start : match.end()])]
            if name.endswith("_kernel"):
                return name
    return mangled


def as_rows(compiled: list[Compiled]) -> list[dict[str, Any]]:
    return [asdict(one) for one in compiled]
