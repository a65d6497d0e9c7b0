"""Runs a kernel through every property it must have; each failure names the property.

A kernel is a Python file that defines `OP`, the name of an op of this package, and `run(*args)`, which does what the op
does: it takes the op's arguments and returns its results, or changes the arguments that the op changes.

    accurate      every small workload of the op, fresh seeds: ragged shapes and edges, FlashAttention's rule
    written       memory that the kernel allocates is poisoned with NaN first, so what it leaves out shows
    pure          arguments that the op does not change are bit for bit as they were
    fresh         no result shares memory with an argument or with an earlier result; earlier results stay
    current       the same tensors with new values give new results
    repeatable    the same arguments give the same bits, run after run: a difference is a race
    strided       rows that are not dense in memory; refusing them with UnsupportedInput is fine
    extreme       large and tiny magnitudes
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from llm_kernels import accuracy, workloads
from llm_kernels.dispatch import Args, get
from llm_kernels.errors import UnsupportedInput
from llm_kernels.ladders.base import load_module
from llm_kernels.workloads import Workload
from llm_kernels.workloads.base import clone, outputs

Run = Callable[..., Any]
REPEATS = 8


@dataclass(frozen=True)
class Finding:
    check: str
    """Which property: see the module's docstring."""
    workload: str
    problem: str

    def __str__(self) -> str:
        return f"{self.check}: {self.workload}: {self.problem}"


def check_file(path: Path, device: str, seed: int, dtypes: tuple[torch.dtype, ...] | None = None) -> list[Finding]:
    """Return the findings for the kernel in the file; an empty list means that it passed.

    Raises UnsupportedInput for a file without `OP` or `run`.
    """
    module = load_module(path)
    if not hasattr(module, "OP") or not callable(getattr(module, "run", None)):
        raise UnsupportedInput(
            f"{path} defines no OP and run: a kernel's file names its op and has a function run(*args)"
        )
    return check_kernel(module.OP, module.run, device, seed, dtypes)


def check_kernel(
    op: str, run: Run, device: str, seed: int, dtypes: tuple[torch.dtype, ...] | None = None
) -> list[Finding]:
    """Return the first property that fails on each workload.

    On a CPU bf16 is left out, because Triton's interpreter gets it wrong.
    """
    get(op)
    wanted = dtypes or ((torch.float32, torch.float16) + ((torch.bfloat16,) if device == "cuda" else ()))
    findings = []
    for offset, workload in enumerate(w for w in workloads.small(op) if w.dtype in wanted):
        for name, check in CHECKS.items():
            with written_memory_poisoned():
                problem = _guarded(check, workload, run, device, seed + offset)
            if problem is not None:
                findings.append(Finding(name, workload.name, problem))
                break
    return findings


@contextmanager
def written_memory_poisoned() -> Iterator[None]:
    """Make torch fill fresh memory with NaN, or the largest integer, before a kernel sees it."""
    settings: Any = torch.utils.deterministic
    before = torch.are_deterministic_algorithms_enabled(), settings.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True, warn_only=True)
    settings.fill_uninitialized_memory = True
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        settings.fill_uninitialized_memory = before[1]


def _guarded(check: Callable[..., str | None], workload: Workload, run: Run, device: str, seed: int) -> str | None:
    try:
        return check(workload, run, device, seed)
    except Exception as error:  # noqa: BLE001 - whatever a kernel raises is a finding
        return f"raised {type(error).__name__}: {error}"[:300]


def _accurate(workload: Workload, run: Run, device: str, seed: int) -> str | None:
    return _wrong(workload, workload.inputs(seed, device), run)


def _pure(workload: Workload, run: Run, device: str, seed: int) -> str | None:
    args = workload.inputs(seed, device)
    own, changed = clone(args), workload.definition().mutates
    run(*own)
    for place, (before, after) in enumerate(zip(args, own, strict=True)):
        if isinstance(before, Tensor) and place not in changed and not _same(before, after):
            return f"argument {place} was changed"
    return None


