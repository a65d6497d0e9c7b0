from __future__ import annotations

from itertools import accumulate

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_engine.checkpoint.families import DecoderConfig, RopeConfig
from llm_engine.execution.batch import Batch
from llm_engine.operators.torch_backend import TorchBackend

BLOCK, HEADS, KV_HEADS, DIM = 4, 4, 2, 8
CPU = torch.device("cpu")


def make_backend(window: int | None) -> TorchBackend:
    config = DecoderConfig(
        family="llama", vocab_size=1, hidden_size=1, intermediate_size=1, num_layers=1, num_heads=HEADS,
        num_kv_heads=KV_HEADS, head_dim=DIM, max_position=100, rms_norm_eps=1e-6, rope=RopeConfig(100.0, DIM),
        windows=(window,), tie_embeddings=False, activation="silu", dtype="float32",
    )  # fmt: skip
    return TorchBackend(config, 100, BLOCK, torch.float32, device=CPU)


def make_batch(query_lens: list[int], contexts: list[int], tables: torch.Tensor) -> Batch:
    """Use tokens of position 0, which are not rotated, in slots of a block that is in no table."""
    zeros = torch.zeros(sum(query_lens), dtype=torch.int64)
    starts = torch.tensor([0, *accumulate(query_lens)])
    return Batch(
        token_ids=zeros,
        positions=zeros,
        slots=zeros,
        block_tables=tables,
        context_lens=torch.tensor(contexts),
        query_starts=starts,
        query_lens=query_lens,
        max_context_len=max(contexts),
        has_placeholders=False,
        logit_rows=None,
        wanted=[],
    )


def naive(query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, window: int | None) -> torch.Tensor:
    """Compute attention for one sequence, one query and one head at a time, as in the paper."""
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
    qkv = torch.cat((query, torch.zeros(len(query), 2 * KV_HEADS * DIM)), dim=-1)
    backend = make_backend(window)
    result = backend.attend(qkv, None, cache, backend.plan(make_batch(query_lens, contexts, tables)), window=window)
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
    batch = make_batch([1, 1, 1, 5, 8, 60], [7, 3, 9, 5, 8, 60], torch.zeros(6, 20, dtype=torch.int64))
    groups = make_backend(None).plan(batch).groups
    assert [(group.size, group.query_len, group.context_len) for group in groups] == [(3, 1, 9), (2, 8, 8), (1, 60, 60)]


def test_a_write_fills_exactly_the_slots() -> None:
    backend = make_backend(None)
    batch = make_batch([1, 1], [1, 1], torch.tensor([[1], [0]]))
    batch.slots = torch.tensor([6, 1])
    cache = torch.zeros(3, BLOCK, 2, KV_HEADS, DIM)
    qkv = torch.randn(2, (HEADS + 2 * KV_HEADS) * DIM)
    kv = qkv[:, HEADS * DIM :].clone()
    backend.attend(qkv, None, cache, backend.plan(batch), window=None)
    assert torch.equal(cache[1, 2].flatten(), kv[0])
    assert torch.equal(cache[0, 1].flatten(), kv[1])
    assert cache.abs().sum() == kv.abs().sum()
