"""Greedy tokens equal those of transformers, in float32 on a CPU, whatever the engine does to the batch.

The six shipped models of models/zoo, and random tiny models for what those leave out: small sliding windows, layers
that slide beside layers that do not, biases, partial rotation, scaled rotation.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    GemmaConfig,
    LlamaConfig,
    MistralConfig,
    Phi3Config,
    Qwen2Config,
    Qwen3Config,
)

from llm_engine import LLM, SamplingParams
from llm_engine.checkpoint.tokenizer import Tokenizer

FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "gemma", "phi3")
NEW_TOKENS = 24
PROMPT_LENGTHS = (1, 17, 33, 64, 150, 240)
"""Prompt lengths: one token, a block and one, two blocks and one, whole blocks, beyond the sliding window of 128."""

WAYS: dict[str, dict[str, Any]] = {
    "batched": {},
    "chunked": {"max_num_batched_tokens": 13, "max_num_seqs": 4, "block_size": 8},
    "uncached": {"enable_prefix_caching": False},
    # 40 blocks of 8 for 649 tokens of prompts and outputs: the batch does not fit at once.
    "preempted": {"num_gpu_blocks_override": 40, "block_size": 8, "max_model_len": 320},
    "radix, preempted": {
        "num_gpu_blocks_override": 40,
        "block_size": 8,
        "max_model_len": 320,
        "prefix_cache": "radix",
    },
    "swapped": {"num_gpu_blocks_override": 40, "block_size": 8, "max_model_len": 320, "num_cpu_blocks": 40},
    "overlapped, preempted": {
        "async_scheduling": True,
        "num_gpu_blocks_override": 40,
        "block_size": 8,
        "max_model_len": 320,
        "max_num_batched_tokens": 64,
        "num_cpu_blocks": 10,
    },
    "ngrams": {"speculative_config": {"method": "ngram", "num_speculative_tokens": 4, "prompt_lookup_min": 1}},
    "draft model": {"speculative_config": {"model": "draft", "num_speculative_tokens": 2}, "max_num_seqs": 6},
    "torch": {"attention_backend": "torch"},
    "torch, chunked": {"attention_backend": "torch", "max_num_batched_tokens": 13, "max_num_seqs": 4, "block_size": 8},
    "kernels": {"attention_backend": "triton", "async_scheduling": True},
    "preempted and chunked": {
        "num_gpu_blocks_override": 40,
        "block_size": 8,
        "max_model_len": 320,
        "max_num_batched_tokens": 24,
        "max_num_seqs": 6,
    },
}

BASE: dict[str, Any] = {
    "vocab_size": 300,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 0,
    "initializer_range": 0.3,
}
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 10000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
LINEAR_ROPE = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.0}
PARTIAL_ROPE = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}
SHORT_LLAMA3_ROPE = {name: value for name, value in LLAMA3_ROPE.items() if "original" not in name}
MIXED = ["sliding_attention", "full_attention", "sliding_attention"]
RANDOM_MODELS = {
    "llama, biased": LlamaConfig(**BASE, attention_bias=True, mlp_bias=True),
    "llama, llama3 rope": LlamaConfig(**BASE, rope_parameters=LLAMA3_ROPE),
    "llama, linear rope": LlamaConfig(**BASE, rope_parameters=LINEAR_ROPE),
    "llama, one kv head": LlamaConfig(**{**BASE, "num_key_value_heads": 1}),
    "mistral, window 10": MistralConfig(**BASE, sliding_window=10),
    "qwen2, two layers slide": Qwen2Config(**BASE, use_sliding_window=True, sliding_window=10, max_window_layers=1),
    "qwen3, wide heads": Qwen3Config(**BASE, head_dim=16, attention_bias=True),
    "gemma, wide heads": GemmaConfig(**BASE, head_dim=16),
    "phi3, window 10": Phi3Config(**BASE, sliding_window=10),
    "phi3, partial rotation": Phi3Config(**BASE, rope_parameters=PARTIAL_ROPE),
    "llama, a partial rotation that it ignores": LlamaConfig(**BASE, rope_parameters=PARTIAL_ROPE),
    "llama, exact gelu": LlamaConfig(**BASE, hidden_act="gelu"),
    "llama, llama3 rope without its original length": LlamaConfig(**BASE, rope_parameters=SHORT_LLAMA3_ROPE),
    "gemma, silu": GemmaConfig(**BASE, hidden_act="silu"),
    "gemma, gelu that means tanh": GemmaConfig(**BASE, hidden_act="gelu"),
    "mistral, window 2": MistralConfig(**BASE, sliding_window=2),
    "qwen2, layer types": Qwen2Config(**BASE, use_sliding_window=True, sliding_window=10, layer_types=MIXED),
    "qwen3, window 2": Qwen3Config(**BASE, use_sliding_window=True, sliding_window=2, max_window_layers=0),
}


@cache
def reference(folder: Path, prompts: tuple[tuple[int, ...], ...]) -> list[list[int]]:
    """Generate with transformers, each prompt alone."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    outputs = []
    for prompt in prompts:
        ids = torch.tensor([prompt])
        generated = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=NEW_TOKENS,
            min_new_tokens=NEW_TOKENS,
            do_sample=False,
            pad_token_id=0,
        )
        outputs.append(generated[0, len(prompt) :].tolist())
    return outputs


