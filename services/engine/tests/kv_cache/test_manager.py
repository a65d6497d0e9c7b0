"""The KV cache manager: block tables and prefix caching."""

from __future__ import annotations

from llm_engine.kv_cache.manager import KVCacheManager
from llm_engine.testing.sequences import compute, computed, sequence

BLOCK = 4


def test_a_sequence_owns_the_blocks_its_tokens_fill() -> None:
    cache = KVCacheManager(10, BLOCK)
    item = computed(cache, *range(9))
    assert len(item.block_table) == 3
    cache.release(item)
    assert cache.pool.num_available == 10
    assert item.num_computed_tokens == 0


def test_equal_prefixes_share_full_blocks_and_only_those() -> None:
    cache = KVCacheManager(10, BLOCK)
    first = computed(cache, *range(10))
    second = sequence(*range(10), 99)
    assert cache.admit(second)
    assert second.block_table == first.block_table[:2]
    assert second.num_computed_tokens == 8
    assert [cache.pool.ref_counts[block] for block in first.block_table] == [2, 2, 1]


def test_the_same_block_after_another_prefix_is_not_shared() -> None:
    cache = KVCacheManager(10, BLOCK)
    computed(cache, 1, 2, 3, 4, 5, 6, 7, 8, 0)
    other = sequence(9, 9, 9, 9, 5, 6, 7, 8, 0)
    assert cache.admit(other)
    assert other.block_table == []


def test_a_prompt_that_is_cached_whole_still_computes_its_last_token() -> None:
    cache = KVCacheManager(10, BLOCK)
    computed(cache, *range(8))
    again = sequence(*range(8))
    assert cache.admit(again)
    assert again.num_computed_tokens == 4
    assert again.num_uncomputed_tokens == 4


def test_released_blocks_are_found_again_and_a_prefix_outlives_its_continuation() -> None:
    cache = KVCacheManager(3, BLOCK)
    old = computed(cache, *range(12))
    blocks = list(old.block_table)
    cache.release(old)
    computed(cache, 50, 51, 52)  # takes one block: the old sequence's last one is evicted
    again = sequence(*range(12))
    assert cache.prefix_cache.match(again) == (blocks[:2], 8)


def test_an_evicted_block_is_forgotten() -> None:
    cache = KVCacheManager(2, BLOCK)
    cache.release(computed(cache, *range(8)))
    cache.release(computed(cache, *range(100, 108)))
    assert cache.prefix_cache.match(sequence(*range(9))) == ([], 0)
    assert len(cache.prefix_cache) == 2


def test_a_block_computed_twice_is_known_once() -> None:
    cache = KVCacheManager(10, BLOCK)
    first, second = sequence(*range(5)), sequence(*range(5))
    assert cache.admit(first)
    assert cache.admit(second)
    compute(cache, first)
    compute(cache, second)
    cache.release(first)
    cache.release(second)
    assert len(cache.pool.cached) == 1
    assert len(cache.pool.free) == 9


def test_growth_that_does_not_fit_changes_nothing() -> None:
    cache = KVCacheManager(2, BLOCK)
    item = computed(cache, *range(7))
    item.token_ids += [1] * 5
    assert not cache.grow(item, 5)
    assert len(item.block_table) == 2


def test_a_sequence_that_would_not_fit_is_not_admitted_even_if_its_prefix_is_cached() -> None:
    cache = KVCacheManager(3, BLOCK)
    cache.release(computed(cache, *range(8)))
    assert not cache.admit(sequence(*range(8), *range(20, 28)))
    assert cache.pool.num_available == 3


def test_blocks_that_sampled_tokens_filled_are_shared_too() -> None:
    cache = KVCacheManager(10, BLOCK)
    item = computed(cache, 1, 2, 3)
    item.token_ids += [4, 5]
    compute(cache, item)
    assert cache.prefix_cache.match(sequence(1, 2, 3, 4, 5)) == (item.block_table[:1], 4)


def test_queries_and_hits_are_counted_in_tokens() -> None:
    cache = KVCacheManager(10, BLOCK)
    computed(cache, *range(9))
    computed(cache, *range(9))
    assert (cache.stats.queries, cache.stats.hits) == (18, 8)


def test_without_prefix_caching_nothing_is_found_or_kept() -> None:
    cache = KVCacheManager(10, BLOCK, prefix_cache="off")
    cache.release(computed(cache, *range(9)))
    again = sequence(*range(9))
    assert cache.admit(again)
    assert again.block_table == []
    assert len(cache.pool.free) == 10
