from __future__ import annotations

from collections.abc import Callable

from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from hypothesis.strategies import booleans, data

from llm_engine.kv_cache.block_pool import BlockPool

NUM_BLOCKS = 6


def noting(evicted: list[int]) -> Callable[[int], list[int]]:
    """Return an eviction callback that records the block. No other block becomes worthless."""

    def evict(block: int) -> list[int]:
        evicted.append(block)
        return []

    return evict


def test_a_free_block_is_preferred_to_evicting_a_cached_one() -> None:
    evicted: list[int] = []
    pool = BlockPool(2, noting(evicted))
    kept = pool.allocate()
    pool.release(kept, keep=True)
    assert pool.allocate() != kept
    assert evicted == []


def test_the_longest_unused_cached_block_is_evicted_first() -> None:
    evicted: list[int] = []
    pool = BlockPool(3, noting(evicted))
    blocks = [pool.allocate() for _ in range(3)]
    for block in blocks:
        pool.release(block, keep=True)
    pool.share(blocks[0])
    pool.release(blocks[0], keep=True)  # used again: now the youngest
    assert [pool.allocate() for _ in range(3)] == [blocks[1], blocks[2], blocks[0]]
    assert evicted == [blocks[1], blocks[2], blocks[0]]
    assert pool.num_evictions == 3


def test_another_eviction_policy_can_be_plugged_in() -> None:
    pool = BlockPool(2, evict=lambda cached: next(reversed(cached)))
    first, second = pool.allocate(), pool.allocate()
    pool.release(first, keep=True)
    pool.release(second, keep=True)
    assert pool.allocate() == second


def test_a_shared_block_stays_owned_until_the_last_reference_goes() -> None:
    pool = BlockPool(1)
    block = pool.allocate()
    pool.share(block)
    pool.release(block, keep=True)
    assert pool.num_available == 0
    assert pool.usage == 1
    pool.release(block, keep=False)
    assert pool.free == [block]
    assert pool.usage == 0


class PoolMachine(RuleBasedStateMachine):
    """A random sequence of calls, compared with a model: a list of references and a set of kept blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.evicted: list[int] = []
        self.pool = BlockPool(NUM_BLOCKS, noting(self.evicted))
        self.references: list[int] = []

    @precondition(lambda self: self.pool.num_available)
    @rule()
    def allocate(self) -> None:
        block = self.pool.allocate()
        assert block not in self.references
        self.references.append(block)

    @precondition(lambda self: self.references)
    @rule(data=data(), keep=booleans())
    def release(self, data, keep: bool) -> None:  # type: ignore[no-untyped-def]
        index = data.draw(_index(self.references))
        self.pool.release(self.references.pop(index), keep)

    @precondition(lambda self: self.references or self.pool.cached)
    @rule(data=data())
    def share(self, data) -> None:  # type: ignore[no-untyped-def]
        known = [*self.references, *self.pool.cached]
        block = known[data.draw(_index(known))]
        self.pool.share(block)
        self.references.append(block)

    @invariant()
    def every_block_is_in_exactly_one_state(self) -> None:
        owned = set(self.references)
        states = [*self.pool.free, *self.pool.cached, *owned]
        assert sorted(states) == list(range(NUM_BLOCKS))
        assert self.pool.num_available == NUM_BLOCKS - len(owned)

    @invariant()
    def counts_are_references(self) -> None:
        assert self.pool.ref_counts == [self.references.count(block) for block in range(NUM_BLOCKS)]

    @invariant()
    def evictions_are_reported(self) -> None:
        assert len(self.evicted) == self.pool.num_evictions


def _index(items: list[int]):  # type: ignore[no-untyped-def]
    from hypothesis.strategies import integers

    return integers(0, len(items) - 1)


TestPool = PoolMachine.TestCase
TestPool.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
