"""The step trace: a record of every step as JSON lines, which pictures and tests replay.

    start      the block size, the number of blocks and the token budget, once
    request    a new sequence: its prompt and the text of each prompt token
    step       the tokens computed, the blocks used and the tokens sampled
    finish     the end of a sequence, whose blocks are free again

Times are seconds since the file was opened. trace.schema.json, in this folder, describes the fields. A step first makes
its `copies`, in order, and then writes the KV of its tokens to the blocks in `block_table`.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from llm_engine.errors import EngineError
from llm_engine.observers.observer import ObservedEngine
from llm_engine.sampling.sampler import Sampled
from llm_engine.scheduler.placeholders import is_placeholder
from llm_engine.scheduler.scheduler import Step
from llm_engine.scheduler.sequence import Sequence

SCHEMA = Path(__file__).with_name("trace.schema.json")

Event = dict[str, Any]


class StepTrace:
    """An observer that writes the trace."""

    def __init__(self, path: Path) -> None:
        """Open the file. EngineError if it cannot be written."""
        try:
            self._file = path.open("w", encoding="utf-8")
        except OSError as error:
            raise EngineError(f"the trace cannot be written to {path}: {error.strerror}") from None
        self._begin = time.monotonic()
        self._num_steps = 0
        self._launched: dict[Step, Event] = {}

    def watch(self, engine: ObservedEngine) -> None:
        self._engine, config = engine, engine.config
        start = {
            "event": "start",
            "model": config.model,
            "block_size": config.block_size,
            "num_blocks": engine.num_blocks,
            "max_num_seqs": config.max_num_seqs,
            "max_num_batched_tokens": config.max_num_batched_tokens,
        }
        self._write(start)

    def queued(self, sequence: Sequence) -> None:
        texts = [self._engine.tokenizer.decode_one(token) for token in sequence.token_ids]
        arrival = {"time": sequence.arrival_time - self._begin, "priority": sequence.priority}
        prompt = {"prompt_token_ids": sequence.token_ids, "prompt_texts": texts}
        self._write({"event": "request", "id": name(sequence), **arrival, **prompt})

    def launched(self, step: Step, now: float) -> None:
        """Record the part of the step's event that is known at launch. `computed` completes and writes it."""
        pool = self._engine.kv_cache.pool
        self._launched[step] = {
            "event": "step",
            "index": self._num_steps,
            "time": now - self._begin,
            "sequences": [_sequence(sequence, count) for sequence, count in step.num_tokens.items()],
            "admitted": [{"id": name(s), "cached_tokens": step.starts[s]} for s in step.admitted],
            "preempted": [name(sequence) for sequence in step.preempted],
            "waiting": [name(sequence) for sequence in self._engine.scheduler.waiting],
            "copies": [[copy.move.name.lower(), copy.source, copy.target] for copy in step.copies],
            "blocks": {"free": len(pool.free), "cached": len(pool.cached), "evictions": pool.num_evictions},
        }
        self._num_steps += 1

    def computed(self, step: Step, sampled: list[Sampled], now: float) -> None:
        event = self._launched.pop(step)
        event["duration"] = now - self._begin - event["time"]
        event["sampled"] = [
            {"id": name(item.sequence), "token_ids": item.token_ids, "rejected_drafts": item.num_rejected}
            for item in sampled
        ]
        for sequence, item in zip(step.num_tokens, event["sequences"], strict=True):
            if is_placeholder(item["token_ids"][-1]):  # drawn by now
                item["token_ids"][-1] = sequence.token_ids[item["first_token"]]
        self._write(event)

    def finished(self, sequence: Sequence) -> None:
        self._write({"event": "finish", "id": name(sequence), "reason": sequence.finish_reason})

    def _write(self, event: Event) -> None:
        self._file.write(json.dumps(event, ensure_ascii=False) + "\n")
        self._file.flush()


def name(sequence: Sequence) -> str:
    """Return a name that is unique for each of the n answers to a request."""
    return f"{sequence.request_id}/{sequence.index}"


def _sequence(sequence: Sequence, num_tokens: int) -> Event:
    first = sequence.num_computed_tokens
    return {
        "id": name(sequence),
        "first_token": first,
        "token_ids": (sequence.token_ids + sequence.draft_token_ids)[first : first + num_tokens],
        "block_table": list(sequence.block_table),
    }
