from __future__ import annotations

from typing import Any

import pytest
from transformers import AutoConfig

from llm_engine.checkpoint.families import FAMILIES, parse_config
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


QWEN: dict[str, Any] = {"model_type": "qwen3", "num_key_value_heads": 4}
SIZES = (*CONFIG.keys() - {"model_type"},)
ROPES: list[dict[str, Any]] = [
    {},
    {"rope_theta": 500.0},
    {"partial_rotary_factor": 0.5},
    {"rope_theta": 500.0, "rope_scaling": {"type": "linear", "factor": 2.0}},
    {"rope_scaling": {"rope_type": "default"}, "rope_parameters": {"rope_theta": 7.0, "rope_type": "default"}},
    {"rope_parameters": {"rope_theta": 7.0, "rope_type": "default", "partial_rotary_factor": 0.5}, "rope_theta": 9.0},
    {"rope_scaling": {"rope_type": "llama3", "factor": 2.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}},
]
CHANGES: list[dict[str, Any]] = [
    {},
    {"num_key_value_heads": None},
    {"head_dim": 64},
    {"sliding_window": None},
    {"sliding_window": 7},
    {"use_sliding_window": True},
    {"use_sliding_window": True, "max_window_layers": 1, "sliding_window": 7},
    {"use_sliding_window": False, "layer_types": ["full_attention", "sliding_attention"] * 2},
    {"layer_types": ["full_attention"] * 4},
    {"attention_bias": True, "mlp_bias": True},
    {"tie_word_embeddings": True},
    {"tie_word_embeddings": False},
    {"rms_norm_eps": 0.5},
    {"hidden_act": "silu"},
    {"hidden_act": "gelu_new", "hidden_activation": "silu"},
    # no effect on the generated tokens, there or here
    {"pretraining_tp": 2, "attention_dropout": 0.5, "initializer_range": 0.5, "use_cache": False},
    {"residual_multiplier": 3.0, "final_logit_softcapping": 1.0, "query_pre_attn_scalar": 3, "embd_pdrop": 0.5},
]


REFUSED_THERE = {
    ("mistral", "num_key_value_heads"),
    ("gemma", "num_key_value_heads"),
    ("phi3", "rope_theta", "rope_scaling"),
    ("phi3", "rope_scaling"),
}
"""Family and changed keys that transformers does not support."""


@pytest.mark.parametrize("change", [*CHANGES, *ROPES], ids=str)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_key_means_what_it_means_in_transformers(family: str, change: dict[str, Any]) -> None:
    """Check that config.json with all defaults written out, as transformers saves it, is the same model."""
    sizes = {**CONFIG, "num_attention_heads": 32, "hidden_size": 512}  # multiples of every default
    given = {**sizes, "model_type": family, **change}
    if (family, *change) in REFUSED_THERE:
        pytest.skip("transformers refuses it")
    written = AutoConfig.for_model(**given).to_dict()
    for old in ("rope_theta", "rope_scaling", "partial_rotary_factor"):
        written.pop(old, None)
    if family not in ("qwen2", "qwen3"):
        written.pop("layer_types", None)
    assert parse_config({key: value for key, value in written.items() if key != "dtype"}) == parse_config(given)


@pytest.mark.parametrize("family", FAMILIES)
def test_no_key_that_transformers_reads_is_unknown(family: str) -> None:
    """Fail on keys that a newer transformers adds to a family, until they are judged."""
    known = {*SIZES, *(key for change in (*CHANGES, *ROPES) for key in change)}
    assert set(type(AutoConfig.for_model(family)).__annotations__) - known - NO_EFFECT == set()


NO_EFFECT = {
    *("keys_to_ignore_at_inference", "base_model_tp_plan", "base_model_pp_plan", "model_type"),
    *("bos_token_id", "eos_token_id", "pad_token_id", "resid_pdrop", "original_max_position_embeddings"),
    "use_bidirectional_attention",
}
"""Tokens are the tokenizer's matter, and dropout is for training. Longrope, for which Phi-3 has an original length, is
refused, and so are Gemmas that look ahead."""


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
    mistral = parse_config({**CONFIG, "model_type": "mistral", "num_key_value_heads": 4, "sliding_window": 16})
    assert mistral.windows == (16,) * 4
    qwen = {**CONFIG, "model_type": "qwen2", "num_key_value_heads": 4, "sliding_window": 16, "max_window_layers": 3}
    assert parse_config({**qwen, "use_sliding_window": False}).windows == (None,) * 4
    assert parse_config({**qwen, "use_sliding_window": True}).windows == (None, None, None, 16)
    types = ["sliding_attention", "full_attention"] * 2
    assert parse_config({**qwen, "use_sliding_window": True, "layer_types": types}).windows == (16, None, 16, None)


def test_gemma_scales_its_embeddings_and_shifts_its_norms() -> None:
    gemma = parse_config({**CONFIG, "model_type": "gemma", "num_key_value_heads": 1, "hidden_act": "gelu"})
    assert gemma.embed_scale == 32**0.5
    assert gemma.norm_offset == 1
    assert gemma.tie_embeddings
    assert gemma.activation == "gelu_tanh"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model_type": "gpt2"}, "model_type 'gpt2' is not supported; supported: gemma, llama"),
        ({"model_type": None}, "not supported"),
        ({"quantization_config": {"quant_method": "gptq"}}, "quantization_config lacks 'bits'"),
        ({"rope_scaling": {"rope_type": "yarn"}}, "rope type 'yarn'"),
        ({"hidden_act": "relu"}, "hidden_act 'relu'"),
        ({"rope_scaling": {"rope_type": "linear"}}, "lacks 'factor'"),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 2.0}}, "lacks 'low_freq_factor'"),
        ({"rope_parameters": {"rope_type": "linear", "factor": 2.0, "partial_rotary_factor": 0.5}}, "partial_rotary"),
        ({"model_type": "phi3", "rope_scaling": {"type": "linear", "factor": 2.0}}, "not supported for phi3"),
        ({"model_type": "mistral", "num_key_value_heads": 4, "sliding_window": 1}, "sliding_window is 1"),
        ({"model_type": "phi3", "sliding_window": 0}, "sliding_window is 0"),
        ({**QWEN, "use_sliding_window": True, "sliding_window": 1, "max_window_layers": 0}, "sliding_window is 1"),
        ({**QWEN, "layer_types": ["full_attention"]}, "one for each of the 4 layers"),
        ({**QWEN, "layer_types": ["full_attention"] * 3 + ["linear_attention"]}, "linear_attention"),
        ({"num_key_value_heads": 3}, r"num_key_value_heads \(3\)"),
        ({"architectures": ["LlamaForSequenceClassification"]}, "only causal language models"),
        ({"model_type": "gemma", "use_bidirectional_attention": True}, "use_bidirectional_attention"),
    ],
)
def test_what_we_cannot_build_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        parse_config({**CONFIG, **change})


def test_a_missing_key_is_named() -> None:
    config = {key: value for key, value in CONFIG.items() if key != "hidden_size"}
    with pytest.raises(ModelError, match="hidden_size"):
        parse_config(config)
