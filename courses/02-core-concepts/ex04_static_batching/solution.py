"""Static and continuous batching on the same engine, counted in steps.

In a step each sequence of the batch gets one token. Its first step computes the prompt and gives the first token, so an
answer of n tokens is in the batch for n steps. Steps do not depend on the machine; seconds do.

Run it: python static_batching.py
"""

from __future__ import annotations

import heapq
import sys
import time
from collections.abc import Sequence as Ordered
from dataclasses import dataclass
from random import Random

from llm_engine import Engine, EngineConfig, SamplingParams


@dataclass(frozen=True)
class Request:
    prompt: list[int]
    num_tokens: int
    """The answer's length. The server that runs it does not know it."""


def add(engine: Engine, name: int, request: Request) -> None:
    """Queue a request. The engine lets it in as soon as it has a free slot."""
    params = SamplingParams(temperature=0, max_tokens=request.num_tokens, ignore_eos=True)
    engine.add_request(str(name), request.prompt, params)


# Two servers


def static(engine: Engine, requests: Ordered[Request], size: int) -> int:
    """Serve the requests in batches of `size`, in order. A batch starts when all of the one before has ended.

    Return the number of steps. Requests are named by their place, 0 onwards.
    """
    # region exercise: add a batch, and step until the engine has no work; then the next batch
    steps = 0
    for start in range(0, len(requests), size):
        for index in range(start, min(start + size, len(requests))):
            add(engine, index, requests[index])
        while engine.has_work:
            engine.step()
            steps += 1
    return steps
    # endregion


def continuous(engine: Engine, requests: Ordered[Request]) -> int:
    """Serve the requests as the engine does by itself: the next one joins when a slot is free. Return the steps."""
    # region exercise: who decides when a request joins?
    for index, request in enumerate(requests):
        add(engine, index, request)
    steps = 0
    while engine.has_work:
        engine.step()
        steps += 1
    return steps
    # endregion


# The same by arithmetic


def static_steps(lengths: Ordered[int], size: int) -> int:
    """Return the steps that static batches of `size` take, in the order of the lengths."""
    # region exercise: a batch lasts as long as its longest answer; the last batch can be smaller
    return sum(max(lengths[start : start + size]) for start in range(0, len(lengths), size))
    # endregion


def continuous_steps(lengths: Ordered[int], slots: int) -> int:
    """Return the steps that continuous batching takes if each answer, in order, gets the slot that is free first."""
    # region exercise: keep the step at which each slot is free; a heap has the earliest at hand
    free_at = [0] * slots
    for length in lengths:
        heapq.heapreplace(free_at, free_at[0] + length)
    return max(free_at)
    # endregion


def fewest_steps(lengths: Ordered[int], slots: int) -> int:
    """Return the number of steps that no schedule can go below, whatever it knows."""
    # region exercise: two reasons; a slot gives a token a step, and an answer needs a step for each of its tokens
    return max(*lengths, -(-sum(lengths) // slots))
    # endregion


def slots_used(lengths: Ordered[int], slots: int, steps: int) -> float:
    """Return the share of all slots of all steps that gave a token, 0 to 1."""
    # region exercise: tokens over slots times steps
    return sum(lengths) / (slots * steps)
    # endregion


def padded_tokens(prompts: Ordered[int], size: int) -> int:
    """Return how many prompt tokens static batches compute for nothing, if each batch is one rectangular tensor.

    `prompts`: the prompts' lengths. All prompts of a batch are filled up to its longest.
    """
    # region exercise: for each batch, its rows times its longest, less what is wanted
    batches = [prompts[start : start + size] for start in range(0, len(prompts), size)]
    return sum(len(batch) * max(batch) - sum(batch) for batch in batches)
    # endregion


# Where a factor comes from


def best_order(lengths: Ordered[int], size: int) -> list[int]:
    """Return the lengths in the order in which static batches of `size` take the fewest steps."""
    # region exercise: which answers should share a batch? And which should be in the one that is not full?
    return sorted(lengths, reverse=True)
    # endregion


def worst_lengths(slots: int, batches: int, longest: int) -> list[int]:
    """Return lengths, `slots` times `batches` of them from 1 to `longest`, for which static batching loses most.

    The ratio of its steps to those of continuous batching comes close to the number of slots.
    """
    # region exercise: what is the least that makes a whole batch last long?
    return ([longest] + [1] * (slots - 1)) * batches
    # endregion


def causes(lengths: Ordered[int], static_slots: int, continuous_slots: int) -> tuple[float, float]:
    """Split the ratio of static to continuous steps into two factors: refilling the slots, and having more of them.

    Paged memory holds more sequences than reserved memory, so the two servers differ in both. First change how slots
    are filled, with `static_slots`; then change their number.
    """
    # region exercise: three step counts, two ratios
    refilled = continuous_steps(lengths, static_slots)
    return static_steps(lengths, static_slots) / refilled, refilled / continuous_steps(lengths, continuous_slots)
    # endregion


# Three workloads


def workloads(slots: int) -> dict[str, list[int]]:
    random = Random(0)
    return {
        "equal": [32] * 64,
        "uniform": [random.randint(1, 63) for _ in range(64)],
        "one long in eight": worst_lengths(slots, 8, 64),
    }


def main() -> None:
    """Print steps and seconds. The seconds are this machine's; with a small model most of a step is overhead."""
    model, slots = sys.argv[1] if len(sys.argv) > 1 else "models/main", 8
    config = EngineConfig(model, max_num_seqs=slots, max_model_len=128, enable_prefix_caching=False)
    for name, lengths in workloads(slots).items():
        requests = [Request([10 + index] * 8, length) for index, length in enumerate(lengths)]
        print(name)
        for way in ("static", "continuous"):
            engine = Engine(config)
            begin = time.perf_counter()
            steps = static(engine, requests, slots) if way == "static" else continuous(engine, requests)
            seconds = time.perf_counter() - begin
            used = slots_used(lengths, slots, steps)
            print(f"  {way:10} {steps:4} steps, {used:4.0%} of the slots used, {seconds:5.1f} s")


if __name__ == "__main__":
    main()