def _fresh(workload: Workload, run: Run, device: str, seed: int) -> str | None:
    if workload.definition().mutates:
        return None
    first, second = workload.inputs(seed, device), workload.inputs(seed + 1, device)
    op = workload.definition()
    results = outputs(op, first, run(*first))
    kept = [result.clone() for result in results]
    later = outputs(op, second, run(*second))
    for result in results:
        if any(_shares(result, a) for a in first if isinstance(a, Tensor)):
            return "a result shares memory with an argument"
        if any(_shares(result, other) for other in later):
            return "a result shares memory with the result of the next call"
    return None if all(map(_same, results, kept)) else "the next call changed an earlier result"


def _current(workload: Workload, run: Run, device: str, seed: int) -> str | None:
    args, other = clone(workload.inputs(seed, device)), workload.inputs(seed + 2, device)
    run(*args)
    for mine, new in zip(args, other, strict=True):
        if isinstance(mine, Tensor) and mine.shape == new.shape:
            mine.copy_(new)
    before = clone(args)
    problem = accuracy.judge_outputs(workload, before, args, run(*args)).wrong
    return problem and f"new values in the same tensors: {problem}"


def _repeatable(workload: Workload, run: Run, device: str, seed: int) -> str | None:
    args, op = workload.inputs(seed, device), workload.definition()
    expected: tuple[Tensor, ...] | None = None
    for _ in range(REPEATS):
        own = clone(args)
        got = outputs(op, own, run(*own))
        if expected is None:
            expected = got
        elif not all(map(_same, got, expected)):
            return "the same arguments gave different results"
    return None


def _strided(workload: Workload, run: Run, device: str, seed: int) -> str | None:
    args = workload.inputs(seed, device)
    x = args[0]
    if workload.op not in STRIDED or x.dim() < 2 or not x.numel():
        return None
    wide = torch.full((*x.shape[:-1], x.shape[-1] + 5), 7.0, dtype=x.dtype, device=x.device)
    view = wide[..., : x.shape[-1]]
    view.copy_(x)
    try:
        result = run(view, *args[1:])
    except UnsupportedInput:
        return None
    problem = accuracy.judge_outputs(workload, args, (view, *args[1:]), result).wrong
    return problem and f"rows with a gap between them: {problem}"


def _extreme(workload: Workload, run: Run, device: str, seed: int) -> str | None:
    if workload.op not in SCALED:
        return None
    args = workload.inputs(seed, device)
    for factor in (200.0, 1e-3):
        scaled = tuple(a * factor if place in SCALED[workload.op] else a for place, a in enumerate(args))
        if (problem := _wrong(workload, scaled, run)) is not None:
            return f"values {factor:g} times as large: {problem}"
    return None


CHECKS: dict[str, Callable[[Workload, Run, str, int], str | None]] = {
    "pure": _pure,
    "fresh": _fresh,
    "repeatable": _repeatable,
    "accurate": _accurate,
    "current": _current,
    "strided": _strided,
    "extreme": _extreme,
}
"""Purity first: a kernel that changes its inputs or shares memory would spoil what the later ones conclude."""

STRIDED = {"rms_norm", "layer_norm", "softmax", "silu_and_mul", "gelu_and_mul", "quantize_per_token"}
SCALED = {
    "rms_norm": (0,),
    "fused_add_rms_norm": (0, 1),
    "layer_norm": (0,),
    "softmax": (0,),
    "quantize_per_token": (0,),
}
"""Ops for which scaled inputs are as good as any, and the arguments to scale."""


def _wrong(workload: Workload, args: Args, run: Run) -> str | None:
    own = clone(args)
    problem = accuracy.judge_outputs(workload, args, own, run(*own)).wrong
    return problem if problem is None or "NaN" not in problem else f"{problem} (never written, or not a number)"


def _same(a: Tensor, b: Tensor) -> bool:
    """Return whether two tensors are equal bit for bit; NaN equals NaN."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    return torch.equal(a.contiguous().view(torch.uint8), b.contiguous().view(torch.uint8)) if a.numel() else True


def _shares(a: Tensor, b: Tensor) -> bool:
    return a.numel() > 0 and b.numel() > 0 and a.untyped_storage().data_ptr() == b.untyped_storage().data_ptr()
