"""llm-bench, run against a stack of ours: the scenario, the model's tokenizer, the exit statuses."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from llm_lab import paths, stack
from llm_lab.errors import EXIT_INTERRUPTED, LabError
from llm_lab.models import MAIN, Model

USERS = 2 * stack.REPLICAS * stack.MAX_IN_FLIGHT
"""Users of the closed loop: all slots are taken, and as many requests wait."""


@dataclass(frozen=True)
class Capacity:
    requests_per_second: float
    output_tokens_per_second: float
    relative_error: float


def capacity(url: str, seconds: float, model: Model = MAIN) -> Capacity:
    """Measure how much of the scenario's mix the stack can serve."""
    measured = json.loads(bench("capacity", *_target(url, model), "--users", str(USERS), "--duration", str(seconds)))
    return Capacity(measured["requests_per_second"], measured["output_tokens_per_second"], measured["relative_error"])


def run(url: str, name: str, *more: str, rate: float, seconds: float, out: Path, model: Model = MAIN) -> Path:
    """Run an open loop of `rate` requests per second and return the folder with its result, made anew."""
    folder = out / name
    shutil.rmtree(folder, ignore_errors=True)
    window = ("--rate", f"{rate:.3f}", "--duration", f"{seconds:g}")
    bench("run", *_target(url, model), *window, "--name", name, "--salt", name, "--out", str(folder), *more)
    return folder


def bench(*arguments: str, show: bool = False) -> str:
    """Run llm-bench; its progress goes to the terminal. Return what it prints, or with `show` print that as well."""
    command = (str(paths.PYTHON), "-m", "llm_bench", *arguments)
    done = subprocess.run(command, cwd=paths.ROOT, stdout=None if show else subprocess.PIPE, text=True, check=False)
    if done.returncode == EXIT_INTERRUPTED:  # Ctrl-C reaches it as well, and it can be the first to end
        raise KeyboardInterrupt
    if done.returncode:
        raise LabError(f"llm-bench {arguments[0]} ended with status {done.returncode}")
    return done.stdout or ""


def _target(url: str, model: Model) -> tuple[str, ...]:
    tokenizer = str(model.folder / "tokenizer.json")
    return (str(paths.SCENARIO), "--target", url, "--model", model.name, "--tokenizer", tokenizer)
