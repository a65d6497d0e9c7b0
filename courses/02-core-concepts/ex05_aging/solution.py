"""A scheduling order in which urgent requests go first and no request waits without a bound.

The engine sorts its sequences by a key, and the smaller key is served sooner. A key must not change while its sequence
is in the scheduler: the lists stay sorted only if nothing in them moves. So a rank that improves with time is out, and
aging has to be written as a key that is fixed on arrival.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Callable, Iterable
from collections.abc import Sequence as Ordered

from llm_engine.scheduler.sequence import Sequence

Order = Callable[[Sequence], tuple[int, ...]]


def aging(step: int) -> Order:
    """Return the order in which one class is worth `step` arrivals.

    A request of priority p (lower is sooner) ranks with the requests of priority p + 1 that came `step` arrivals before
    it; among equals, whoever came first goes first.
    """

    def order(sequence: Sequence) -> tuple[int, ...]:
        # region exercise: a key of `sequence.priority` and `sequence.arrival`, neither of which ever changes
        return (sequence.priority * step + sequence.arrival, sequence.arrival)
        # endregion

    return order


def most_overtaking(step: int, priority: int, most_urgent: int) -> int:
    """Return how many requests that come later can be served before one of this priority, at most."""
    # region exercise: the later request of the most urgent class whose key is still smaller; mind the tie
    return max(0, step * (priority - most_urgent) - 1)
    # endregion


def step_for(most: int, priorities: Iterable[int]) -> int:
    """Return the largest step with which no request of these priorities is overtaken more than `most` times.

    With one class every step does; 1 then. ValueError if no step of at least 1 does: the classes cannot be told apart.
    """
    # region exercise: turn `most_overtaking` round, for the least urgent class
    classes = sorted(set(priorities))
    span = classes[-1] - classes[0]
    if span == 0:
        return 1
    step = (most + 1) // span
    if step < 1:
        raise ValueError(f"{span} classes apart, a request is overtaken up to {span - 1} times even with a step of 1")
    return step
    # endregion


def overtaken(sequences: Ordered[Sequence], order: Order) -> list[int]:
    """Return, for each sequence, how many later arrivals are served before it, one at a time."""
    # region exercise: count, for each sequence, the later ones with a smaller key; two loops do
    later: list[tuple[int, ...]] = []
    counts = {}
    for sequence in sorted(sequences, key=lambda each: each.arrival, reverse=True):
        counts[sequence.arrival] = bisect_left(later, order(sequence))
        insort(later, order(sequence))
    return [counts[sequence.arrival] for sequence in sequences]
    # endregion
