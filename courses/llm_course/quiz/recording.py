"""The trace that the first modules' questions read: a small cache, five requests, a shared prefix, a preemption.

    .venv/bin/python -m llm_course.quiz.recording courses/traces/small-pool.jsonl      (at the repository's root)

Requests arrive at steps, not at times, so the run is the same on every machine.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm_engine.config import EngineConfig
from llm_engine.engine import Engine
from llm_engine.observers.observer import EngineView
from llm_engine.sampling.params import SamplingParams
from llm_engine.sampling.sampler import Sampled
from llm_engine.scheduler.scheduler import Step
from llm_engine.scheduler.sequence import Sequence

MODEL = "models/zoo/llama"
BLOCK_SIZE = 4
NUM_BLOCKS = 12
BUDGET = 12
SHARED = list(range(40, 48))
"""Two blocks of tokens that three prompts begin with."""


@dataclass(frozen=True, slots=True)
class Arrival:
    step: int
    name: str
    prompt: list[int]
    max_tokens: int


ARRIVALS = (
    Arrival(0, "a", [*SHARED, 50, 51, 52], 9),
    Arrival(1, "b", [60, 61, 62, 63, 64, 65, 66, 67, 68, 69, 70, 71, 72, 73, 74, 75, 76, 77], 8),
    Arrival(4, "c", [*SHARED, 80, 81], 14),
    Arrival(7, "d", [90, 91, 92, 93, 94, 95], 6),
    Arrival(9, "e", [*SHARED, 50, 51, 52, 53, 54, 55], 5),
)


def record(path: Path) -> None:
    """Run the requests through the engine and write a line of JSON for its settings and for each step."""
    config = EngineConfig(
        MODEL,
        block_size=BLOCK_SIZE,
        num_gpu_blocks_override=NUM_BLOCKS,
        max_num_batched_tokens=BUDGET,
        max_num_seqs=4,
        max_model_len=48,
        check_invariants=True,
        attention_backend="torch",
    )
    recorder = Recorder()
    engine = Engine(config, observers=(recorder,))
    waiting, step = list(ARRIVALS), 0
    while waiting or engine.has_work:
        while waiting and waiting[0].step <= step:
            arrival = waiting.pop(0)
            params = SamplingParams(max_tokens=arrival.max_tokens, temperature=0.0, ignore_eos=True)
            engine.add_request(arrival.name, arrival.prompt, params)
        if engine.has_work:
            engine.step()
        step += 1
    start = {"block_size": BLOCK_SIZE, "num_blocks": NUM_BLOCKS, "max_num_batched_tokens": BUDGET}
    lines = [json.dumps(event) for event in ({"event": "start", **start}, *recorder.steps)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


class Recorder:
    """An observer that notes of each step what a reader can reason about; times and token ids are left out."""

    def __init__(self) -> None:
        self.steps: list[dict[str, Any]] = []
        self._preemptions: dict[str, int] = {}

    def watch(self, engine: EngineView) -> None:
        self._engine = engine

    def queued(self, sequence: Sequence) -> None:
        self._preemptions[sequence.request_id] = 0

    def launched(self, step: Step, now: float) -> None:
        scheduler, pool = self._engine.scheduler, self._engine.kv_cache.pool
        self.steps.append(
            {
                "event": "step",
                "index": len(self.steps),
                "sequences": [_computed(sequence, step) for sequence in step.num_tokens],
                "admitted": [{"id": s.request_id, "cached_tokens": step.starts[s]} for s in step.admitted],
                "preempted": [s.request_id for s in scheduler.waiting if self._is_new_victim(s)],
                "waiting": [sequence.request_id for sequence in scheduler.waiting],
                "blocks": {"free": len(pool.free), "cached": len(pool.cached), "evictions": pool.num_evictions},
            }
        )

    def computed(self, step: Step, sampled: list[Sampled], now: float) -> None:
        self.steps[-1]["sampled"] = [item.sequence.request_id for item in sampled]

    def finished(self, sequence: Sequence) -> None: ...

    def _is_new_victim(self, sequence: Sequence) -> bool:
        """Return whether the waiting sequence was preempted since the step before."""
        before = self._preemptions[sequence.request_id]
        self._preemptions[sequence.request_id] = sequence.num_preemptions
        return sequence.num_preemptions > before


def _computed(sequence: Sequence, step: Step) -> dict[str, Any]:
    return {
        "id": sequence.request_id,
        "first_token": step.starts[sequence],
        "num_tokens": step.num_tokens[sequence],
        "block_table": list(sequence.block_table),
    }


if __name__ == "__main__":
    record(Path(sys.argv[1]))
