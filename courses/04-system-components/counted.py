"""Counts that module 4 quotes: steps, blocks, bytes, requests that end. No clock is read, so they repeat exactly.

    python courses/04-system-components/counted.py failures           writes counted/failures.json, prints a table
    python courses/04-system-components/counted.py failures --table   prints that file's table

steps       steps that one answer takes, by how it ends, with overlap and without
messages    bytes that rank 0 sends to each other rank for one step
pressure    what the gauges show when more requests come than the pool holds
failures    requests that end when something raises, by where it raises
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch

from llm_course.counting import Row, main
from llm_engine import Engine, EngineConfig, SamplingParams
from llm_engine.execution.batch import BatchBuilder
from llm_engine.observers.observer import ObservedEngine
from llm_engine.parallel.rank import encode
from llm_engine.request.outputs import RequestOutput
from llm_engine.sampling.sampler import Sampled
from llm_engine.scheduler.scheduler import Step
from llm_engine.scheduler.sequence import Sequence

HERE = Path(__file__).resolve().parent
MODEL = HERE.parents[1] / "models" / "zoo" / "llama"
"""The smallest: counts depend on lengths alone."""


class Counter:
    """An observer that notes each step."""

    def __init__(self) -> None:
        self.steps: list[Row] = []

    def watch(self, engine: ObservedEngine) -> None:
        self._engine = engine

    def queued(self, sequence: Sequence) -> None: ...

    def launched(self, step: Step, now: float) -> None:
        scheduler, pool = self._engine.scheduler, self._engine.kv_cache.pool
        self.steps.append(
            {
                "tokens": step.total_tokens,
                "usage": pool.usage,
                "waiting": len(scheduler.waiting),
                "preempted": len(step.preempted),
            }
        )

    def computed(self, step: Step, sampled: list[Sampled], now: float) -> None: ...

    def finished(self, sequence: Sequence) -> None: ...


def engine(*observers: Any, **settings: Any) -> Engine:
    return Engine(EngineConfig(str(MODEL), attention_backend="torch", check_invariants=True, **settings), observers)


def prompt_of(length: int, seed: int) -> list[int]:
    return random.Random(seed).choices(range(3, 250), k=length)


def run(what: Engine) -> list[RequestOutput]:
    outputs: list[RequestOutput] = []
    while what.has_work:
        outputs += what.step()
    return outputs


def steps() -> Iterable[Row]:
    """One prompt of 100 tokens; an answer of 50 tokens, or one that a stop token ends earlier; a budget of 1,024."""
    prompt = prompt_of(100, 0)
    for ends in ("by its length", "by a stop token"):
        for overlap in (False, True):
            counter = Counter()
            alone = engine(counter, async_scheduling=overlap, num_gpu_blocks_override=400)
            params = SamplingParams(max_tokens=50, ignore_eos=True, temperature=1.0, seed=1)
            alone.add_request("a", prompt, params)
            tokens = [token for output in run(alone) for token in output.token_ids]
            if ends == "by a stop token":
                counter.steps.clear()
                last = next(place for place in range(20, 50) if tokens[place] not in tokens[:place])
                stop = SamplingParams(
                    max_tokens=400, ignore_eos=True, temperature=1.0, seed=1, stop_token_ids=(tokens[last],)
                )
                alone.add_request("b", prompt, stop)
                tokens = [token for output in run(alone) for token in output.token_ids]
            name = f"{ends}, {'with' if overlap else 'without'} overlap"
            yield {"ends": name, "tokens": len(tokens), "steps": len(counter.steps)}


def messages() -> Iterable[Row]:
    """Decodes with 1,000 tokens of context each, in blocks of 16; then one prompt chunk of 1,024 tokens."""
    for name, count, context, new in (
        ("1 decode", 1, 1000, 1),
        ("64 decodes", 64, 1000, 1),
        ("256 decodes", 256, 1000, 1),
        ("one chunk of 1,024", 1, 1024, 1024),
    ):
        builder = BatchBuilder(256, 2048, 2048, 16, device=torch.device("cpu"))
        plan = {}
        for index in range(count):
            sequence = Sequence(str(index), prompt_of(context, index), SamplingParams())
            sequence.num_computed_tokens = context - new
            sequence.block_table = list(range(-(-context // 16)))
            plan[sequence] = new
        batch = builder.build(plan)
        tables = batch.arrays["block_tables"].nbytes
        yield {"step": name, "bytes": len(encode([], batch)), "of which block tables": tables}


def pressure() -> Iterable[Row]:
    """Requests of 64 + 64 tokens, all at once; a pool of 128 blocks, which holds 16 of them at their longest."""
    for count in (12, 16, 20, 32, 64):
        counter = Counter()
        busy = engine(counter, max_num_seqs=64, num_gpu_blocks_override=128, enable_prefix_caching=False)
        for index in range(count):
            busy.add_request(str(index), prompt_of(64, index), SamplingParams(max_tokens=64, ignore_eos=True))
        run(busy)
        preempting = [at for at, step in enumerate(counter.steps) if step["preempted"]]
        yield {
            "requests": count,
            "highest usage": max(step["usage"] for step in counter.steps),
            "steps above 90%": sum(step["usage"] > 0.9 for step in counter.steps),
            "most waiting": max(step["waiting"] for step in counter.steps),
            "preemptions": sum(step["preempted"] for step in counter.steps),
            "first preemption at step": preempting[0] if preempting else None,
            "steps": len(counter.steps),
            "tokens computed per token wanted": sum(step["tokens"] for step in counter.steps) / (count * 127),
        }


class Failing(Counter):
    """An observer with a defect in one of its events."""

    def __init__(self, event: str) -> None:
        super().__init__()
        self._event = event

    def _raise_in(self, event: str) -> None:
        if event == self._event:
            raise ValueError(event)

    def launched(self, step: Step, now: float) -> None:
        self._raise_in("launched")

    def finished(self, sequence: Sequence) -> None:
        if sequence.request_id == "3":
            self._raise_in("finished")


def _break_forward(what: Engine) -> None:
    launch, calls = what._runner.launch, []

    def broken(step: Step) -> Any:
        calls.append(step)
        if len(calls) == 5:
            raise RuntimeError("CUDA error")
        return launch(step)

    what._runner.launch = broken  # type: ignore[method-assign]


def _break_logits(what: Engine) -> None:
    forward = what._runner._forward

    def broken(batch: Any) -> Any:
        rows = forward(batch)
        for place, wanted in enumerate(batch.wanted):
            if wanted.sequence.request_id == "3":
                rows[place] = torch.nan
        return rows

    what._runner._forward = broken


def _break_detokenizer(what: Engine) -> None:
    def broken(*_: Any) -> Any:
        raise ValueError("no such token")

    what._requests["3"][0].detokenizer.push = broken  # type: ignore[method-assign, assignment]


CASES: dict[str, tuple[str, Callable[[Engine], None]]] = {
    "an observer, on a step": ("launched", lambda what: None),
    "an observer, on a request": ("finished", lambda what: None),
    "the detokenizer of request 3": ("", _break_detokenizer),
    "NaN in the logits of request 3": ("", _break_logits),
    "the forward pass": ("", _break_forward),
}
"""Where something raises: the observer's event that raises, and what else is broken."""


def failures() -> Iterable[Row]:
    """Eight requests run. Something raises, once or for one request. Who ends with an error, and what is left over?"""
    for name, (event, breaks) in CASES.items():
        what = engine(Failing(event), num_gpu_blocks_override=400)
        for index in range(8):
            what.add_request(str(index), prompt_of(20, index), SamplingParams(max_tokens=20, ignore_eos=True))
        breaks(what)
        outputs: list[RequestOutput] = []
        dies = False
        try:
            while what.has_work:
                outputs += what.step()
        except Exception:  # noqa: BLE001 - this is the count
            dies = True
        failed = sum(output.error is not None for output in outputs)
        yield {
            "place": name,
            "end with an error": 8 if dies else failed,
            "complete": sum(output.finish_reason == "length" for output in outputs),
            "the engine": "dies" if dies else "goes on",
            "blocks still owned": None if dies else what.num_blocks - what.kv_cache.pool.num_available,
        }


COUNTS: dict[str, Callable[[], Iterable[Row]]] = {f.__name__: f for f in (steps, messages, pressure, failures)}


if __name__ == "__main__":
    main(COUNTS, __doc__, HERE)
