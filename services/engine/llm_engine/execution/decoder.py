"""The transformer: one decoder for every model family, on flat tokens and a paged KV cache.

x = embed(tokens)
per layer:  x += o(attention(qkv(norm(x))));  x += down(act(gate_up(norm(x))))
logits = head(norm(x[rows whose logits are wanted]))
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from llm_engine.checkpoint.families import DecoderConfig
from llm_engine.execution.batch import Batch
from llm_engine.kv_cache.memory import KVMemory
from llm_engine.operators.backend import Backend
from llm_engine.operators.weights import DecoderWeights
from llm_engine.parallel.collectives import Collectives


class DecoderModel:
    """The transformer of one rank, with its weights."""

    def __init__(
        self,
        config: DecoderConfig,
        weights: DecoderWeights,
        backend: Backend,
        block_size: int,
        *,
        kv_dtype: torch.dtype,
        collectives: Collectives | None = None,
    ) -> None:
        """Take one rank's part of `config` and `weights`; without `collectives`, the whole model."""
        self.config = config
        self.dtype = weights.embedding.dtype
        self.device = weights.embedding.device
        self._kv_dtype = kv_dtype
        self._backend = backend
        self._block_size = block_size
        self._collectives = collectives
        self._weights = weights
        self._fused = backend.fuse(weights) if collectives is None else None

    def new_kv_memory(self, num_blocks: int, num_host_blocks: int = 0) -> KVMemory:
        """Allocate the KV cache, zeroed: stale memory could hold NaN, and a masked NaN is still NaN."""
        shape = (self._block_size, 2, self.config.num_kv_heads, self.config.head_dim)
        pin = self.device.type == "cuda" and num_host_blocks > 0

        def layers(count: int, device: torch.device, pin: bool = False) -> list[Tensor]:
            return [
                torch.zeros((count, *shape), dtype=self._kv_dtype, device=device, pin_memory=pin)
                for _ in self._weights.layers
            ]

        return KVMemory(layers(num_blocks, self.device), layers(num_host_blocks, torch.device("cpu"), pin))

    def forward(self, batch: Batch, kv_cache: list[Tensor]) -> Tensor:
        """Return logits [logit rows, vocabulary] and write the KV of the batch's tokens to the cache.

        In a pipeline every stage calls this with the same batch, and only rank 0's result is valid.
        """
        if self._fused is not None:
            return self._fused(batch, kv_cache)
        config, backend, ranks = self.config, self._backend, self._collectives
        plan = backend.plan(batch)
        x = self._embed(batch.token_ids) if ranks is None or ranks.shard.is_first_stage else self._receive(ranks, batch)
        delta: Tensor | None = None
        for layer, cache, window in zip(self._weights.layers, kv_cache, config.windows, strict=True):
            h, x = self._add_norm(x, delta, layer.input_norm)
            qkv, norms, scales = layer.qkv(h), layer.qk_norms, layer.kv_scales
            delta = layer.o(backend.attend(qkv, norms, cache, plan, window=window, kv_scales=scales))
            h, x = self._add_norm(x, delta, layer.mlp_norm)
            delta = layer.down(backend.gated_activation(layer.gate_up(h), config.activation))
        assert delta is not None  # a model has at least one layer
        if ranks is None or ranks.shard.is_last_stage:
            logits = self._logits(x, delta, batch)
            return logits if ranks is None else ranks.send_to_sampler(ranks.gather_logits(logits))
        ranks.send_to_next_stage(x.add_(ranks.all_reduce(delta)))
        rows = len(x) if batch.logit_rows is None else len(batch.logit_rows)
        return ranks.send_to_sampler(x.new_empty(rows, config.vocab_size))

    def _embed(self, token_ids: Tensor) -> Tensor:
        x = F.embedding(token_ids, self._weights.embedding)
        if self.config.embed_scale != 1.0:
            x *= torch.tensor(self.config.embed_scale, dtype=x.dtype)
        return x

    def _receive(self, ranks: Collectives, batch: Batch) -> Tensor:
        """Receive the batch's hidden states from the previous stage."""
        shape = (len(batch.token_ids), self.config.hidden_size)
        return ranks.receive_from_previous_stage(torch.empty(shape, dtype=self.dtype, device=self.device))

    def _add_norm(self, x: Tensor, delta: Tensor | None, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Return (norm(x + delta), x + delta). `delta` is this rank's part of a sum over the ranks."""
        eps = self.config.rms_norm_eps
        if delta is not None and self._collectives is not None:
            if (fused := self._collectives.add_rms_norm(x, delta, weight, eps)) is not None:
                return fused
            delta = self._collectives.all_reduce(delta)
        return self._backend.add_rms_norm(x, delta, weight, eps)

    def _logits(self, x: Tensor, delta: Tensor, batch: Batch) -> Tensor:
        """Return the logits of the wanted rows of x + delta: [rows, this rank's part of the vocabulary]."""
        if batch.logit_rows is None:
            h, _ = self._add_norm(x, delta, self._weights.norm)
        else:
            total = x.add_(delta if self._collectives is None else self._collectives.all_reduce(delta))
            h = self._backend.rms_norm(total[batch.logit_rows], self._weights.norm, self.config.rms_norm_eps)
        return self._weights.head(h)
