"""The machine's limits: device, type, threads, context length and the number of KV blocks."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from llm_engine.checkpoint.families import DecoderConfig
from llm_engine.config import EngineConfig
from llm_engine.errors import ModelError

DEFAULT_KV_CACHE_BYTES = 512 * 2**20
"""On a CPU, whose memory is not for us alone."""
SINGLE_THREAD_HIDDEN_SIZE = 512
"""Operators of models up to this size are so short that more threads mostly wait for each other."""


def set_num_threads(config: EngineConfig, model: DecoderConfig) -> None:
    if config.num_threads is not None:
        torch.set_num_threads(config.num_threads)
    elif model.hidden_size <= SINGLE_THREAD_HIDDEN_SIZE:
        torch.set_num_threads(1)


def device(config: EngineConfig, rank: int = 0) -> torch.device:
    """Return this rank's device; each rank has a GPU of its own."""
    name = config.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name not in ("cpu", "cuda"):
        raise ModelError(f"device is {name!r}; it must be auto, cpu or cuda")
    if name == "cuda" and torch.cuda.device_count() < config.num_ranks:
        raise ModelError(
            f"{config.num_ranks} GPUs are needed, and {torch.cuda.device_count()} are here; use --device cpu"
        )
    return torch.device(name, rank) if name == "cuda" and config.num_ranks > 1 else torch.device(name)


def dtype(config: EngineConfig, model: DecoderConfig, device: torch.device) -> torch.dtype:
    name = config.dtype
    if name == "auto":
        name = "float32" if device.type == "cpu" or model.dtype == "float32" else "bfloat16"
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


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of the device that the KV cache and everything else share."""

    available: int
    weights: int
    activations: int

    @property
    def left(self) -> int:
        return max(0, self.available - self.weights - self.activations)


def memory(config: EngineConfig, models: Sequence[DecoderConfig], dtype: torch.dtype, device: torch.device) -> Memory:
    """Estimated before anything is loaded: from the models' shapes, and from the largest step."""
    weights = 0
    for model in models:  # on a CPU quantised weights are held in full precision
        bits = 8 * dtype.itemsize if model.quantization is None or device.type == "cpu" else model.quantization.bits
        weights += model.num_linear_parameters * bits // 8 + model.num_embedding_parameters * dtype.itemsize
    rows = config.max_num_seqs * (1 + (config.speculative_config or {}).get("num_speculative_tokens", 0))
    activations = max(
        # in float32: hidden states and what the MLP makes of them; the logits, sorted and summed up for sampling
        config.max_num_batched_tokens * (4 * m.hidden_size + 3 * m.intermediate_size + 2 * m.q_size) * 4
        + 4 * rows * m.vocab_size * 4
        for m in models
    )
    ranks = config.num_ranks if device.type == "cuda" else 1
    return Memory(available_bytes(device, config.gpu_memory_utilization), weights // ranks, activations)


def available_bytes(device: torch.device, share: float) -> int:
    """Return the share of a GPU's memory less what others use, or the share of a CPU's available memory."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return int(share * total) - (total - free)
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        fields = dict(line.split(":") for line in meminfo.read_text(encoding="ascii").splitlines())
        return int(share * int(fields["MemAvailable"].split()[0]) * 1024)
    return int(share * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def block_bytes(block_size: int, models: Sequence[DecoderConfig], dtype: torch.dtype) -> int:
    """Return the bytes of one KV block over all layers of all models."""
    return sum(block_size * 2 * model.kv_size * model.num_layers * dtype.itemsize for model in models)


def num_blocks(
    config: EngineConfig,
    models: Sequence[DecoderConfig],
    max_model_len: int,
    dtype: torch.dtype,
    *,
    device: torch.device,
) -> int:
    """As many as asked for, or as fit; ModelError if they do not, or if one sequence of full length would not fit in
    them. `models` share block ids."""
    needed = -(-max_model_len // config.block_size)
    bytes_each = block_bytes(config.block_size, models, dtype)
    room = memory(config, models, dtype, device)
    possible = room.left * (config.num_ranks if device.type == "cuda" else 1) // bytes_each
    if config.num_gpu_blocks_override is not None:
        count, flag = config.num_gpu_blocks_override, "--num-gpu-blocks-override"
    elif config.kv_cache_memory_bytes is not None:
        count, flag = config.kv_cache_memory_bytes // bytes_each, "--kv-cache-memory-bytes"
    elif device.type == "cuda":
        count, flag = possible, "--max-model-len"
    else:
        count, flag = max(min(DEFAULT_KV_CACHE_BYTES // bytes_each, possible), needed), "--max-model-len"
    if max(count, needed) > possible:
        wanted = max(count, needed)
        raise ModelError(
            f"out of memory: {wanted} blocks of {config.block_size} tokens take {_mib(wanted * bytes_each)}, and "
            f"there is room for {possible}: --gpu-memory-utilization {config.gpu_memory_utilization} allows "
            f"{_mib(room.available)}, of which weights and activations take {_mib(room.weights + room.activations)}; "
            f"lower {flag if count > needed else '--max-model-len'}"
        )
    if count < needed:
        raise ModelError(
            f"the KV cache has {count} blocks of {config.block_size} tokens, but one sequence of {max_model_len} "
            f"tokens needs {needed} ({needed * bytes_each} bytes); lower --max-model-len or raise the KV cache"
        )
    return count


def _mib(num_bytes: int) -> str:
    return f"{num_bytes / 2**20:.0f} MiB"
