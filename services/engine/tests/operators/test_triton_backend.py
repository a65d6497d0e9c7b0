"""The triton backend: on a CPU through the kernels' references, and at tiny sizes through Triton's interpreter."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from llm_engine.checkpoint.families import DecoderConfig, parse_config
from llm_engine.checkpoint.folder import read_json
from llm_engine.operators import backend, truncation
from llm_engine.operators.triton_backend import draw
from llm_engine.sampling.params import SamplingParams

CPU = torch.device("cpu")
TOKENS = """
import sys
from llm_engine import LLM, SamplingParams

params = [SamplingParams(temperature=0, max_tokens=3, ignore_eos=True), SamplingParams(max_tokens=3, top_k=50, seed=1)]
settings = {"num_gpu_blocks_override": 32, "max_model_len": 64, "max_num_batched_tokens": 64, "block_size": 4}
for name in ("torch", "triton"):
    llm = LLM(sys.argv[1], attention_backend=name, **settings)
    outputs = llm.generate([[5, 6, 7, 8, 9, 10, 11], [20, 21, 22]], params, use_tqdm=False)
    print([output.token_ids for output in outputs])
"""


def config(models: Path, family: str) -> DecoderConfig:
    return parse_config(read_json(models / "zoo" / family / "config.json"))


def test_interpreted_kernels_write_the_tokens_that_torch_writes(models: Path) -> None:
    environment = {
        **os.environ,
        "TRITON_INTERPRET": "1",
        "LLM_KERNELS_IMPL": "triton",
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    command = [sys.executable, "-c", TOKENS, str(models / "zoo" / "qwen3")]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True)
    with_torch, with_triton = result.stdout.splitlines()
    assert with_triton == with_torch


@pytest.mark.parametrize("family", ["llama", "gemma"])
def test_both_back_ends_have_the_same_operators(models: Path, family: str) -> None:
    of_torch, of_triton = (
        backend.make(name, config(models, family), 64, block_size=16, dtype=torch.float32, device=CPU)
        for name in ("torch", "triton")
    )
    generator = torch.Generator().manual_seed(0)
    x, delta, gate_up = (torch.randn(5, size, generator=generator) for size in (32, 32, 48))
    weight = torch.rand(32, generator=generator)
    for given in (None, delta):
        expected, actual = (b.add_rms_norm(x.clone(), given, weight, 1e-6) for b in (of_torch, of_triton))
        torch.testing.assert_close(actual, expected)
    torch.testing.assert_close(of_triton.rms_norm(x, weight, 1e-6), of_torch.rms_norm(x, weight, 1e-6))
    for activation in ("silu", "gelu_tanh", "gelu"):
        expected, actual = (b.gated_activation(gate_up.clone(), activation) for b in (of_torch, of_triton))
        torch.testing.assert_close(actual, expected)


@pytest.mark.parametrize("params", [{}, {"top_k": 20}, {"top_p": 0.8}, {"top_k": 9, "top_p": 0.7}, {"min_p": 0.1}])
def test_a_fused_draw_is_the_draw(params: dict[str, float]) -> None:
    logits = torch.randn(50, 300, generator=torch.Generator().manual_seed(0)) * 3
    each = [SamplingParams(**params)] * 50  # type: ignore[arg-type]
    uniforms = np.random.default_rng(0).random(50)
    assert torch.equal(draw(logits, each, uniforms), truncation.draw(logits, each, uniforms))


@pytest.mark.parametrize("params", [{}, {"top_k": 20}])
def test_greedy_rows_of_a_draw_are_the_likeliest(params: dict[str, int]) -> None:
    logits = torch.randn(6, 300, generator=torch.Generator().manual_seed(0))
    each = [SamplingParams(temperature=row % 3 / 2, **params) for row in range(6)]  # type: ignore[arg-type]
    uniforms = np.random.default_rng(0).random(6)
    tokens = draw(logits, each, uniforms)
    assert torch.equal(tokens, truncation.draw(logits, each, uniforms))
    assert torch.equal(tokens[[0, 3]], logits[[0, 3]].argmax(-1))
