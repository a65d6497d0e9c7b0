"""The step trace: a record of every decision of the engine as JSON lines, which pictures and tests replay.

    start      the engine's version and settings and the size of its cache, once
    request    a new sequence: its prompt, the text of each prompt token, its place in the scheduling order
    step       a scheduled step: tokens per sequence, block tables, admissions, preemptions, evictions, counters
    result     the step's outcome: the tokens sampled, and the blocks that the prefix cache knows from now on
    finish     the end of a sequence, whose blocks are free again

Lines are in the order of the events. With overlap scheduling, the next `step` precedes the `result` of the one under
way. Times are seconds since `start.time_unix`. trace.schema.json, in this folder, describes the fields.

A step first makes its `copies`, in order, and then writes the KV of its tokens to the blocks in `block_table`. A step
does not repeat token ids: it computes the sequence's own tokens from `first_token` on, and then its drafts.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from llm_engine.errors import EngineError
from llm_engine.kv_cache.memory import BlockCopy, Move
from llm_engine.kv_cache.prefix_cache import extend_chain
from llm_engine.observers.observer import ObservedEngine
from llm_engine.parallel.collectives import Timeline
from llm_engine.sampling.sampler import Sampled
from llm_engine.scheduler.scheduler import Preemption, Step
from llm_engine.scheduler.sequence import Sequence
from llm_engine.version import __version__

SCHEMA = Path(__file__).with_name("trace.schema.json")
SCHEMA_VERSION = 2
KEY_DIGITS = 8
"""Hex digits of a block's key: enough to tell the blocks of one trace apart."""

SETTINGS = (
    "block_size",
    "max_num_seqs",
    "max_num_batched_tokens",
    "scheduling_policy",
    "num_cpu_blocks",
    "tensor_parallel_size",
    "pipeline_parallel_size",
)
"""Fields of EngineConfig that `start` has under the same names."""

Event = dict[str, Any]