def greedy(llm: LLM, prompts: tuple[tuple[int, ...], ...]) -> tuple[list[list[int]], list[int]]:
    """Tokens, and how many prompt tokens came from the cache."""
    params = SamplingParams(temperature=0, max_tokens=NEW_TOKENS, min_tokens=NEW_TOKENS)
    outputs = llm.generate([list(prompt) for prompt in prompts], params, use_tqdm=False)
    return [output.token_ids for output in outputs], [output.num_cached_tokens for output in outputs]


def make_llm(folder: Path, way: str) -> LLM:
    settings = {"num_gpu_blocks_override": 300, "check_invariants": True, **WAYS[way]}
    if way == "draft model":
        draft = folder.parents[1] / "draft"
        settings["speculative_config"] = {**settings["speculative_config"], "model": str(draft)}
    return LLM(str(folder), dtype="float32", **settings)


def zoo_prompts(folder: Path, text: str) -> tuple[tuple[int, ...], ...]:
    ids = Tokenizer(folder).encode(text[:8000])
    starts = range(0, 1000, 160)
    return tuple(tuple(ids[start : start + size]) for start, size in zip(starts, PROMPT_LENGTHS, strict=False))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_zoo_generates_what_transformers_generates(models: Path, heldout: str, family: str, way: str) -> None:
    folder = models / "zoo" / family
    prompts = zoo_prompts(folder, heldout)
    llm = make_llm(folder, way)
    tokens, cached = greedy(llm, prompts)
    assert tokens == reference(folder, prompts)
    assert cached == [0] * len(prompts)
    if "preempted" in way or way == "swapped":
        assert llm.engine.num_preemptions > 0
    if way == "uncached":
        return
    assert greedy(llm, prompts[-1:])[0] == tokens[-1:]
    again, cached = greedy(llm, prompts[-1:])  # certainly cached now, up to its last block
    assert again == tokens[-1:]
    assert cached[0] >= PROMPT_LENGTHS[-1] - llm.engine.config.block_size


@pytest.mark.parametrize("family", FAMILIES)
def test_three_answers_that_share_a_prompt_each_are_what_transformers_generates(
    models: Path, heldout: str, family: str
) -> None:
    folder = models / "zoo" / family
    prompts = zoo_prompts(folder, heldout)
    params = SamplingParams(temperature=0, max_tokens=NEW_TOKENS, min_tokens=NEW_TOKENS, n=3)
    outputs = make_llm(folder, "preempted").generate([list(prompt) for prompt in prompts], params, use_tqdm=False)
    for output, expected in zip(outputs, reference(folder, prompts), strict=True):
        assert [answer.token_ids for answer in output.outputs] == [expected] * 3


@pytest.fixture(scope="module")
def random_folder(models: Path, tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    @cache
    def build(name: str) -> Path:
        folder: Path = tmp_path_factory.mktemp("model")
        torch.manual_seed(len(name))
        model = AutoModelForCausalLM.from_config(RANDOM_MODELS[name], dtype=torch.float32)
        for parameter_name, parameter in model.named_parameters():
            if "bias" in parameter_name:  # zeros, and ones in norms, would hide a mistake
                torch.nn.init.normal_(parameter, std=0.5)
            elif "norm" in parameter_name:
                torch.nn.init.uniform_(parameter, 0.3, 1.7)
        model.save_pretrained(folder)
        (folder / "tokenizer.json").write_bytes((models / "main" / "tokenizer.json").read_bytes())
        return folder

    return build


@pytest.mark.parametrize("way", ["batched", "chunked", "preempted", "torch, chunked"])
@pytest.mark.parametrize("name", RANDOM_MODELS)
def test_random_models_generate_what_transformers_generates(random_folder, name: str, way: str) -> None:  # type: ignore[no-untyped-def]
    folder = random_folder(name)
    generator = torch.Generator().manual_seed(0)
    prompts = tuple(
        tuple(torch.randint(1, BASE["vocab_size"], (size,), generator=generator).tolist()) for size in PROMPT_LENGTHS
    )
    expected = reference(folder, prompts)
    assert len({token for tokens in expected for token in tokens}) > 20, "too dull a model to tell right from wrong"
    assert greedy(make_llm(folder, way), prompts)[0] == expected
