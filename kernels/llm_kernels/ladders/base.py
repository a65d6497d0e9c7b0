"""A ladder's problem, its rungs on disk, and how a rung is run and checked."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from llm_kernels import accuracy
from llm_kernels.cuda import build, launch
from llm_kernels.dispatch import Args
from llm_kernels.errors import UnsupportedInput
from llm_kernels.workloads import Cost

Sizes = Mapping[str, int]


@dataclass(frozen=True)
class Ladder:
    name: str
    title: str
    make: Callable[[torch.Generator, torch.device, Sizes], Args]
    """Makes the rung's arguments; the rung writes those at `outputs`."""
    outputs: tuple[int, ...]
    expected: Callable[[Args], tuple[Tensor, ...]]
    """The exact outputs in float64, from the arguments before the call."""
    native: Callable[[Args], tuple[Tensor, ...]]
    """The outputs as torch computes them in the same dtype on the same device; on a GPU, the library's."""
    library: str
    """Name of the library that `native` calls on a GPU."""
    cost: Callable[[Sizes], Cost]
    small: Sizes
    large: Sizes
    timed: Callable[[Args], object] | None = None
    """Call that is timed for the library, if not `native`."""
    slow_at: Mapping[str, Sizes] = field(default_factory=dict)
    """Sizes for rungs that would take seconds at `large`, by the start of their name."""


@dataclass(frozen=True)
class Rung:
    ladder: str
    path: Path

    @property
    def name(self) -> str:
        return self.path.stem

    @property
    def story(self) -> str:
        """The comment or docstring at the top of the file."""
        text = self.path.read_text()
        if self.path.suffix == ".py":
            match = re.match(r'\s*"""(.*?)"""', text, re.DOTALL)
            return match[1].strip() if match else ""
        lines = []
        for line in text.splitlines():
            if not line.startswith("//"):
                break
            lines.append(line.removeprefix("//").removeprefix(" "))
        return "\n".join(lines)

    @property
    def prediction(self) -> str:
        """The paragraph of the story that begins with "Predicted:"."""
        match = re.search(r"Predicted: (.*?)(?:\n\n|\Z)", self.story, re.DOTALL)
        return " ".join(match[1].split()) if match else ""

    def run(self, args: Args) -> None:
        if self.path.suffix == ".cu":
            launch.launch(build.load(self.path), "launch", *args)
        else:
            load_module(self.path).launch(*args)


def folder() -> Path:
    """Return `kernels/ladders`, which is not part of the installed package. Raises UnsupportedInput."""
    found = Path(__file__).resolve().parents[2] / "ladders"
    if not found.is_dir():
        raise UnsupportedInput(f"{found} does not exist: ladders are run from a checkout of the repository")
    return found


def rungs_of(ladder: str) -> list[Rung]:
    paths = sorted(p for p in (folder() / ladder).iterdir() if re.match(r"\d\d_\w+\.(cu|py)$", p.name))
    return [Rung(ladder, path) for path in paths]


def load_module(path: Path) -> Any:
    """Import a Python file by its path, under a name of its own."""
    spec = importlib.util.spec_from_file_location(f"llm_kernels_file_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def poison(args: Args, outputs: tuple[int, ...]) -> None:
    """Fill the outputs with NaN before a run, so that elements that a rung does not write show."""
    for place in outputs:
        if args[place].dtype.is_floating_point:
            args[place].fill_(float("nan"))


def check(ladder: Ladder, rung: Rung, args: Args) -> tuple[float, str | None]:
    """Run the rung and compare its outputs with the exact ones; return (error, what is wrong)."""
    exact, native = ladder.expected(args), ladder.native(args)
    rung.run(args)
    if args[ladder.outputs[0]].is_cuda:
        torch.cuda.synchronize()
    verdicts = [
        accuracy.compare(args[place], right, base)
        for place, right, base in zip(ladder.outputs, exact, native, strict=True)
    ]
    worst = max(verdicts, key=lambda v: (v.wrong is not None, v.error))
    return worst.error, worst.wrong
