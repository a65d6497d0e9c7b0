"""The price of preemption: work counted from a trace, a cost model, and the choice between its two ways.

A preempted sequence loses its blocks. Recomputing runs its tokens through the model again; swapping copies its blocks
to host memory and back. Which is cheaper depends on the model, on the link and on the size of a block.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from llm_engine.kv_cache.manager import KVCacheManager


@dataclass(frozen=True, slots=True)
class Work:
    """Totals of one run."""

    steps: int = 0
    tokens: int = 0
    """Tokens computed, repetitions included."""
    again: int = 0
    """Tokens computed that had been computed before."""
    moved: int = 0
    """Blocks copied to host memory or back."""


@dataclass(frozen=True, slots=True)
class Cost:
    """A model of time: fixed seconds for each step, and more for each token in it."""

    per_step: float
    per_token: float

    def seconds(self, work: Work) -> float:
        return work.steps * self.per_step + work.tokens * self.per_token


@dataclass(frozen=True, slots=True)
class Swap:
    """The way between device and host, and what goes over it."""

    layers: int
    """Each has KV memory of its own, so a block is one copy for each of them."""
    bytes_per_token: int
    """K and V of one token in one layer."""
    seconds_per_copy: float
    bytes_per_second: float


def counted(events: Iterable[dict[str, Any]]) -> Work:
    """Return the work of a trace's `step` events, without speculation.

    Each has `sequences`, with `id`, `first_token` and `num_tokens`, and `copies`, with "out", "in" or "copy" first.
    """
    # region exercise: per sequence, how far it was ever computed; a token below that is computed again
    steps = tokens = again = moved = 0
    reached: dict[str, int] = {}
    for event in events:
        steps += bool(event["sequences"])
        moved += sum(kind != "copy" for kind, *_ in event["copies"])
        for item in event["sequences"]:
            begin, end = item["first_token"], item["first_token"] + item["num_tokens"]
            before = reached.get(item["id"], 0)
            tokens += end - begin
            again += max(0, min(end, before) - begin)
            reached[item["id"]] = max(end, before)
    return Work(steps, tokens, again, moved)
    # endregion


def fitted(one: Work, seconds: float, other: Work, other_seconds: float) -> Cost:
    """Return the cost with which both runs take the time that they took.

    ValueError if the runs cannot tell a step's cost from a token's: one has the other's work times a factor.
    """
    # region exercise: two equations with two unknowns
    determinant = one.steps * other.tokens - other.steps * one.tokens
    if determinant == 0:
        raise ValueError(f"{one.tokens / one.steps:.1f} tokens per step in both runs; vary the batch")
    per_step = (seconds * other.tokens - other_seconds * one.tokens) / determinant
    per_token = (one.steps * other_seconds - other.steps * seconds) / determinant
    return Cost(per_step, per_token)
    # endregion


def explained(roomy: Work, tight: Work, cost: Cost) -> tuple[float, float]:
    """Return the seconds that a tight cache costs: for additional steps, and for tokens that are computed again."""
    # region exercise: one difference, and one count that you have
    return (tight.steps - roomy.steps) * cost.per_step, tight.again * cost.per_token
    # endregion


def swap_seconds(num_tokens: int, block_size: int, swap: Swap) -> float:
    """Return the time to bring a sequence's blocks to host memory and back. Whole blocks move, one copy a layer."""
    # region exercise: blocks, rounded up; then one copy's time; then how many copies
    blocks = -(-num_tokens // block_size)
    copy = swap.seconds_per_copy + block_size * swap.bytes_per_token / swap.bytes_per_second
    return 2 * blocks * swap.layers * copy
    # endregion


def crossover(num_tokens: int, sizes: Iterable[int], swap: Swap, per_token: float) -> int | None:
    """Return the smallest block size with which a swap is cheaper than computing the tokens again, or None."""
    # region exercise: recomputing does not depend on the block size
    recompute = num_tokens * per_token
    return next((size for size in sorted(sizes) if swap_seconds(num_tokens, size, swap) < recompute), None)
    # endregion


def lost_blocks(kv_cache: KVCacheManager, num_host_blocks: int) -> tuple[int, int]:
    """Return how many blocks of the device and of the host are nowhere, when no sequence is left in the engine."""
    # region exercise: a block of the device has two homes without an owner
    pool = kv_cache.pool
    device = pool.num_blocks - len({*pool.free, *pool.cached})
    return device, num_host_blocks - len(set(kv_cache.free_host_blocks))
    # endregion
