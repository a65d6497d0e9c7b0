from __future__ import annotations

from collections import OrderedDict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_engine.kv_cache.manager import KVCacheManager
from llm_engine.kv_cache.memory import BlockCopy
from llm_engine.kv_cache.radix_cache import RadixPrefixCache
from llm_engine.observers.invariants import check
from llm_engine.scheduler.policies import EvictionPolicy, evict_least_recently_used
from llm_engine.scheduler.scheduler import Scheduler
from llm_engine.scheduler.sequence import FinishReason
from llm_engine.testing.sequences import commit, computed, sequence

BLOCK = 4


def radix(num_blocks: int, evict: EvictionPolicy = evict_least_recently_used) -> KVCacheManager:
    return KVCacheManager(num_blocks, BLOCK, "radix", evict)


def test_a_prefix_that_ends_inside_a_block_shares_that_block_too() -> None:
    cache = radix(10)
    first = computed(cache, 1, 2, 3, 4, 5, 6, 7, 8)
    second = sequence(1, 2, 3, 4, 5, 6, 99, 98)
    assert cache.admit(second)
    assert (second.num_computed_tokens, second.block_table) == (6, first.block_table)
    assert cache.grow(second, 2)
    (copy,) = cache.take_copies()
    assert copy == BlockCopy(first.block_table[1], second.block_table[1])
    assert copy.source != copy.target


def test_a_cached_block_is_copied_though_nobody_owns_it() -> None:
    cache = radix(10)
    cache.release(computed(cache, 1, 2, 3, 4))
    second = sequence(1, 2, 3, 9)
    assert cache.admit(second)
    assert cache.grow(second, 1)
    assert len(cache.take_copies()) == 1
    assert cache.prefix_cache.match(sequence(1, 2, 3, 4, 5))[1] == 4


def test_a_prompt_that_is_cached_whole_computes_one_token() -> None:
    cache = radix(10)
    computed(cache, *range(8))
    again = sequence(*range(8))
    assert cache.admit(again)
    assert again.num_uncomputed_tokens == 1


def test_a_sequence_that_fills_the_memory_does_without_half_a_block() -> None:
    cache = radix(2)
    cache.release(computed(cache, *range(8)))
    again = sequence(0, 1, 2, 3, 4, 5, 50, 51)
    assert cache.admit(again)
    assert again.num_computed_tokens == 4


def test_leaves_go_first() -> None:
    cache = radix(3)
    cache.release(computed(cache, *range(12)))
    computed(cache, 50, 51, 52)
    assert cache.prefix_cache.match(sequence(*range(12)))[1] == 8


def test_what_is_below_an_evicted_block_goes_with_it() -> None:
    def oldest_block(cached: OrderedDict[int, None]) -> int:
        return next(reversed(cached))

    cache = radix(3, oldest_block)
    cache.release(computed(cache, *range(12)))
    computed(cache, 50, 51, 52)
    assert len(cache.prefix_cache) == 0
    assert (len(cache.pool.cached), len(cache.pool.free)) == (0, 2)


def test_nothing_is_known_below_a_block_that_somebody_else_made_known() -> None:
    cache = radix(10)
    first, second = sequence(*range(5)), sequence(*range(5))
    for item in (first, second):
        assert cache.admit(item)
        assert cache.grow(item, 5)
    commit(cache, first, 5)
    commit(cache, second, 5)
    second.token_ids += range(5, 9)
    assert cache.grow(second, 3)
    commit(cache, second, 3)
    cache.release(first)
    assert len(cache.prefix_cache) == 1


@settings(max_examples=200, deadline=None)
@given(
    prompts=st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=20), min_size=1, max_size=12),
    evict=st.sampled_from([evict_least_recently_used, lambda cached: next(reversed(cached))]),
)
def test_a_match_is_the_longest_known_prefix(prompts: list[list[int]], evict: EvictionPolicy) -> None:
    """Compare with a model: each known block has its path, and a match is the longest common prefix with any path."""
    cache = radix(9, evict)
    tree = cache.prefix_cache
    assert isinstance(tree, RadixPrefixCache)
    scheduler = Scheduler(cache, 4, 64)
    for tokens in prompts:
        paths = []
        for node in tree._node_of.values():
            path: list[int] = []
            while node.parent is not None:
                path, node = [*node.tokens, *path], node.parent
            paths.append(path)
        usable = tokens[:-1]
        longest = max((_common(path, usable) for path in paths), default=0)
        assert tree.match(sequence(*tokens))[1] == longest
        item = computed(cache, *tokens)
        cache.take_copies()
        cache.release(item)
        check(scheduler)
        scheduler.finish(item, FinishReason.STOP)


def _common(left: list[int], right: list[int]) -> int:
    count = 0
    while count < min(len(left), len(right)) and left[count] == right[count]:
        count += 1
    return count


@pytest.mark.parametrize("kind", ["hash", "radix"])
def test_both_caches_find_whole_blocks_alike(kind: str) -> None:
    cache = KVCacheManager(20, BLOCK, kind)
    computed(cache, *range(12))
    assert cache.prefix_cache.match(sequence(*range(9)))[1] == 8
    assert cache.prefix_cache.match(sequence(*range(100, 109)))[1] == 0
