from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_engine.attention import TorchAttention
from llm_engine.batch import Batch

BLOCK, HEADS, KV_HEADS, DIM = 4, 4, 2, 8


def naive(query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, window: int | None) -> torch.Tensor:
    """One sequence, one query and one head at a time, as the paper writes it."""
    context, out = len(keys), torch.zeros_like(query)
    for index in range(len(query)):
        position = context - len(query) + index
        first = 0 if window is None else max(0, position - window + 1)
        for head in range(HEADS):
            kv_head = head // (HEADS // KV_HEADS)
            k, v = keys[first : position + 1, kv_head], values[first : position + 1, kv_head]
            out[index, head] = (query[index, head] @ k.T / DIM**0.5).softmax(-1) @ v
    return out


def check(query_lens: list[int], contexts: list[int], window: int | None) -> None:
    torch.manual_seed(0)
    order = sorted(range(len(query_lens)), key=query_lens.__getitem__)
    query_lens, contexts = [query_lens[i] for i in order], [contexts[i] for i in order]
    blocks_each = [-(-context // BLOCK) for context in contexts]
    cache = torch.randn(sum(blocks_each) + 1, BLOCK, 2, KV_HEADS, DIM)
    shuffled = torch.randperm(sum(blocks_each)) + 1
    tables = torch.zeros(len(contexts), max(blocks_each), dtype=torch.int64)
    for row, (table, count) in enumerate(zip(shuffled.split(blocks_each), blocks_each, strict=True)):
        tables[row, :count] = table
    query = torch.randn(sum(query_lens), HEADS * DIM)
    none = torch.zeros(0, dtype=torch.int64)
    batch = Batch(none, none, none, tables, np.array(contexts), query_lens, None, [])
    attention = TorchAttention(HEADS, KV_HEADS, DIM, (window,), torch.float32)
    result = attention.attend(query, cache, attention.plan(batch, BLOCK), window)
    for row, own in enumerate(query.split(query_lens)):
        kv = cache[tables[row]].view(-1, 2, KV_HEADS, DIM)[: contexts[row]]
        expected = naive(own.view(-1, HEADS, DIM), kv[:, 0], kv[:, 1], window)
        actual = result.split(query_lens)[row].view(-1, HEADS, DIM)
        torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("window", [None, 1, 5, 100])
@pytest.mark.parametrize(
    ("query_lens", "contexts"),
    [
        ([1], [1]),
        ([1], [9]),
        ([1, 1, 1], [3, 12, 8]),
        ([7], [7]),
        ([5, 7, 8], [5, 20, 11]),
        ([1, 1, 2, 3, 9, 16], [9, 1, 2, 13, 9, 30]),
    ],
)
def test_it_is_what_the_paper_says(query_lens: list[int], contexts: list[int], window: int | None) -> None:
    check(query_lens, contexts, window)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 12), st.integers(0, 20)), min_size=1, max_size=7),
    st.sampled_from([None, 2, 9]),
)
def test_any_mix_of_lengths(sizes: list[tuple[int, int]], window: int | None) -> None:
    check([new for new, _ in sizes], [new + before for new, before in sizes], window)


def test_decodes_are_one_group_and_similar_chunks_share_one() -> None:
    attention = TorchAttention(HEADS, KV_HEADS, DIM, (None,), torch.float32)
    lens = [1, 1, 1, 5, 8, 60]
    tables, none = torch.zeros(6, 20, dtype=torch.int64), torch.zeros(0, dtype=torch.int64)
    batch = Batch(none, none, none, tables, np.array([7, 3, 9, 5, 8, 60]), lens, None, [])
    groups = attention.plan(batch, BLOCK)
    assert [(group.size, group.query_len, group.context_len) for group in groups] == [(3, 1, 9), (2, 8, 8), (1, 60, 60)]


def test_a_write_fills_exactly_the_slots() -> None:
    attention = TorchAttention(HEADS, KV_HEADS, DIM, (None,), torch.float32)
    cache = torch.zeros(3, BLOCK, 2, KV_HEADS, DIM)
    kv = torch.randn(2, 2 * KV_HEADS * DIM)
    attention.write(cache, torch.tensor([6, 1]), kv)
    assert torch.equal(cache[1, 2].flatten(), kv[0])
    assert torch.equal(cache[0, 1].flatten(), kv[1])
    assert cache.abs().sum() == kv.abs().sum()
