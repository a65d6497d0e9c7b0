"""Three decisions that can be replaced, each a small function with a default.

scheduling order     which sequence is served first                    ORDERS, by `--scheduling-policy`
preemption victim    which sequence loses its blocks if none is free   last_in_order
eviction             which cached block is overwritten                 evict_least_recently_used

    Engine(config, policies=Policies(evict=mine))
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

from llm_engine.scheduler.sequence import Sequence

Order: TypeAlias = Callable[[Sequence], tuple[int, ...]]
"""A sort key: the smallest is served first. It must not change while a sequence is in the scheduler."""
VictimPolicy: TypeAlias = Callable[[Iterable[Sequence], Order], Sequence]
EvictionPolicy: TypeAlias = Callable[["OrderedDict[int, None]"], int]
"""Choose the block to overwrite among the cached blocks without an owner, given least recently used first."""


def first_come_first_served(sequence: Sequence) -> tuple[int, ...]:
    return (sequence.arrival,)


def by_priority(sequence: Sequence) -> tuple[int, ...]:
    """Serve the lowest number first, and equal numbers in order of arrival, as in vLLM."""
    return (sequence.priority, sequence.arrival)


ORDERS: dict[str, Order] = {"fcfs": first_come_first_served, "priority": by_priority}


def last_in_order(running: Iterable[Sequence], order: Order) -> Sequence:
    """Choose the least urgent sequence; the last arrival among equals has the least work to lose."""
    return max(running, key=order)


def evict_least_recently_used(cached: OrderedDict[int, None]) -> int:
    return next(iter(cached))


@dataclass(frozen=True, slots=True)
class Policies:
    order: Order | None = None
    """None: the order that `--scheduling-policy` names."""
    select_victim: VictimPolicy = last_in_order
    evict: EvictionPolicy = evict_least_recently_used
