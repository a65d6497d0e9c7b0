"""Sharding: the part of the model that each rank holds.

tensor parallel     every layer is split: each rank has some heads and some columns of the MLP. One all-reduce after
                    attention and one after the MLP sum up the parts (Shoeybi et al., Megatron-LM, 2019)
pipeline parallel   each stage has some of the layers and sends its hidden states to the next stage

rank = stage * tensor_parallel_size + tensor rank; the scheduler and the sampler run in rank 0
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TypeVar

from torch import Tensor

from llm_engine.checkpoint.families import DecoderConfig
from llm_engine.errors import ModelError
from llm_engine.operators.quantized import QuantizedWeight, Weight
from llm_engine.settings import EngineConfig

W = TypeVar("W", Tensor, QuantizedWeight, Weight)
"""A tensor that can be split."""


@dataclass(frozen=True, slots=True)
class Shard:
    """One rank's position among the ranks. The default is the whole model."""

    tensor_rank: int = 0
    tensor_size: int = 1
    stage: int = 0
    num_stages: int = 1

    @classmethod
    def of_rank(cls, rank: int, config: EngineConfig) -> Shard:
        size = config.tensor_parallel_size
        return cls(rank % size, size, rank // size, config.pipeline_parallel_size)

    @property
    def is_first_stage(self) -> bool:
        return self.stage == 0

    @property
    def is_last_stage(self) -> bool:
        return self.stage == self.num_stages - 1

    def layers(self, num_layers: int) -> range:
        """Return this stage's layers. Stages differ by at most one layer."""
        return range(self.stage * num_layers // self.num_stages, (self.stage + 1) * num_layers // self.num_stages)

    def part(self, tensor: W, dim: int = 0) -> W:
        """Return this rank's part of a tensor that is split in equal parts along `dim`."""
        size = tensor.shape[dim] // self.tensor_size
        return tensor.narrow(dim, self.tensor_rank * size, size)

    def kv_part(self, tensor: W, num_kv_heads: int) -> W:
        """Return this rank's KV heads. With more ranks than heads, several ranks have the same head."""
        size = tensor.shape[0] // num_kv_heads
        count = max(1, num_kv_heads // self.tensor_size)
        return tensor.narrow(0, self.tensor_rank * num_kv_heads // self.tensor_size * size, count * size)

    def config(self, model: DecoderConfig) -> DecoderConfig:
        """Return the config of this rank's part of the model. ModelError if the model cannot be split this way."""
        self._check(model)
        layers = self.layers(model.num_layers)
        return replace(
            model,
            num_layers=len(layers),
            windows=model.windows[layers.start : layers.stop],
            num_heads=model.num_heads // self.tensor_size,
            num_kv_heads=max(1, model.num_kv_heads // self.tensor_size),
            intermediate_size=model.intermediate_size // self.tensor_size,
        )

    def _check(self, model: DecoderConfig) -> None:
        parts = {"attention heads": model.num_heads, "MLP columns": model.intermediate_size, "tokens": model.vocab_size}
        for name, count in parts.items():
            if count % self.tensor_size:
                raise ModelError(f"the model's {count} {name} cannot be split in {self.tensor_size} equal parts")
        more, fewer = sorted((model.num_kv_heads, self.tensor_size), reverse=True)
        if more % fewer:
            raise ModelError(f"the model's {model.num_kv_heads} KV heads cannot be shared by {self.tensor_size} ranks")
        if self.num_stages > model.num_layers:
            raise ModelError(f"the model's {model.num_layers} layers cannot make {self.num_stages} stages")