class StepTrace:
    """An observer and a listener of the prefix cache, which writes the trace."""

    def __init__(self, path: Path) -> None:
        """Open the file. EngineError if it cannot be written."""
        try:
            self._file = path.open("w", encoding="utf-8")
        except OSError as error:
            raise EngineError(f"the trace cannot be written to {path}: {error.strerror}") from None
        self._begin, self._time_unix = time.monotonic(), time.time()
        self._num_steps = 0
        self._launched: dict[Step, tuple[int, float]] = {}
        """Index and start of each step under way."""
        self._known = KnownBlocks()
        self._draft_seconds = 0.0

    def watch(self, engine: ObservedEngine) -> None:
        self._engine, config = engine, engine.config
        self._known.watch(engine)
        start = {
            "event": "start",
            "schema_version": SCHEMA_VERSION,
            "engine_version": __version__,
            "time_unix": self._time_unix,
            "model": config.model,
            "num_blocks": engine.num_blocks,
            "max_model_len": engine.max_model_len,
            "prefix_cache": config.prefix_cache_kind,
            "dtype": engine.dtype,
            "kv_bytes_per_block": engine.kv_bytes_per_block,
            "speculation": config.speculative_config,
        }
        self._write(start | {name: getattr(config, name) for name in SETTINGS})

    def queued(self, sequence: Sequence) -> None:
        self._write(
            {
                "event": "request",
                "id": name(sequence),
                "trace_id": sequence.trace_id,
                "time": sequence.arrival_time - self._begin,
                "priority": sequence.priority,
                "order": list(self._engine.scheduler.order(sequence)),
                "max_tokens": sequence.params.max_tokens,
                "prompt_token_ids": sequence.token_ids,
                "prompt_texts": self._texts(sequence.token_ids),
            }
        )

    def launched(self, step: Step, now: float) -> None:
        """Write the step as it was scheduled."""
        scheduler, pool = self._engine.scheduler, self._engine.kv_cache.pool
        self._launched[step] = self._num_steps, now
        counters = {"free": len(pool.free), "cached": len(pool.cached), "evictions": pool.num_evictions}
        event = {
            "event": "step",
            "index": self._num_steps,
            "time": now - self._begin,
            "sequences": [_sequence(sequence, count) for sequence, count in step.num_tokens.items()],
            "skipped": [name(sequence) for sequence in scheduler.running if sequence not in step.num_tokens],
            "admitted": [self._admitted(sequence, step) for sequence in step.admitted],
            "preempted": [_preempted(item) for item in step.preempted],
            "waiting": [name(sequence) for sequence in scheduler.waiting],
            "copies": [[copy.move.name.lower(), copy.source, copy.target] for copy in step.copies],
            **self._known.take_evicted(),
            "inserted": self._known.take_inserted(),
            "blocks": counters | {"free_host": len(self._engine.kv_cache.free_host_blocks)},
        }
        self._num_steps += 1
        self._write(event)

    def computed(self, step: Step, sampled: list[Sampled], now: float) -> None:
        """Write the step's outcome."""
        index, begun = self._launched.pop(step)
        event = {
            "event": "result",
            "index": index,
            "time": now - self._begin,
            "duration": now - begun,
            "sampled": [self._sampled(item) for item in sampled],
            "inserted": self._known.take_inserted(),
        }
        if self._engine.speculation is not None:
            total = self._engine.speculation.stats.draft_seconds
            event["draft_seconds"], self._draft_seconds = total - self._draft_seconds, total
        if step.num_tokens and (timelines := self._engine.timelines()):
            event["ranks"] = [self._rank(timeline) for timeline in timelines]
        self._write(event)

    def finished(self, sequence: Sequence) -> None:
        self._known.forget(sequence)
        now = time.monotonic() - self._begin
        self._write({"event": "finish", "id": name(sequence), "time": now, "reason": sequence.finish_reason})

    def _admitted(self, sequence: Sequence, step: Step) -> Event:
        """The first blocks of its table come from others: from the prefix cache, or from another answer's prompt.

        A last one of which only a part is used has been copied by now; `cached_blocks` names the source.
        """
        moved_in = [copy.target for copy in step.copies if copy.move is Move.IN]
        computed, size = step.starts[sequence], self._engine.kv_cache.block_size
        table = sequence.block_table[: -(-computed // size)]
        fetched = sum(block in moved_in for block in table)
        found = table[: len(table) - fetched]
        return {
            "id": name(sequence),
            "cached_tokens": min(computed, len(found) * size),
            "host_tokens": max(0, computed - len(found) * size),
            "cached_blocks": [_source_of(block, step.copies) for block in found],
        }

    def _sampled(self, item: Sampled) -> Event:
        return {
            "id": name(item.sequence),
            "token_ids": item.token_ids,
            "texts": self._texts(item.token_ids),
            "rejected_drafts": item.num_rejected,
        }

    def _rank(self, timeline: Timeline) -> Event:
        calls = [[c.name, c.begin - self._begin, c.end - self._begin, c.num_bytes] for c in timeline.calls]
        begin, end = timeline.begin - self._begin, timeline.end - self._begin
        return {"rank": timeline.rank, "begin": begin, "end": end, "collectives": calls}

    def _texts(self, token_ids: list[int]) -> list[str]:
        return [self._engine.tokenizer.decode_one(token) for token in token_ids]

    def _write(self, event: Event) -> None:
        self._file.write(json.dumps(event, ensure_ascii=False) + "\n")
        self._file.flush()


class KnownBlocks:
    """The blocks that the prefix cache knows, each with its key, and the changes not taken yet."""

    def __init__(self) -> None:
        self._key_of: dict[int, bytes] = {}
        self._block_of: dict[bytes, int] = {}
        self._chains: dict[Sequence, list[bytes]] = {}
        self._inserted: list[list[Any]] = []
        self._evicted: list[int] = []
        self._lost: list[int] = []

    def watch(self, engine: ObservedEngine) -> None:
        self._kv_cache = engine.kv_cache
        engine.kv_cache.listeners.append(self)

    def inserted(self, sequence: Sequence, first: int, last: int) -> None:
        keys = self._chains.setdefault(sequence, [])
        extend_chain(keys, sequence.token_ids, self._kv_cache.block_size, last)
        for index in range(first, last):
            block, key = sequence.block_table[index], keys[index]
            if block not in self._key_of and self._kv_cache.prefix_cache.holds(block):
                self._key_of[block], self._block_of[key] = key, block
                parent = self._block_of.get(keys[index - 1]) if index else None
                self._inserted.append([block, parent, key.hex()[:KEY_DIGITS], index])

    def evicted(self, block: int, lost: list[int]) -> None:
        for gone in (block, *lost):
            del self._block_of[self._key_of.pop(gone)]
        self._evicted.append(block)
        self._lost += lost

    def forget(self, sequence: Sequence) -> None:
        self._chains.pop(sequence, None)

    def take_inserted(self) -> list[list[Any]]:
        taken, self._inserted = self._inserted, []
        return taken

    def take_evicted(self) -> Event:
        taken = {"evicted": self._evicted, "lost": self._lost}
        self._evicted, self._lost = [], []
        return taken


def name(sequence: Sequence) -> str:
    """Return a name that is unique for each of the n answers to a request."""
    return f"{sequence.request_id}/{sequence.index}"


def _sequence(sequence: Sequence, num_tokens: int) -> Event:
    return {
        "id": name(sequence),
        "first_token": sequence.num_computed_tokens,
        "num_tokens": num_tokens,
        "draft_token_ids": list(sequence.draft_token_ids),
        "block_table": list(sequence.block_table),
    }


def _preempted(item: Preemption) -> Event:
    return {
        "id": name(item.victim),
        "needed_by": name(item.needed_by),
        "lost_tokens": item.num_lost_tokens,
        "host_blocks": list(item.victim.host_blocks),
    }


def _source_of(block: int, copies: list[BlockCopy]) -> int:
    """Return the block that this one was copied from in the step, or the block itself."""
    return next((copy.source for copy in copies if copy.move is Move.COPY and copy.target == block), block)
