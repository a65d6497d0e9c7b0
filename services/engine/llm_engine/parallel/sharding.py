"""Which part of the model one of several processes has.

tensor parallel     every layer is cut: each rank has some heads and some columns of the MLP, and one all-reduce
                    after attention and one after the MLP adds the parts up (Shoeybi et al., Megatron-LM, 2019)
pipeline parallel   each stage has some of the layers and hands its hidden states to the next one

rank = stage * tensor_parallel_size + tensor rank; the scheduler and the sampler live in rank 0
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
"""Whatever can be cut."""


@dataclass(frozen=True, slots=True)
class Shard:
    """One rank's place; the default is all of the model."""

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
        """This stage's; stages differ by at most one layer."""
        return range(self.stage * num_layers // self.num_stages, (self.stage + 1) * num_layers // self.num_stages)

    def part(self, tensor: W, dim: int = 0) -> W:
        """This rank's of equal parts."""
        size = tensor.shape[dim] // self.tensor_size
        return tensor.narrow(dim, self.tensor_rank * size, size)

    def kv_part(self, tensor: W, num_kv_heads: int) -> W:
        """This rank's KV heads; with more ranks than heads, several ranks have the same one."""
        size = tensor.shape[0] // num_kv_heads
        count = max(1, num_kv_heads // self.tensor_size)
        return tensor.narrow(0, self.tensor_rank * num_kv_heads // self.tensor_size * size, count * size)

    def config(self, model: DecoderConfig) -> DecoderConfig:
        """The model as this rank sees it; ModelError if it cannot be cut so."""
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
