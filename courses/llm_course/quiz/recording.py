"""The trace that the first modules' questions read: a small cache, five requests, a shared prefix, a preemption.

    .venv/bin/python -m llm_course.quiz.recording courses/traces/small-pool.jsonl      (at the repository's root)

Requests arrive at steps, not at times, so the run is the same on every machine.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from llm_engine.config import EngineConfig
from llm_engine.engine import Engine
from llm_engine.sampling.params import SamplingParams

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
    """Run the requests through the engine and write its trace."""
    config = EngineConfig(
        MODEL,
        trace=str(path),
        block_size=BLOCK_SIZE,
        num_gpu_blocks_override=NUM_BLOCKS,
        max_num_batched_tokens=BUDGET,
        max_num_seqs=4,
        max_model_len=48,
        check_invariants=True,
        attention_backend="torch",
    )
    engine = Engine(config)
    waiting, step = list(ARRIVALS), 0
    while waiting or engine.has_work:
        while waiting and waiting[0].step <= step:
            arrival = waiting.pop(0)
            params = SamplingParams(max_tokens=arrival.max_tokens, temperature=0.0, ignore_eos=True)
            engine.add_request(arrival.name, arrival.prompt, params)
        if engine.has_work:
            engine.step()
        step += 1


if __name__ == "__main__":
    record(Path(sys.argv[1]))
