"""Prefix hits: counted from a trace, predicted from the prompts alone, and raised by a better order.

A prefix cache finds whole tokens of KV that an earlier prompt left behind. Two rules decide how many. The hash cache
finds full blocks only. And at least one token of every prompt is computed, for without it there are no logits.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence as Ordered
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, Literal

Prompt = Ordered[int]
Kind = Literal["hash", "radix"]


@dataclass(frozen=True, slots=True)
class Hits:
    """Prompt tokens looked up and found. The rate is a ratio of sums, not a mean of ratios."""

    queries: int
    hits: int

    @property
    def rate(self) -> float:
        return self.hits / self.queries if self.queries else 0.0


def counted(events: Iterable[dict[str, Any]]) -> Hits:
    """Return the hits of a trace's events, as the engine's own counters have them.

    A `request` event has `id` and `prompt_token_ids`; a `step` has `admitted`, a list of `id` and `cached_tokens`. A
    sequence is looked up when it is first admitted. What it finds after a preemption is its own, and does not count.
    """
    # region exercise: the length of each prompt by id; then the first admission of each id, and no other
    lengths: dict[str, int] = {}
    queries = hits = 0
    for event in events:
        if event["event"] == "request":
            lengths[event["id"]] = len(event["prompt_token_ids"])
        elif event["event"] == "step":
            for admitted in event["admitted"]:
                length = lengths.pop(admitted["id"], None)
                if length is not None:
                    queries += length
                    hits += admitted["cached_tokens"]
    return Hits(queries, hits)
    # endregion


def found(prompt: Prompt, earlier: Iterable[Prompt], block_size: int, kind: Kind) -> int:
    """Return how many tokens of a prompt are found, if every earlier prompt was computed and nothing was evicted.

    Both caches know the full blocks of the earlier prompts. `hash` finds whole blocks; `radix` also finds the beginning
    of a block. The last token of the prompt is always computed.
    """
    # region exercise: the longest prefix in common with the full blocks of any earlier prompt, cut as the cache cuts it
    usable = len(prompt) - 1
    most = 0
    for other in earlier:
        known = other[: len(other) // block_size * block_size]
        most = max(most, min(common(prompt, known), usable))
    return most if kind == "radix" else most // block_size * block_size
    # endregion


def predicted(prompts: Ordered[Prompt], block_size: int, kind: Kind) -> Hits:
    """Return the hits of prompts that are served one after another, with room for all of them."""
    # region exercise: look each prompt up among those before it
    hits = sum(found(prompt, prompts[:index], block_size, kind) for index, prompt in enumerate(prompts))
    return Hits(sum(map(len, prompts)), hits)
    # endregion


def largest_block(prompts: Ordered[Prompt], sizes: Iterable[int], share: float) -> int:
    """Return the largest of the sizes with which the hash cache keeps `share` of the hits of one-token blocks.

    ValueError if none of them does.
    """
    # region exercise: try every size; a larger block can find more than a smaller one
    most = predicted(prompts, 1, "hash").hits
    good = [size for size in sizes if predicted(prompts, size, "hash").hits >= share * most]
    if not good:
        raise ValueError(f"no size keeps {share:.0%} of {most} hits; prefixes are too short for such blocks")
    return max(good)
    # endregion


def order_for_reuse(prompts: Ordered[Prompt]) -> list[int]:
    """Return the indices of the prompts in the order in which even the smallest cache finds all that can be found.

    The smallest cache holds one prompt. Equal prompts keep their order.
    """
    # region exercise: think of a tree of prefixes; in which order do you visit it so that no branch is entered twice?
    return sorted(range(len(prompts)), key=lambda index: tuple(prompts[index]))
    # endregion


def common(left: Prompt, right: Prompt) -> int:
    """Return the length of the longest common prefix."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(left, right, strict=False)))
