"""The choice of an engine: the cheapest in turn, the better of two, the longest match."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from llm_proxy.balance import better_of_two, cheapest, longest_match
from llm_proxy.request.prefix import PrefixIndex


@dataclass(eq=False)
class Engine:
    load: int
    prefixes: PrefixIndex = field(default_factory=PrefixIndex)


def load(engine: Engine) -> int:
    return engine.load


loads = st.lists(st.integers(0, 4), min_size=1, max_size=6)


@given(loads)
def test_the_cheapest_take_turns(costs: list[int]) -> None:
    engines = [Engine(cost) for cost in costs]
    chosen = Counter(id(cheapest(engines, load, turn)) for turn in range(len(engines)))
    assert chosen.keys() == {id(engine) for engine in engines if engine.load == min(costs)}


@given(loads, st.randoms(use_true_random=False))
def test_of_two_different_engines_the_dearer_is_never_taken(costs: list[int], source: random.Random) -> None:
    engines = [Engine(cost) for cost in costs]
    chosen = better_of_two(engines, load, source.random)
    # Whatever is drawn, one of any two costs no more than the second dearest of all.
    assert chosen.load <= sorted(costs)[max(0, len(costs) - 2)]


def test_both_engines_are_drawn_evenly() -> None:
    engines = [Engine(0) for _ in range(4)]
    source = random.Random(0)
    chosen = Counter(id(better_of_two(engines, load, source.random)) for _ in range(4000))
    assert all(900 < chosen[id(engine)] < 1100 for engine in engines)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), min_size=1, max_size=6))
def test_the_longest_match_wins_and_the_cheapest_among_equals(known: list[tuple[int, int]]) -> None:
    prompt = (11, 22, 33)
    engines = []
    for blocks, cost in known:
        engines.append(Engine(cost))
        engines[-1].prefixes.add(prompt[:blocks])
    chosen = longest_match(engines, prompt, load)
    longest = max(blocks for blocks, _ in known)
    if longest == 0:
        assert chosen is None
        return
    assert chosen is not None
    assert chosen.prefixes.match(prompt) == longest
    assert chosen.load == min(cost for blocks, cost in known if blocks == longest)
