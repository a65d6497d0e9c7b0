"""Invariants that hold between any two steps, checked in tests and, with `--check-invariants`, at run time."""

from __future__ import annotations

from collections import Counter

from llm_engine.scheduler.scheduler import Scheduler, Step
from llm_engine.scheduler.sequence import Status


class InvariantError(AssertionError):
    """A contradiction in the engine's bookkeeping: a defect, never the caller's fault."""


def check(scheduler: Scheduler) -> None:
    """Raise InvariantError on the first contradiction."""
    _check_blocks(scheduler)
    _check_sequences(scheduler)


def check_step(step: Step, scheduler: Scheduler) -> None:
    """Raise InvariantError unless a scheduled step stays within its budget and writes only to its own blocks."""
    budget, pool = scheduler.max_num_batched_tokens, scheduler.kv_cache.pool
    _require(step.total_tokens <= budget, f"{step.total_tokens} tokens exceed the budget of {budget}")
    _require(step.budget == budget - step.total_tokens, "the rest of the budget is wrong")
    _require(len(step.num_tokens) <= scheduler.max_num_seqs, f"{len(step.num_tokens)} sequences exceed max_num_seqs")
    for sequence, num_tokens in step.num_tokens.items():
        most = sequence.num_uncomputed_tokens + len(sequence.draft_token_ids)
        _require(0 < num_tokens <= most, f"{sequence.request_id}: {num_tokens} tokens of {most}")
        _require(sequence.status is Status.RUNNING, f"{sequence.request_id} is computed but not running")
        for block in sequence.block_table[sequence.num_computed_tokens // scheduler.kv_cache.block_size :]:
            _require(pool.ref_counts[block] == 1, f"{sequence.request_id} writes to block {block}, which is shared")
            known = scheduler.kv_cache.prefix_cache.holds(block)
            _require(not known, f"{sequence.request_id} writes to block {block}, which the prefix cache knows")


def _check_blocks(scheduler: Scheduler) -> None:
    pool, cache = scheduler.kv_cache.pool, scheduler.kv_cache.prefix_cache
    references = Counter(block for sequence in scheduler.running for block in sequence.block_table)
    free, cached = set(pool.free), set(pool.cached)
    _require(len(free) == len(pool.free), "a block is in the free list twice")
    host = scheduler.kv_cache.free_host_blocks + [b for sequence in scheduler.waiting for b in sequence.host_blocks]
    _require(len(host) == len(set(host)), "a host block has two owners")
    for block in range(pool.num_blocks):
        states = (block in free) + (block in cached) + (references[block] > 0)
        _require(states == 1, f"block {block} is in {states} states; it must be free, cached or owned")
        _require(pool.ref_counts[block] == references[block], f"block {block} has a wrong reference count")
        _require(not (block in free and cache.holds(block)), f"free block {block} is known to the prefix cache")
        _require(block not in cached or cache.holds(block), f"cached block {block} is not known to the prefix cache")


def _check_sequences(scheduler: Scheduler) -> None:
    for sequence in scheduler.running:
        needed = scheduler.kv_cache.num_blocks_for(sequence.num_computed_tokens)
        _require(
            sequence.status is Status.RUNNING,
            f"{sequence.request_id} is in the running list, but its status is not RUNNING",
        )
        _require(
            len(sequence.block_table) == needed, f"{sequence.request_id} has blocks for more or fewer than its tokens"
        )
        _require(len(set(sequence.block_table)) == needed, f"{sequence.request_id} has a block twice")
        _require(sequence.num_uncomputed_tokens >= 1, f"{sequence.request_id} has nothing left to compute")
    for sequence in scheduler.waiting:
        _require(
            sequence.status is Status.WAITING,
            f"{sequence.request_id} is in the waiting list, but its status is not WAITING",
        )
        _require(not sequence.block_table, f"{sequence.request_id} waits but owns blocks")
        _require(sequence.num_computed_tokens == 0, f"{sequence.request_id} waits but has computed tokens")
        swapped = len(sequence.host_blocks)
        _require(
            swapped == scheduler.kv_cache.num_blocks_for(sequence.num_swapped_tokens),
            "host memory has blocks for more or fewer than the swapped tokens",
        )
    _require(len(scheduler.running) <= scheduler.max_num_seqs, "more sequences run than max_num_seqs")


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise InvariantError(message)
