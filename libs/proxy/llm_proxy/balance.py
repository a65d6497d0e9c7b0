"""The choice of one engine among several. A policy states the cost of an engine: its load, or the work it holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from llm_proxy.request.prefix import PrefixIndex

T = TypeVar("T")


class Cached(Protocol):
    """An engine with an index of the prefixes that it was sent."""

    @property
    def prefixes(self) -> PrefixIndex: ...


C = TypeVar("C", bound=Cached)


def cheapest(engines: Sequence[T], cost: Callable[[T], Any], turn: int) -> T:
    """Return the engine with the lowest cost. Among equals, count `turn` up to give each its turn."""
    start = turn % len(engines)
    return min((*engines[start:], *engines[:start]), key=cost)


def better_of_two(engines: Sequence[T], cost: Callable[[T], Any], draw: Callable[[], float]) -> T:
    """Return the cheaper of two engines drawn at random: the power of two choices (Mitzenmacher 2001).

    `draw` returns a number in [0, 1).
    """
    count = len(engines)
    if count == 1:
        return engines[0]
    first = int(draw() * count)
    second = (first + 1 + int(draw() * (count - 1))) % count
    one, other = engines[first], engines[second]
    return one if cost(one) <= cost(other) else other


def longest_match(engines: Sequence[C], prefix: tuple[int, ...], cost: Callable[[C], Any]) -> C | None:
    """Return the engine that has seen most of the prefix, the cheapest of equals; None if none has seen any of it."""
    longest, best = 0, None
    for engine in engines:
        match = engine.prefixes.match(prefix)
        if match > longest or (match and match == longest and best is not None and cost(engine) < cost(best)):
            longest, best = match, engine
    return best
