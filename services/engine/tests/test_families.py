from __future__ import annotations

from typing import Any

import pytest

from llm_engine.checkpoint.families import parse_config
from llm_engine.errors import ModelError

CONFIG: dict[str, Any] = {
    "model_type": "llama",
    "vocab_size": 100,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
}


def test_what_a_config_leaves_out_has_the_usual_value() -> None:
    config = parse_config(CONFIG)
    assert (config.num_kv_heads, config.head_dim) == (4, 8)
    assert config.windows == (None,) * 4
    assert config.rope.theta == 10_000
    assert not config.tie_embeddings


@pytest.mark.parametrize(
    "rope",
    [
        {"rope_theta": 500.0, "rope_scaling": {"type": "linear", "factor": 2.0}},
        {"rope_theta": 500.0, "rope_scaling": {"rope_type": "linear", "factor": 2.0}},
        {"rope_parameters": {"rope_type": "linear", "rope_theta": 500.0, "factor": 2.0}},
    ],
)
def test_old_and_new_ways_to_write_rope(rope: dict[str, Any]) -> None:
    config = parse_config({**CONFIG, **rope})
    assert (config.rope.kind, config.rope.theta, config.rope.factor) == ("linear", 500.0, 2.0)


def test_sliding_windows_by_family() -> None:
    mistral = parse_config({**CONFIG, "model_type": "mistral", "sliding_window": 16})
    assert mistral.windows == (16,) * 4
    qwen = {**CONFIG, "model_type": "qwen2", "sliding_window": 16, "max_window_layers": 3}
    assert parse_config({**qwen, "use_sliding_window": False}).windows == (None,) * 4
    assert parse_config({**qwen, "use_sliding_window": True}).windows == (None, None, None, 16)
    types = ["sliding_attention", "full_attention"] * 2
    assert parse_config({**qwen, "use_sliding_window": True, "layer_types": types}).windows == (16, None, 16, None)


def test_gemma_scales_its_embeddings_and_shifts_its_norms() -> None:
    gemma = parse_config({**CONFIG, "model_type": "gemma", "hidden_act": "gelu"})
    assert gemma.embed_scale == 32**0.5
    assert gemma.norm_offset == 1
    assert gemma.tie_embeddings
    assert gemma.activation == "gelu_tanh"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "gpt2"}, "model_type 'gpt2' is not supported; supported are gemma, llama"),
        ({"model_type": None}, "not supported"),
        ({"quantization_config": {"quant_method": "gptq"}}, "quantization_config lacks 'bits'"),
        ({"rope_scaling": {"rope_type": "yarn"}}, "rope type 'yarn'"),
        ({"hidden_act": "relu"}, "hidden_act 'relu'"),
    ],
)
def test_what_we_cannot_build_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        parse_config({**CONFIG, **change})


def test_a_missing_key_is_named() -> None:
    config = {key: value for key, value in CONFIG.items() if key != "hidden_size"}
    with pytest.raises(ModelError, match="hidden_size"):
        parse_config(config)
