"""Record the engine: in this process, step by step, so that the same requests meet the same steps each time."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llm_course.paths import ROOT
from llm_course.traces.pack import Event
from llm_course.traces.workloads import Arrival
from llm_engine import Engine, EngineConfig, SamplingParams

MODEL = "models/main"


def record(settings: dict[str, Any], arrivals: list[Arrival], *, static: bool = False) -> list[Event]:
    """Run the requests and return the trace. `static`: a batch is let in only when the one before has ended."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "trace.jsonl"
        config = EngineConfig(str(ROOT / MODEL), trace=str(path), check_invariants=True, **settings)
        engine = Engine(config)
        due = _in_batches(arrivals, config.max_num_seqs, engine) if static else _by_step(arrivals)
        _run(engine, due, len(arrivals))
        events = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [event | ({"model": MODEL} if event["event"] == "start" else {}) for event in events]


def _run(engine: Engine, due: Iterator[list[Arrival]], count: int) -> None:
    sent = 0
    while sent < count or engine.has_work:
        for arrival in next(due):
            params = SamplingParams(temperature=0.8, seed=sent, max_tokens=arrival.max_tokens, ignore_eos=True)
            engine.add_request(arrival.id, engine.tokenizer.encode(arrival.prompt), params, arrival.priority)
            sent += 1
        if engine.has_work:
            engine.step()


def _by_step(arrivals: list[Arrival]) -> Iterator[list[Arrival]]:
    """Before each step, the requests that arrive then."""
    step = 0
    while True:
        yield [arrival for arrival in arrivals if arrival.step == step]
        step += 1


def _in_batches(arrivals: list[Arrival], size: int, engine: Engine) -> Iterator[list[Arrival]]:
    left = list(arrivals)
    while True:
        batch, left = ([], left) if engine.has_work else (left[:size], left[size:])
        yield batch
