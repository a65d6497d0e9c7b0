"""The number of KV blocks, and the errors if they do not fit."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from llm_engine import EngineConfig
from llm_engine.checkpoint.families import DecoderConfig, parse_config
from llm_engine.checkpoint.folder import read_json
from llm_engine.checkpoint.quantization import Quantization
from llm_engine.checkpoint.source import Checkpoint
from llm_engine.checkpoint.weights import load_weights
from llm_engine.errors import EngineError, ModelError
from llm_engine.startup import sizing

CPU, GPU = torch.device("cpu"), torch.device("cuda")
MIB = 2**20


@pytest.fixture
def model(models: Path) -> DecoderConfig:
    return parse_config(read_json(models / "main" / "config.json"))


def blocks(
    monkeypatch: pytest.MonkeyPatch, model: DecoderConfig, available: int, device: torch.device = CPU, **settings: Any
) -> int:
    monkeypatch.setattr(sizing, "available_bytes", lambda device, share: int(share * available))
    config = EngineConfig("m", **settings)
    return sizing.num_blocks(config, [model], sizing.max_model_len(config, model), torch.float32, device=device)


BLOCK = 16 * 2 * 128 * 8 * 4
"""Bytes: tokens, K and V, KV heads x their size, layers, float32."""


def test_a_cpu_gives_512_mib_and_a_gpu_all_that_is_left(monkeypatch: pytest.MonkeyPatch, model: DecoderConfig) -> None:
    assert blocks(monkeypatch, model, 8000 * MIB) == 512 * MIB // BLOCK
    assert 128 <= blocks(monkeypatch, model, 300 * MIB) < 300 * MIB // BLOCK
    config, available = EngineConfig("m", gpu_memory_utilization=0.5), 8000 * MIB
    monkeypatch.setattr(sizing, "available_bytes", lambda device, share: int(share * available))
    memory = sizing.memory(config, [model], torch.float32, GPU)
    expected = (4000 * MIB - memory.weights - memory.activations) // BLOCK
    assert blocks(monkeypatch, model, available, GPU, gpu_memory_utilization=0.5) == expected


def test_flags_say_exactly_how_many(monkeypatch: pytest.MonkeyPatch, model: DecoderConfig) -> None:
    assert blocks(monkeypatch, model, 8000 * MIB, num_gpu_blocks_override=300) == 300
    assert blocks(monkeypatch, model, 8000 * MIB, kv_cache_memory_bytes=200 * BLOCK + 5) == 200


@pytest.mark.parametrize(
    ("settings", "wanted", "flag"),
    [
        ({"num_gpu_blocks_override": 9999}, 9999, "--num-gpu-blocks-override"),
        ({"kv_cache_memory_bytes": 5000 * BLOCK}, 5000, "--kv-cache-memory-bytes"),
    ],
)
def test_out_of_memory_says_how_many_blocks_were_possible_and_what_to_lower(
    monkeypatch: pytest.MonkeyPatch, model: DecoderConfig, settings: dict[str, Any], wanted: int, flag: str
) -> None:
    with pytest.raises(ModelError) as error:
        blocks(monkeypatch, model, 300 * MIB, **settings)
    message = str(error.value)
    memory = sizing.memory(EngineConfig("m", **settings), [model], torch.float32, CPU)
    assert message.startswith(f"out of memory: {wanted} blocks of 16 tokens need ")
    assert f"only {memory.left // BLOCK} fit: --gpu-memory-utilization 0.9 allows 270 MiB" in message
    assert message.endswith(f"lower {flag}")
    assert "\n" not in message


def test_no_room_for_one_sequence_of_full_length(monkeypatch: pytest.MonkeyPatch, model: DecoderConfig) -> None:
    for device in (CPU, GPU):
        with pytest.raises(ModelError, match=r"out of memory: .* lower --max-model-len$"):
            blocks(monkeypatch, model, 50 * MIB, device)


@pytest.mark.parametrize("family", ["llama", "qwen2", "gemma", "phi3"])
def test_weights_are_estimated_within_a_few_percent(models: Path, family: str) -> None:
    folder = models / "zoo" / family
    model = parse_config(read_json(folder / "config.json"))
    weights = load_weights(Checkpoint(folder, torch.float32, CPU), model, backend="triton")
    sizes = [weights.embedding.nbytes, 0 if model.tie_embeddings else weights.embedding.nbytes]
    for layer in weights.layers:
        linears: list[Any] = [layer.qkv, layer.o, layer.gate_up, layer.down]
        sizes += [linear.weight.nbytes for linear in linears]
    estimate = sizing.memory(EngineConfig("m"), [model], torch.float32, CPU).weights
    assert estimate == pytest.approx(sum(sizes), rel=0.02)


def test_quantised_weights_are_small_on_a_gpu_and_full_on_a_cpu(
    model: DecoderConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sizing, "available_bytes", lambda device, share: 10**9)

    def weights(scheme: Quantization, device: torch.device) -> int:
        packed = replace(model, quantization=scheme)
        return sizing.memory(EngineConfig("m"), [packed], torch.bfloat16, device).weights

    full = sizing.memory(EngineConfig("m"), [model], torch.bfloat16, CPU).weights
    assert weights(Quantization("awq", 4, 128), CPU) == full
    assert weights(Quantization("awq", 4, 128), GPU) == full - model.num_linear_parameters * 12 // 8
    assert weights(Quantization("compressed-tensors", 2, 32), GPU) == full - model.num_linear_parameters * 12 // 8
    assert weights(Quantization("compressed-tensors", 8, rounds_inputs=True), GPU) == full - model.num_linear_parameters
    assert weights(Quantization("compressed-tensors", 8), GPU) == full


@pytest.mark.parametrize("share", [0, 1.1, -1])
def test_a_share_of_memory_is_a_share(share: float) -> None:
    with pytest.raises(EngineError, match="gpu_memory_utilization is"):
        EngineConfig("m", gpu_memory_utilization=share)


def test_devices() -> None:
    assert sizing.device(EngineConfig("m", device="cpu")) == CPU
    with pytest.raises(ModelError, match="it must be auto, cpu or cuda"):
        sizing.device(EngineConfig("m", device="tpu"))
    if not torch.cuda.is_available():
        with pytest.raises(ModelError, match="1 GPUs are needed, but there are 0"):
            sizing.device(EngineConfig("m", device="cuda"))


def test_types(model: DecoderConfig) -> None:
    half = replace(model, dtype="float16")
    auto, exact = EngineConfig("m"), EngineConfig("m", dtype="float32")
    assert [sizing.dtype(auto, m, d) for m, d in ((model, CPU), (model, GPU), (half, GPU))] == [
        torch.float32,
        torch.bfloat16,
        torch.bfloat16,
    ]
    assert sizing.dtype(exact, model, GPU) is torch.float32
