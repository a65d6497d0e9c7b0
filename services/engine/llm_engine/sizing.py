"""What the machine can hold: device, type, threads, context length and the number of KV blocks."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from llm_engine.checkpoint.families import DecoderConfig
from llm_engine.config import EngineConfig
from llm_engine.errors import ModelError

DEFAULT_KV_CACHE_BYTES = 512 * 2**20
SINGLE_THREAD_HIDDEN_SIZE = 512
"""Operators of models up to this size are so short that more threads mostly wait for each other."""


def set_num_threads(config: EngineConfig, model: DecoderConfig) -> None:
    if config.num_threads is not None:
        torch.set_num_threads(config.num_threads)
    elif model.hidden_size <= SINGLE_THREAD_HIDDEN_SIZE:
        torch.set_num_threads(1)


def device(config: EngineConfig, rank: int = 0) -> torch.device:
    """Of several ranks each has a GPU of its own."""
    name = config.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    ranks = config.tensor_parallel_size * config.pipeline_parallel_size
    return torch.device(name, rank) if name == "cuda" and ranks > 1 else torch.device(name)


def dtype(config: EngineConfig, model: DecoderConfig, device: torch.device) -> torch.dtype:
    name = config.dtype
    if name == "auto":
        name = "float32" if device.type == "cpu" or model.dtype != "bfloat16" else "bfloat16"
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]


def max_model_len(config: EngineConfig, model: DecoderConfig) -> int:
    if config.max_model_len is None:
        return model.max_position
    if config.max_model_len > model.max_position:
        raise ModelError(
            f"max_model_len is {config.max_model_len}, but the model was trained for {model.max_position} tokens; "
            f"lower --max-model-len"
        )
    return config.max_model_len


def num_blocks(config: EngineConfig, models: Sequence[DecoderConfig], max_model_len: int, dtype: torch.dtype) -> int:
    """As many as asked for; ModelError if one sequence of full length would not fit. `models` share block ids."""
    needed = -(-max_model_len // config.block_size)
    block_bytes = sum(config.block_size * 2 * m.kv_size * m.num_layers * dtype.itemsize for m in models)
    if config.num_gpu_blocks_override is not None:
        count = config.num_gpu_blocks_override
    elif config.kv_cache_memory_bytes is not None:
        count = config.kv_cache_memory_bytes // block_bytes
    else:
        count = max(DEFAULT_KV_CACHE_BYTES // block_bytes, needed)
    if count < needed:
        raise ModelError(
            f"the KV cache has {count} blocks of {config.block_size} tokens, but one sequence of {max_model_len} "
            f"tokens needs {needed} ({needed * block_bytes} bytes); lower --max-model-len or raise the KV cache"
        )
    return count
