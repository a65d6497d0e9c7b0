"""One call of each target between the profiler's start and stop: what `llm-kernels profile` has ncu run.

A target is `op`, `op/implementation`, `op/implementation/shape` (a part of it), or `ladder:NAME/RUNG` (its beginning).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch

from llm_kernels import workloads
from llm_kernels.dispatch import get
from llm_kernels.errors import UnsupportedInput
from llm_kernels.ladders import LADDERS, rungs_of

MARKER = "spin_kernel"
"""The kernel of `torch.cuda._sleep`, which stands before each target's kernels in the profile."""


def run_once(*targets: str) -> None:
    for target in targets:
        call = _of_ladder(target.removeprefix("ladder:")) if target.startswith("ladder:") else _of_op(target)
        call()
        torch.cuda.synchronize()
        torch.cuda.cudart().cudaProfilerStart()  # type: ignore[no-untyped-call]
        torch.cuda._sleep(1)  # type: ignore[no-untyped-call]
        call()
        torch.cuda.synchronize()
        torch.cuda.cudart().cudaProfilerStop()  # type: ignore[no-untyped-call]


def _of_ladder(target: str) -> Callable[[], Any]:
    name, _, begin = target.partition("/")
    if name not in LADDERS:
        raise UnsupportedInput(f"there is no ladder {name!r}; there are {', '.join(LADDERS)}")
    ladder, rungs = LADDERS[name], [r for r in rungs_of(name) if r.name.startswith(begin)]
    if not rungs:
        raise UnsupportedInput(f"no rung of {name} begins with {begin!r}")
    sizes = next((s for prefix, s in ladder.slow_at.items() if rungs[0].name.startswith(prefix)), ladder.large)
    args = ladder.make(torch.Generator().manual_seed(0), torch.device("cuda"), sizes)
    return functools.partial(rungs[0].run, args)


def _of_op(target: str) -> Callable[[], Any]:
    op, implementation, shape = (*target.split("/", 2), "", "")[:3]
    found = [w for w in workloads.large(get(op).name) if shape in w.label]
    if not found:
        raise UnsupportedInput(f"{op} has no workload whose shape contains {shape!r}")
    args = found[0].inputs(0, "cuda")
    chosen = get(op)[implementation] if implementation else get(op).select(args)
    return functools.partial(chosen.run, *args)
