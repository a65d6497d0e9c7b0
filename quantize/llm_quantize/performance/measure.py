"""Serve a model folder with our engine and load it with llm-bench; both are commands, never imported.

At batch N, N users each send their next request when they have the answer to the last, so N requests are always in
flight. Every run has new prompts of 64 tokens, and asks for 32. The first part of each run is not counted.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import torch
import yaml

from llm_measure import processes
from llm_measure.results import machine
from llm_quantize.errors import EvaluationError
from llm_quantize.evaluation.model import weight_bytes
from llm_quantize.performance.figures import BatchFigures, Performance, Spread

BATCHES = (1, 8, 64)
RUNS = 3
SECONDS = 8.0
"""Length of one run."""
WARM_UP = 0.25
"""Share of a run that is not counted."""
PROMPT_TOKENS = 64
OUTPUT_TOKENS = 32
MAX_MODEL_LEN = 256
ENGINE = ("-m", "llm_engine", "serve")
BENCH = ("-m", "llm_bench")
LONGEST_MESSAGE = 600


def measure(
    folder: Path,
    batches: Sequence[int] = BATCHES,
    url: str | None = None,
    *,
    runs: int = RUNS,
    seconds: float = SECONDS,
    threads: int = 1,
    device: str = "cpu",
    engine: Sequence[str] = ENGINE,
    bench: Sequence[str] = BENCH,
) -> Performance:
    """Return size, memory, latency and throughput of a model folder, or of the server at `url` that serves it.

    `threads` and `device` are the engine's; one thread gives equal figures on machines with more cores.
    `engine` and `bench`: Python arguments.
    Raises EvaluationError if the server does not start or the load gets no answers.
    """
    flags = ("--host", "127.0.0.1", "--port", "0", "--max-model-len", str(MAX_MODEL_LEN))
    size = ("--max-num-seqs", str(max(batches)), "--num-threads", str(threads), "--device", device)
    place = nullcontext(None) if url else _server((*engine, str(folder), *flags, *size))
    notes: list[str] = []
    with place as server:
        target = url or (server.url if server else "")
        load = partial(_batch, target, folder, runs=runs, seconds=seconds, bench=bench, notes=notes)
        found = [load(batch) for batch in batches]
        resident = peak_bytes(server.process.pid) if server else None
    return Performance(
        name=folder.resolve().name,
        weight_bytes=weight_bytes(folder) or None,
        resident_bytes=resident,
        device=_place(device, threads) if server else target,
        server="llm-engine" if server else "by URL",
        runs=runs,
        batches=found,
        notes=list(dict.fromkeys(notes)),
    )


def _place(device: str, threads: int) -> str:
    """Return the GPU's name, or the CPU's and the number of threads."""
    if device.startswith("cuda"):
        return str(torch.cuda.get_device_name(device))
    return f"{machine()['cpu']}, {threads} {'thread' if threads == 1 else 'threads'}"


@contextmanager
def _server(arguments: Sequence[str]) -> Iterator[processes.Server]:
    try:
        with processes.python(*arguments) as server:
            yield server
    except RuntimeError as error:
        raise EvaluationError(f"the engine did not start: {str(error)[-LONGEST_MESSAGE:]}") from error


def _batch(
    url: str, folder: Path, batch: int, *, runs: int, seconds: float, bench: Sequence[str], notes: list[str]
) -> BatchFigures:
    results = [_run(url, folder, batch, seconds=seconds, bench=bench, seed=seed) for seed in range(runs)]
    for result in results:
        notes += [f"batch {batch}: {reason}" for reason in result["verdict"]["reasons"]]
    figures = [result["summary"]["classes"]["all"] for result in results]
    try:
        return BatchFigures(
            batch=batch,
            ttft=Spread.of([one["ttft"]["percentiles"]["p50"] for one in figures]),
            tpot=Spread.of([one["tpot"]["percentiles"]["p50"] for one in figures]),
            output_tokens_per_second=Spread.of([one["output_tokens_per_second"] for one in figures]),
            requests=sum(one["completed"] for one in figures),
        )
    except KeyError as error:
        reasons = "; ".join(results[0]["verdict"]["reasons"]) or "no request ended within the run"
        raise EvaluationError(f"batch {batch} at {url}: {reasons}; a longer run may help (--seconds)") from error


def _run(url: str, folder: Path, batch: int, *, seconds: float, bench: Sequence[str], seed: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="llm-quantize-") as scratch:
        scenario = Path(scratch) / "closed.yaml"
        scenario.write_text(yaml.safe_dump(closed_loop(batch, seconds)), encoding="utf-8")
        tokenizer = folder / "tokenizer.json"
        cut = ("--tokenizer", str(tokenizer)) if tokenizer.exists() else ()
        out = ("--out", f"{scratch}/out", "--seed", str(seed), "--quiet", "--name", f"batch-{batch}")
        command = (sys.executable, *bench, "run", str(scenario), "--target", url, *out, *cut)
        environment = {**os.environ, **processes.ENVIRONMENT}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        result = Path(scratch) / "out" / "result.json"
        if done.returncode or not result.exists():
            problem = (done.stderr or done.stdout).strip()[-LONGEST_MESSAGE:]
            raise EvaluationError(f"llm-bench could not load {url}: {problem}")
        found: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
        return found


def closed_loop(batch: int, seconds: float) -> dict[str, Any]:
    """Return the scenario that keeps `batch` requests in flight."""
    kind = {
        "weight": 1,
        "prompt_tokens": {"kind": "fixed", "tokens": PROMPT_TOKENS},
        "output_tokens": {"kind": "fixed", "tokens": OUTPUT_TOKENS},
    }
    return {
        "name": f"batch-{batch}",
        "seed": 1,
        "duration": seconds,
        "warm_up": seconds * WARM_UP,
        "drain": 120,
        "arrivals": {"kind": "closed", "users": batch},
        "classes": {"standard": kind},
    }


def peak_bytes(pid: int) -> int:
    """Return the most memory that a process and its children have held: each one's peak where the kernel keeps it."""
    leader = psutil.Process(pid)
    return sum(_peak(one) for one in (leader, *leader.children(recursive=True)))


def _peak(process: psutil.Process) -> int:
    try:
        for line in Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return int(process.memory_info().rss)
