"""Sequences whose tokens are computed without a model, for tests of the KV cache."""

from __future__ import annotations

from llm_engine.kv_cache.manager import KVCacheManager
from llm_engine.sampling.params import SamplingParams
from llm_engine.scheduler.sequence import Sequence


def sequence(*tokens: int) -> Sequence:
    return Sequence("s", list(tokens), SamplingParams())


def commit(cache: KVCacheManager, item: Sequence, count: int) -> None:
    """Compute the sequence's next `count` tokens, whose blocks it owns."""
    start = item.num_computed_tokens
    item.num_computed_tokens += count
    cache.commit(item, start, start + count)


def compute(cache: KVCacheManager, item: Sequence) -> None:
    """Take blocks for the tokens that are left, and compute them."""
    count = item.num_uncomputed_tokens
    assert cache.grow(item, count)
    commit(cache, item, count)


def computed(cache: KVCacheManager, *tokens: int) -> Sequence:
    """Return a sequence whose tokens are all computed."""
    item = sequence(*tokens)
    assert cache.admit(item)
    compute(cache, item)
    return item
