"""Preempted sequences whose blocks go to host memory and come back."""

from __future__ import annotations

from llm_engine.kv_cache.manager import KVCacheManager
from llm_engine.kv_cache.memory import BlockCopy, Move
from llm_engine.scheduler.sequence import Sequence
from llm_engine.testing.sequences import computed

BLOCK = 4


def running(cache: KVCacheManager, first: int, count: int) -> Sequence:
    item = computed(cache, *range(first, first + count))
    item.token_ids.append(7)
    return item


def test_blocks_go_out_and_come_back() -> None:
    cache = KVCacheManager(4, BLOCK, "off", num_host_blocks=3)
    item = running(cache, 0, 6)
    assert cache.grow(item, 3)  # a third block, without computed tokens
    out = list(item.block_table[:2])
    cache.preempt(item)
    copies = cache.take_copies()
    assert copies == [BlockCopy(block, host, Move.OUT) for block, host in zip(out, item.host_blocks, strict=True)]
    assert (item.block_table, item.num_computed_tokens, item.num_swapped_tokens) == ([], 0, 6)
    assert len(cache.free_host_blocks) == 1
    hosts = list(item.host_blocks)
    assert cache.admit(item)
    assert (item.num_computed_tokens, item.num_uncomputed_tokens) == (6, 1)
    assert cache.take_copies() == [BlockCopy(h, b, Move.IN) for h, b in zip(hosts, item.block_table, strict=True)]
    assert sorted(cache.free_host_blocks) == [0, 1, 2]


def test_what_the_prefix_cache_still_has_is_not_fetched() -> None:
    cache = KVCacheManager(4, BLOCK, num_host_blocks=3)
    item = running(cache, 0, 6)
    cache.preempt(item)
    cache.take_copies()
    assert cache.admit(item)
    assert [copy.move for copy in cache.take_copies()] == [Move.IN]
    assert item.num_computed_tokens == 6


def test_without_room_on_the_host_it_is_computed_again() -> None:
    cache = KVCacheManager(4, BLOCK, "off", num_host_blocks=1)
    item = running(cache, 0, 6)
    cache.preempt(item)
    assert cache.take_copies() == []
    assert cache.admit(item)
    assert item.num_computed_tokens == 0


def test_a_swapped_sequence_that_is_aborted_gives_the_host_its_blocks_back() -> None:
    cache = KVCacheManager(4, BLOCK, num_host_blocks=3)
    item = running(cache, 0, 6)
    cache.preempt(item)
    cache.release(item)
    assert len(cache.free_host_blocks) == 3
    assert cache.pool.num_available == 4
