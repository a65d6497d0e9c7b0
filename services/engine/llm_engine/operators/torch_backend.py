"""The torch backend. Attention over the paged cache: gather the blocks, mask, scaled dot product.

It is exact on a CPU and correct on any GPU. There is no loop over sequences. Sequences with similar numbers of queries
(1 for all decodes; 2; 3-4; 5-8; … for prefill chunks) form a group, which is padded to its longest and computed in one
call. Grouped-query attention needs no copies of K and V: queries that share a KV head are folded into the query
dimension.

Source: Kwon et al., "Efficient Memory Management for LLM Serving with PagedAttention", SOSP 2023.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from llm_engine.checkpoint.families import DecoderConfig
from llm_engine.execution.batch import Batch
from llm_engine.operators import fp8_cache, layers
from llm_engine.operators.weights import DecoderWeights


@dataclass(slots=True, kw_only=True)
class AttentionGroup:
    """Sequences whose attention is computed in one call."""

    first_token: int
    last_token: int
    size: int
    query_len: int
    """Number of queries of the longest; shorter ones are padded."""
    context_len: int
    """Longest context; shorter ones are masked."""
    blocks: Tensor
    """[size * blocks] Ids of the blocks to gather."""
    masks: dict[int | None, Tensor | None]
    """Window -> mask to add to the scores, [size, 1, group * query_len, context_len]. None: no mask."""
    pad: Tensor | None
    """[size * query_len] Index of the token at each padded position. None: no padding."""
    unpad: Tensor | None
    """[tokens] Padded position of each token. None: no padding."""


@dataclass(slots=True)
class TorchPlan:
    """The values that all layers of a step share."""

    slots: Tensor
    groups: list[AttentionGroup]
    rope: tuple[Tensor, Tensor]
    """cos and sin of the batch's positions."""


