"""`llm-kernels challenge FILE`: check a solution, time it against the slow kernel, enter it in the leaderboard."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from llm_kernels import workloads
from llm_kernels.bench.timing import measure
from llm_kernels.checker import check_file
from llm_kernels.dispatch import Args
from llm_kernels.errors import KernelError, UnsupportedInput
from llm_kernels.ladders.base import load_module

SHAPE = "8192x4096"


@dataclass(frozen=True)
class Entry:
    name: str
    seconds: float
    times_faster: float
    gpu: str


def folder() -> Path:
    return Path(__file__).resolve().parents[1] / "challenge"


def _seconds(run: Callable[..., Any], args: Args) -> float:
    return measure(lambda: None, lambda _: run(*args)).seconds


def enter(path: Path, name: str, leaderboard: Path | None = None, seed: int = 0) -> Entry:
    """Enter a solution. Raises KernelError without a GPU, or if the checker rejects it."""
    if not torch.cuda.is_available():
        raise KernelError("the challenge is timed on a GPU; `llm-kernels check` works without one")
    if findings := check_file(path, "cuda", seed):
        raise KernelError("the checker rejects it:\n" + "\n".join(map(str, findings[:10])))
    slow, mine = load_module(folder() / "slow.py"), load_module(path)
    if mine.OP != slow.OP:
        raise UnsupportedInput(f"{path} is for {mine.OP}; the challenge is {slow.OP}")
    workload = next(w for w in workloads.large(slow.OP) if w.label == SHAPE)
    args = workload.inputs(seed, "cuda")
    before, after = (_seconds(m.run, args) for m in (slow, mine))
    entry = Entry(name, after, before / after, torch.cuda.get_device_name())
    board = leaderboard or folder() / "leaderboard.json"
    entries = [*json.loads(board.read_text()), asdict(entry)]
    board.write_text(json.dumps(sorted(entries, key=lambda e: e["seconds"]), indent=1) + "\n")
    return entry
