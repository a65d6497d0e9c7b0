"""The FP8 KV cache: the tokens of transformers with rounded keys and values, and half or a quarter of the memory."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoModelForCausalLM, DynamicCache

from llm_engine import LLM, SamplingParams
from llm_engine.errors import ModelError
from llm_engine.kv_cache.memory import BlockCopy, KVMemory, Move
from llm_engine.testing.rounding import round_model

PROMPT = list(range(5, 45))
NEW_TOKENS = 20
SCALES = (0.005, 0.0005)
"""Scales of keys and values: so small that some are clipped, which changes the tokens of all three models."""
SCHEME = {"num_bits": 8, "type": "float", "strategy": "tensor", "dynamic": False, "symmetric": True}


class RoundedCache(DynamicCache):  # type: ignore[misc]
    """A cache of transformers that keeps what e4m3 keeps."""

    def __init__(self, scales: tuple[float, float]) -> None:
        super().__init__()
        self.scales = scales

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> Any:
        rounded = [
            (x / scale).clamp(-448, 448).to(torch.float8_e4m3fn).float() * scale
            for x, scale in zip((key_states, value_states), self.scales, strict=True)
        ]
        return super().update(*rounded, *args, **kwargs)


@pytest.fixture(scope="module", params=["llama", "qwen3", "mistral"])
def family(request: pytest.FixtureRequest, models: Path) -> Path:
    return models / "zoo" / str(request.param)


@pytest.fixture(scope="module")
def scaled(family: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Tensor]]:
    """Return a 4-bit checkpoint with scales, and the weights that it stands for."""
    folder = tmp_path_factory.mktemp("scaled") / "model"
    meant = round_model(family, folder, "int4")
    add_scales(folder, SCHEME)
    return folder, meant


def add_scales(folder: Path, scheme: dict[str, Any]) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"]["kv_cache_scheme"] = scheme
    (folder / "config.json").write_text(json.dumps(config))
    tensors = load_file(folder / "model.safetensors")
    for layer in range(config["num_hidden_layers"]):
        for name, scale in zip(("k_scale", "v_scale"), SCALES, strict=True):
            tensors[f"model.layers.{layer}.self_attn.{name}"] = torch.tensor([scale])
    save_file(tensors, folder / "model.safetensors")


def transformers_tokens(family: Path, meant: dict[str, Tensor], cache: DynamicCache) -> list[int]:
    model = AutoModelForCausalLM.from_pretrained(family, dtype=torch.float32)
    model.load_state_dict(meant, strict=False)
    ids = torch.tensor([PROMPT])
    out = model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        past_key_values=cache,
        max_new_tokens=NEW_TOKENS,
        min_new_tokens=NEW_TOKENS,
        do_sample=False,
        pad_token_id=0,
    )
    tokens: list[int] = out[0, len(PROMPT) :].tolist()
    return tokens


def greedy(folder: Path, **settings: Any) -> list[int]:
    llm = LLM(str(folder), num_gpu_blocks_override=128, **settings)
    try:
        params = SamplingParams(temperature=0, max_tokens=NEW_TOKENS, ignore_eos=True)
        return llm.generate(PROMPT, params, use_tqdm=False)[0].token_ids
    finally:
        llm.engine.close()


def test_the_tokens_of_rounded_keys_and_values(family: Path, scaled: tuple[Path, dict[str, Tensor]]) -> None:
    folder, meant = scaled
    expected = transformers_tokens(family, meant, RoundedCache(SCALES))
    assert expected != transformers_tokens(family, meant, DynamicCache())
    assert greedy(folder, kv_cache_dtype="fp8") == expected
    assert greedy(folder, kv_cache_dtype="fp8", max_num_batched_tokens=64, max_model_len=64, block_size=4) == expected
    assert greedy(folder, kv_cache_dtype="fp8", tensor_parallel_size=2) == expected


def test_without_the_flag_the_scales_are_left_alone(
    family: Path, scaled: tuple[Path, dict[str, Tensor]], caplog: pytest.LogCaptureFixture
) -> None:
    folder, meant = scaled
    with caplog.at_level(logging.WARNING):
        assert greedy(folder) == transformers_tokens(family, meant, DynamicCache())
    assert "scales of an FP8 KV cache, but the cache keeps the weights' type" in caplog.text
    assert "use --kv-cache-dtype fp8" in caplog.text


def test_without_scales_they_are_1(family: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        found = greedy(family, kv_cache_dtype="fp8")
    assert found == transformers_tokens(family, {}, RoundedCache((1.0, 1.0)))
    assert "has no scales of an FP8 KV cache" in caplog.text


def test_the_same_memory_holds_four_times_as_many_tokens(models: Path) -> None:
    room = {"kv_cache_memory_bytes": 96 * 2**10, "max_model_len": 16}
    counts = []
    for dtype in ("auto", "fp8"):
        llm = LLM(str(models / "zoo" / "llama"), kv_cache_dtype=dtype, **room)
        counts.append(llm.engine.num_blocks)
        llm.engine.close()
    assert counts[1] == 4 * counts[0]


def test_swapped_blocks_come_back(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two long requests do not fit at once: one is swapped to host memory and back."""
    moves: set[Move] = set()
    copy = KVMemory.copy

    def noted(memory: KVMemory, copies: list[BlockCopy]) -> None:
        moves.update(one.move for one in copies)
        copy(memory, copies)

    monkeypatch.setattr(KVMemory, "copy", noted)
    params = SamplingParams(temperature=0, max_tokens=40, ignore_eos=True)
    answers = []
    for blocks, host in ((64, 0), (9, 16)):
        llm = LLM(
            str(models / "zoo" / "llama"), kv_cache_dtype="fp8", num_gpu_blocks_override=blocks, num_cpu_blocks=host,
            max_model_len=96, enable_prefix_caching=False,
        )  # fmt: skip
        outputs = llm.generate([PROMPT, PROMPT[::-1]], params, use_tqdm=False)
        answers.append([output.outputs[0].token_ids for output in outputs])
        llm.engine.close()
    assert answers[0] == answers[1]
    assert moves >= {Move.OUT, Move.IN}


@pytest.mark.parametrize("change", [{"num_bits": 4}, {"strategy": "attn_head"}, {"dynamic": True}])
def test_other_schemes_are_refused(models: Path, tmp_path: Path, change: dict[str, Any]) -> None:
    round_model(models / "zoo" / "llama", tmp_path / "model", "int4")
    add_scales(tmp_path / "model", SCHEME | change)
    with pytest.raises(ModelError, match="kv_cache_scheme is"):
        LLM(str(tmp_path / "model"))
