"""The limits of model and machine: device, type, threads, context length and number of KV blocks."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from llm_engine.checkpoint.families import DecoderConfig
from llm_engine.errors import ModelError
from llm_engine.settings import EngineConfig

DEFAULT_KV_CACHE_BYTES = 512 * 2**20
"""Default on a CPU, where other programs share the memory."""
SINGLE_THREAD_HIDDEN_SIZE = 512
"""Hidden size up to which one thread is fastest: operators are so short that more threads mostly wait."""


def set_num_threads(config: EngineConfig, model: DecoderConfig) -> None:
    """Set torch's number of CPU threads per operator."""
    if config.num_threads is not None:
        torch.set_num_threads(config.num_threads)
    elif model.hidden_size <= SINGLE_THREAD_HIDDEN_SIZE:
        torch.set_num_threads(1)


def device(config: EngineConfig, rank: int = 0) -> torch.device:
    """Return this rank's device. Each rank has its own GPU. ModelError if there are too few."""
    name = config.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name not in ("cpu", "cuda"):
        raise ModelError(f"device is {name!r}; it must be auto, cpu or cuda")
    if name == "cuda" and torch.cuda.device_count() < config.num_ranks:
        raise ModelError(
            f"{config.num_ranks} GPUs are needed, but there are {torch.cuda.device_count()}; use --device cpu"
        )
    return torch.device(name, rank) if name == "cuda" and config.num_ranks > 1 else torch.device(name)


def dtype(config: EngineConfig, model: DecoderConfig, device: torch.device) -> torch.dtype:
    """Return the type of the weights."""
    name = config.dtype
    if name == "auto":
        name = "float32" if device.type == "cpu" or model.dtype == "float32" else "bfloat16"
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]


def kv_dtype(config: EngineConfig, dtype: torch.dtype) -> torch.dtype:
    """Return the KV cache's type, where `dtype` is that of the weights."""
    return torch.float8_e4m3fn if config.kv_cache_dtype == "fp8" else dtype


def max_model_len(config: EngineConfig, model: DecoderConfig) -> int:
    """Return the longest prompt plus output. ModelError if the model was trained for less than the config asks."""
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
    """The device's memory in bytes: all that can be used, and the parts that are not for the KV cache."""

    available: int
    weights: int
    activations: int

    @property
    def left(self) -> int:
        return max(0, self.available - self.weights - self.activations)


def memory(config: EngineConfig, models: Sequence[DecoderConfig], dtype: torch.dtype, device: torch.device) -> Memory:
    """Estimate the memory from the models' shapes and the largest step, before anything is loaded."""
    weights = 0
    for model in models:  # on a CPU, the torch backend dequantises weights
        bits = 8 * dtype.itemsize
        if model.quantization is not None and device.type != "cpu":
            bits = model.quantization.resident_bits(bits)
        weights += model.num_linear_parameters * bits // 8 + model.num_embedding_parameters * dtype.itemsize
    rows = config.max_num_seqs * (1 + (config.speculative_config or {}).get("num_speculative_tokens", 0))
    activations = max(
        # float32: hidden states and the MLP's intermediate values, then logits and their sorted and summed copies
        config.max_num_batched_tokens * (4 * m.hidden_size + 3 * m.intermediate_size + 2 * m.q_size) * 4
        + 4 * rows * m.vocab_size * 4
        for m in models
    )
    ranks = config.num_ranks if device.type == "cuda" else 1
    return Memory(available_bytes(device, config.gpu_memory_utilization), weights // ranks, activations)


def available_bytes(device: torch.device, share: float) -> int:
    """Return `share` of the GPU's memory minus the memory in use, or `share` of the CPU's available memory."""
    if device.type == "cuda":
        free, total = torch.cuda.mem_get_info(device)
        return int(share * total) - (total - free)
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        fields = dict(line.split(":") for line in meminfo.read_text(encoding="ascii").splitlines())
        return int(share * int(fields["MemAvailable"].split()[0]) * 1024)
    return int(share * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


def block_bytes(config: EngineConfig, models: Sequence[DecoderConfig], dtype: torch.dtype) -> int:
    """Return the bytes of one KV block over all layers of all models, whose weights have the type `dtype`."""
    tokens, itemsize = config.block_size, kv_dtype(config, dtype).itemsize
    return sum(tokens * 2 * model.kv_size * model.num_layers * itemsize for model in models)


def num_blocks(
    config: EngineConfig,
    models: Sequence[DecoderConfig],
    max_model_len: int,
    dtype: torch.dtype,
    *,
    device: torch.device,
) -> int:
    """Return the number of KV blocks: the one that the config asks for, or as many as fit.

    ModelError if they do not fit, or if they hold less than one sequence of full length. `models` share block ids.
    """
    needed = -(-max_model_len // config.block_size)
    bytes_each = block_bytes(config, models, dtype)
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
            f"out of memory: {wanted} blocks of {config.block_size} tokens need {_mib(wanted * bytes_each)}, but only "
            f"{possible} fit: --gpu-memory-utilization {config.gpu_memory_utilization} allows "
            f"{_mib(room.available)}, and weights and activations need {_mib(room.weights + room.activations)} of it; "
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
