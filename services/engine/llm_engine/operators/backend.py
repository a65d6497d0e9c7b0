"""Backends: the decoder's operations between its matrix products, behind one small interface.

torch    plain torch: exact on a CPU, correct on any GPU
cpp      the CPU kernels of `llm_kernels`, in float32; they need a C++ compiler
triton   the GPU kernels of `llm_kernels`; on a CPU their references, for tests
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any, Protocol, TypeAlias

import torch
from torch import Tensor

from llm_engine.checkpoint.families import DecoderConfig
from llm_engine.errors import ModelError
from llm_engine.execution.batch import Batch
from llm_engine.operators import truncation
from llm_engine.operators.truncation import DrawRows
from llm_engine.operators.weights import DecoderWeights, FusedForward
from llm_engine.settings import EngineConfig

Plan: TypeAlias = Any
"""Values that a backend computes once per step, for its own use."""


class Backend(Protocol):
    """The operations of one backend. The decoder calls `plan` once per step and the others in every layer."""

    def fuse(self, weights: DecoderWeights) -> FusedForward | None:
        """Return a function that computes the forward pass in one call, or None if there is none for `weights`."""
        ...

    def plan(self, batch: Batch) -> Plan: ...

    def attend(
        self,
        qkv: Tensor,
        norms: tuple[Tensor, Tensor] | None,
        cache: Tensor,
        plan: Plan,
        *,
        window: int | None,
        kv_scales: Tensor | None = None,
    ) -> Tensor:
        """Normalise queries and keys (if there are `norms`), rotate them, write K and V to the cache, and attend.

        `qkv` [tokens, q_size + 2 * kv_size] is overwritten; the result is [tokens, q_size]. `cache` [blocks,
        block_size, 2 (K, V), kv_heads, head_dim]. `window`: how many tokens a token attends to, itself included; None:
        all. `kv_scales` [2, 1]: scales of keys and values, for the backends that have an FP8 cache; None: 1.
        """
        ...

    def rms_norm(self, x: Tensor, weight: Tensor, eps: float) -> Tensor: ...

    def add_rms_norm(self, x: Tensor, delta: Tensor | None, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        """Return (norm(x + delta), x + delta). The sum can reuse the memory of `x`. Without `delta`, the sum is `x`."""
        ...

    def gated_activation(self, gate_up: Tensor, activation: str) -> Tensor:
        """Return act(gate) * up: [tokens, 2 * intermediate] -> [tokens, intermediate]."""
        ...


def choose(config: EngineConfig, model: DecoderConfig, dtype: torch.dtype, device: torch.device) -> str:
    """Return the backend to use. `auto` is cpp on a CPU and triton on a GPU, or torch if they cannot run.

    ModelError if another backend is named that cannot run.
    """
    name = config.attention_backend
    if name == "torch":
        return name
    best = "cpp" if device.type == "cpu" else "triton"
    reason = "has no FP8 KV cache" if config.kv_cache_dtype == "fp8" else None
    if reason is None and (name, device.type) != ("triton", "cpu"):
        reason = _why_not(best if name == "auto" else name, model, dtype, device)
    if reason is None:
        return best if name == "auto" else name
    if name == "auto":
        return "torch"
    raise ModelError(f"the attention backend {name} {reason}; use --attention-backend torch")


def _why_not(name: str, model: DecoderConfig, dtype: torch.dtype, device: torch.device) -> str | None:
    """Return the reason why a backend cannot run here, or None if it can."""
    packages = ("llm_kernels", "triton") if name == "triton" else ("llm_kernels",)
    if missing := [package for package in packages if find_spec(package) is None]:
        return f"needs {' and '.join(missing)}"
    if name == "triton":
        return None
    if device.type != "cpu" or dtype is not torch.float32:
        return f"needs float32 on a CPU, but this is {str(dtype).removeprefix('torch.')} on {device.type}"
    from llm_kernels import cpu

    if model.head_dim % cpu.HEAD_DIM_MULTIPLE:
        return f"needs head_dim to be a multiple of {cpu.HEAD_DIM_MULTIPLE}, but it is {model.head_dim}"
    reason = cpu.why_not()
    return None if reason is None else f"cannot run: {reason}"


def make(
    name: str, config: DecoderConfig, max_model_len: int, *, block_size: int, dtype: torch.dtype, device: torch.device
) -> Backend:
    """Make the backend `name`, as `choose` returned it."""
    if name == "triton":
        from llm_engine.operators.triton_backend import TritonBackend

        return TritonBackend(config, max_model_len, device)
    if name == "cpp":
        from llm_engine.operators.cpp_backend import CppBackend

        return CppBackend(config, max_model_len, block_size)
    from llm_engine.operators.torch_backend import TorchBackend

    return TorchBackend(config, max_model_len, block_size, dtype, device=device)


def draw_rows(name: str) -> DrawRows:
    """Return the function of backend `name` that draws tokens."""
    if name == "triton":
        from llm_engine.operators.triton_backend import draw

        return draw
    return truncation.draw
