"""Attention over a paged KV cache, in plain torch: gather the blocks, mask, scaled dot product.

Exact on a CPU and on any GPU. There is no loop over sequences: those with about as many queries (1 for all decodes;
2; 3-4; 5-8; … for prefill chunks) form a group, which is padded to its longest and computed in one call. Grouped
queries (GQA) cost no copies of K and V: the queries that share a KV head are folded into the query dimension.

The cache of a layer is [blocks, block_size, 2 (K, V), kv_heads, head_dim].
Source: Kwon et al., "Efficient Memory Management for LLM Serving with PagedAttention", SOSP 2023.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from llm_engine.batch import Batch


@dataclass(slots=True)
class Group:
    """Sequences that are computed in one call."""

    first_token: int
    last_token: int
    size: int
    query_len: int
    """The longest; shorter ones are padded."""
    context_len: int
    """The longest; shorter ones are masked."""
    blocks: Tensor
    """[size * blocks] flat ids of the blocks to gather."""
    masks: dict[int | None, Tensor | None]
    """Window -> what is added to the scores, [size, 1, group * query_len, context_len]; None: everything is seen."""
    pad: Tensor | None
    """[size * query_len] which token stands at each padded place; None: nothing is padded."""
    unpad: Tensor | None
    """[tokens] the padded place of each token."""


class TorchAttention:
    """`plan` once per step, then `write` and `attend` once per layer."""

    def __init__(
        self, num_heads: int, num_kv_heads: int, head_dim: int, windows: tuple[int | None, ...], dtype: torch.dtype
    ) -> None:
        self._num_kv_heads = num_kv_heads
        self._queries_per_kv = num_heads // num_kv_heads
        self._head_dim = head_dim
        self._windows = set(windows)
        self._dtype = dtype

    def plan(self, batch: Batch, block_size: int) -> list[Group]:
        groups, first_token = [], 0
        for start, stop in _runs_of_similar_length(batch.query_lens):
            last_token = first_token + sum(batch.query_lens[start:stop])
            groups.append(self._group(batch, start, stop, first_token, last_token, block_size))
            first_token = last_token
        return groups

    def write(self, cache: Tensor, slots: Tensor, kv: Tensor) -> None:
        """Store `kv` [tokens, 2 * kv_heads * head_dim] in the slots."""
        cache.view(-1, kv.shape[-1]).index_copy_(0, slots, kv)

    def attend(self, query: Tensor, cache: Tensor, groups: list[Group], window: int | None) -> Tensor:
        """`query` [tokens, heads * head_dim] -> the same shape."""
        outputs = [self._attend(query[g.first_token : g.last_token], cache, g, window) for g in groups]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)

    def _attend(self, query: Tensor, cache: Tensor, group: Group, window: int | None) -> Tensor:
        size, length, heads, folded = group.size, group.query_len, self._num_kv_heads, self._queries_per_kv
        kv = cache.index_select(0, group.blocks).view(size, -1, 2, heads, self._head_dim)[:, : group.context_len]
        if group.pad is not None:
            query = query[group.pad]
        q = query.reshape(size, length, heads, folded, self._head_dim).permute(0, 2, 3, 1, 4)
        out = F.scaled_dot_product_attention(
            q.reshape(size, heads, folded * length, self._head_dim),
            kv[:, :, 0].transpose(1, 2),
            kv[:, :, 1].transpose(1, 2),
            attn_mask=group.masks[window],
        )
        out = out.view(size, heads, folded, length, self._head_dim).permute(0, 3, 1, 2, 4)
        out = out.reshape(size * length, heads * folded * self._head_dim)
        return out if group.unpad is None else out[group.unpad]

    def _group(self, batch: Batch, start: int, stop: int, first_token: int, last_token: int, block_size: int) -> Group:
        device = batch.token_ids.device
        query_lens = np.array(batch.query_lens[start:stop])
        context_lens = batch.context_lens[start:stop]
        length, context = int(query_lens[-1]), int(context_lens.max())
        pad, unpad = _padding(query_lens, length)
        return Group(
            first_token=first_token,
            last_token=last_token,
            size=stop - start,
            query_len=length,
            context_len=context,
            blocks=batch.block_tables[start:stop, : -(-context // block_size)].flatten(),
            masks=self._masks(query_lens, context_lens, length, context, device),
            pad=None if pad is None else torch.from_numpy(pad).to(device),
            unpad=None if unpad is None else torch.from_numpy(unpad).to(device),
        )

    def _masks(
        self, query_lens: np.ndarray, context_lens: np.ndarray, length: int, context: int, device: torch.device
    ) -> dict[int | None, Tensor | None]:
        if len(query_lens) == 1 and length == 1 and all(w is None or w >= context for w in self._windows):
            return dict.fromkeys(self._windows)
        # The position of each query; a padded one stands at 0 and sees only that, which keeps its softmax finite.
        offsets = np.arange(length)
        positions = np.where(offsets < query_lens[:, None], (context_lens - query_lens)[:, None] + offsets, 0)
        query_positions = torch.from_numpy(positions).to(device).unsqueeze(-1)
        keys = torch.arange(context, device=device)
        causal = keys <= query_positions
        masks: dict[int | None, Tensor | None] = {}
        for window in self._windows:
            seen = causal if window is None else causal & (keys > query_positions - window)
            masks[window] = self._additive(seen)
        return masks

    def _additive(self, seen: Tensor) -> Tensor:
        """[size, query_len, context] bool -> [size, 1, group * query_len, context], 0 or -inf."""
        size, length, context = seen.shape
        mask = torch.zeros(seen.shape, dtype=self._dtype, device=seen.device).masked_fill_(~seen, float("-inf"))
        folded = mask.unsqueeze(1).expand(size, self._queries_per_kv, length, context)
        return folded.reshape(size, 1, self._queries_per_kv * length, context)


def _runs_of_similar_length(lengths: list[int]) -> Iterator[tuple[int, int]]:
    """Ranges of the ascending lengths within which the longest is less than twice the shortest's power of two."""
    start = 0
    for index in range(1, len(lengths) + 1):
        if index == len(lengths) or (lengths[index] - 1).bit_length() != (lengths[start] - 1).bit_length():
            yield start, index
            start = index


def _padding(query_lens: np.ndarray, length: int) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Token index of each padded place, and padded place of each token; (None, None) if all are equally long."""
    if (query_lens == length).all():
        return None, None
    starts = np.cumsum(query_lens) - query_lens
    offsets = np.arange(length)
    pad = starts[:, None] + np.minimum(offsets, query_lens[:, None] - 1)
    return pad.ravel(), np.flatnonzero(offsets < query_lens[:, None])