class TorchBackend:
    """The operations of one model in plain torch."""

    def __init__(
        self, config: DecoderConfig, max_model_len: int, block_size: int, dtype: torch.dtype, *, device: torch.device
    ) -> None:
        self._config = config
        self._queries_per_kv = config.num_heads // config.num_kv_heads
        self._windows = set(config.windows)
        self._block_size = block_size
        self._dtype = dtype
        self._rope = layers.RotaryEmbedding(config.rope, max_model_len, dtype, device)

    def fuse(self, weights: DecoderWeights) -> None:
        return None

    def plan(self, batch: Batch) -> TorchPlan:
        groups, first_token = [], 0
        context_lens = batch.context_lens.cpu().numpy()
        for start, stop in _runs_of_similar_length(batch.query_lens):
            last_token = first_token + sum(batch.query_lens[start:stop])
            groups.append(
                self._group(
                    batch, context_lens[start:stop], start, stop=stop, first_token=first_token, last_token=last_token
                )
            )
            first_token = last_token
        return TorchPlan(batch.slots, groups, self._rope.at(batch.positions))

    def attend(
        self,
        qkv: Tensor,
        norms: tuple[Tensor, Tensor] | None,
        cache: Tensor,
        plan: TorchPlan,
        *,
        window: int | None,
        kv_scales: Tensor | None = None,
    ) -> Tensor:
        config = self._config
        heads = qkv.view(len(qkv), -1, config.head_dim)[:, : config.num_heads + config.num_kv_heads]
        if norms is not None:
            parts = torch.split(heads, [config.num_heads, config.num_kv_heads], dim=1)
            for part, weight in zip(parts, norms, strict=True):
                part.copy_(layers.rms_norm(part, weight, config.rms_norm_eps))
        self._rope.rotate_(heads, *plan.rope)
        written = qkv[:, config.q_size :]
        if cache.dtype is fp8_cache.TYPE:
            written, cache = fp8_cache.rounded(written, kv_scales), cache.view(torch.uint8)
        cache.view(-1, 2 * config.kv_size).index_copy_(0, plan.slots, written)
        query = qkv[:, : config.q_size]
        outputs = [
            self._attend(query[g.first_token : g.last_token], cache, g, window, scales=kv_scales) for g in plan.groups
        ]
        return outputs[0] if len(outputs) == 1 else torch.cat(outputs)

    def rms_norm(self, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        return layers.rms_norm(x, weight, eps)

    def add_rms_norm(self, x: Tensor, delta: Tensor | None, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        if delta is not None:
            x += delta
        return layers.rms_norm(x, weight, eps), x

    def gated_activation(self, gate_up: Tensor, activation: str) -> Tensor:
        return layers.gated_activation(gate_up, activation)

    def _attend(
        self, query: Tensor, cache: Tensor, group: AttentionGroup, window: int | None, *, scales: Tensor | None
    ) -> Tensor:
        size, length, folded = group.size, group.query_len, self._queries_per_kv
        heads, head_dim = self._config.num_kv_heads, self._config.head_dim
        kv = cache.index_select(0, group.blocks).view(size, -1, 2, heads, head_dim)[:, : group.context_len]
        if kv.dtype is torch.uint8:
            kv = fp8_cache.restored(kv, scales).to(query.dtype)
        if group.pad is not None:
            query = query[group.pad]
        q = query.reshape(size, length, heads, folded, head_dim).permute(0, 2, 3, 1, 4)
        out = F.scaled_dot_product_attention(
            q.reshape(size, heads, folded * length, head_dim),
            kv[:, :, 0].transpose(1, 2),
            kv[:, :, 1].transpose(1, 2),
            attn_mask=group.masks[window],
        )
        out = out.view(size, heads, folded, length, head_dim).permute(0, 3, 1, 2, 4)
        out = out.reshape(size * length, heads * folded * head_dim)
        return out if group.unpad is None else out[group.unpad]

    def _group(
        self, batch: Batch, context_lens: np.ndarray, start: int, *, stop: int, first_token: int, last_token: int
    ) -> AttentionGroup:
        device = batch.token_ids.device
        query_lens = np.array(batch.query_lens[start:stop])
        length, context = int(query_lens[-1]), int(context_lens.max())
        pad, unpad = _padding(query_lens, length)
        return AttentionGroup(
            first_token=first_token,
            last_token=last_token,
            size=stop - start,
            query_len=length,
            context_len=context,
            blocks=batch.block_tables[start:stop, : -(-context // self._block_size)].flatten(),
            masks=self._masks(query_lens, context_lens, length, context, device=device),
            pad=None if pad is None else torch.from_numpy(pad).to(device),
            unpad=None if unpad is None else torch.from_numpy(unpad).to(device),
        )

    def _masks(
        self, query_lens: np.ndarray, context_lens: np.ndarray, length: int, context: int, *, device: torch.device
    ) -> dict[int | None, Tensor | None]:
        if len(query_lens) == 1 and length == 1 and all(w is None or w >= context for w in self._windows):
            return dict.fromkeys(self._windows)
        # A padded query gets position 0 and attends to that one token, which keeps its softmax finite.
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
        """Turn a mask [size, query_len, context] of bools into 0 and -inf, [size, 1, group * query_len, context]."""
        size, length, context = seen.shape
        mask = torch.zeros(seen.shape, dtype=self._dtype, device=seen.device).masked_fill_(~seen, float("-inf"))
        folded = mask.unsqueeze(1).expand(size, self._queries_per_kv, length, context)
        return folded.reshape(size, 1, self._queries_per_kv * length, context)


def _runs_of_similar_length(lengths: list[int]) -> Iterator[tuple[int, int]]:
    """Yield ranges of the ascending `lengths` that round up to the same power of two."""
    start = 0
    for index in range(1, len(lengths) + 1):
        if index == len(lengths) or (lengths[index] - 1).bit_length() != (lengths[start] - 1).bit_length():
            yield start, index
            start = index


def _padding(query_lens: np.ndarray, length: int) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Return each padded position's token and each token's padded position; (None, None) if lengths are equal."""
    if (query_lens == length).all():
        return None, None
    starts = np.cumsum(query_lens) - query_lens
    offsets = np.arange(length)
    pad = starts[:, None] + np.minimum(offsets, query_lens[:, None] - 1)
    return pad.ravel(), np.flatnonzero(offsets < query_lens[:, None])
