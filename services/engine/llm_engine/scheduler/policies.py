"""The three decisions somebody may want to make otherwise, each a small function with a default.

scheduling order   which sequence is served first         ORDERS, by `--scheduling-policy`
victim             who gives back its blocks when full    last_in_order
eviction           which cached block is overwritten      evict_least_recently_used

    Engine(config, policies=Policies(evict=mine))
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

from llm_engine.scheduler.sequence import Sequence

Order: TypeAlias = Callable[[Sequence], tuple[int, ...]]
"""Sort key: the smaller is served sooner. Must not change while a sequence is in the scheduler."""
VictimPolicy: TypeAlias = Callable[[Iterable[Sequence], Order], Sequence]
EvictionPolicy: TypeAlias = Callable[["OrderedDict[int, None]"], int]
"""From the cached blocks that nobody owns, the longest unused first, the one to overwrite."""


def first_come_first_served(sequence: Sequence) -> tuple[int, ...]:
    return (sequence.arrival,)


def by_priority(sequence: Sequence) -> tuple[int, ...]:
    """vLLM's: the lower number sooner, ties in order of arrival."""
    return (sequence.priority, sequence.arrival)


ORDERS: dict[str, Order] = {"fcfs": first_come_first_served, "priority": by_priority}


def last_in_order(running: Iterable[Sequence], order: Order) -> Sequence:
    """The least urgent, and among equals the youngest: it has the least computed work to lose."""
    return max(running, key=order)


def evict_least_recently_used(cached: OrderedDict[int, None]) -> int:
    return next(iter(cached))


@dataclass(frozen=True, slots=True)
class Policies:
    order: Order | None = None
    """None: what `--scheduling-policy` says."""
    select_victim: VictimPolicy = last_in_order
    evict: EvictionPolicy = evict_least_recently_used
