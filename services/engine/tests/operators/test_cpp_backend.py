"""The cpp backend: when it is chosen, and that a request's logits do not depend on its batch.

What they compute is compared with transformers' in `test_parity`, where they are the default.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from llm_engine import LLM, SamplingParams
from llm_engine.checkpoint.families import DecoderConfig, parse_config
from llm_engine.checkpoint.folder import read_json
from llm_engine.errors import ModelError
from llm_engine.operators import backend
from llm_engine.settings import EngineConfig
from llm_engine.testing.parts import decoder_of
from llm_kernels import cpu
from llm_kernels.cpu import build

pytestmark = pytest.mark.skipif(
    build.compiler() is None, reason="there is no C++ compiler; tools/debian-packages installs one"
)

CPU, GPU = torch.device("cpu"), torch.device("cuda")
FLOAT32, BFLOAT16 = torch.float32, torch.bfloat16


def choose(name: Any, model: DecoderConfig, dtype: torch.dtype, device: torch.device, **settings: Any) -> str:
    return backend.choose(EngineConfig("m", attention_backend=name, **settings), model, dtype, device)


def test_device_and_type_choose_the_back_end(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = parse_config(read_json(models / "zoo" / "llama" / "config.json"))
    assert choose("auto", model, FLOAT32, CPU) == "cpp"
    assert choose("auto", model, BFLOAT16, CPU) == "torch"
    assert choose("auto", replace(model, head_dim=12), FLOAT32, CPU) == "torch"
    assert choose("auto", model, BFLOAT16, GPU) == "triton"
    assert choose("torch", model, BFLOAT16, GPU) == "torch"
    with pytest.raises(ModelError, match=r"head_dim to be a multiple of 8, but it is 12; use .* torch"):
        choose("cpp", replace(model, head_dim=12), FLOAT32, CPU)
    with pytest.raises(ModelError, match="needs float32 on a CPU, but this is bfloat16 on cuda"):
        choose("cpp", model, BFLOAT16, GPU)
    assert choose("auto", model, FLOAT32, CPU, kv_cache_dtype="fp8") == "torch"
    assert choose("auto", model, BFLOAT16, GPU, kv_cache_dtype="fp8") == "torch"
    for name in ("cpp", "triton"):
        with pytest.raises(ModelError, match=f"{name} has no FP8 KV cache; use --attention-backend torch"):
            choose(name, model, FLOAT32, CPU, kv_cache_dtype="fp8")
    monkeypatch.setattr(cpu, "why_not", lambda: "no C++ compiler was found")
    assert choose("auto", model, FLOAT32, CPU) == "torch"
    with pytest.raises(ModelError, match="cannot run: no C"):
        choose("cpp", model, FLOAT32, CPU)
    monkeypatch.setattr(backend, "find_spec", lambda name: None)
    assert choose("auto", model, BFLOAT16, GPU) == "torch"
    assert choose("auto", model, FLOAT32, CPU) == "torch"
    with pytest.raises(ModelError, match="needs llm_kernels and triton; use --attention-backend torch"):
        choose("triton", model, BFLOAT16, GPU)


def test_layers_of_another_kind_are_called_one_by_one(models: Path) -> None:
    llm = LLM(str(models / "main"), attention_backend="cpp", num_gpu_blocks_override=200)
    decoder: Any = decoder_of(llm)
    weights, fuse = decoder._weights, decoder._backend.fuse
    layer = weights.layers[0]
    narrow = cpu.PackedLinear.of(torch.ones(layer.down.weight.out_features, 24))
    assert fuse(weights) is not None
    assert fuse(replace(weights, layers=(replace(layer, down=narrow), *weights.layers[1:]))) is None
    assert fuse(replace(weights, layers=(*weights.layers[1:], replace(layer, o=torch.nn.Identity())))) is None
    assert fuse(replace(weights, head=torch.nn.Identity())) is None


def test_logits_do_not_depend_on_the_batch(models: Path, heldout: str) -> None:
    """Compare bit by bit: each kernel computes a row in the same order, whatever the other rows are."""
    llm = LLM(str(models / "main"), enable_prefix_caching=False, attention_backend="cpp", num_gpu_blocks_override=200)
    ids = llm.engine.tokenizer.encode(heldout[:4000])
    prompts = [ids[40 * row : 40 * row + 30 + row] for row in range(7)]
    params = SamplingParams(temperature=0, max_tokens=12, ignore_eos=True, logprobs=5)

    def logprobs(batch: list[list[int]]) -> list[list[dict[int, float]]]:
        outputs = llm.generate(batch, params, use_tqdm=False)
        return [
            [{t: p.logprob for t, p in at.items()} for at in output.outputs[0].logprobs or []] for output in outputs
        ]

    together = logprobs(prompts)
    assert len(together[0]) == 12
    assert [logprobs([prompt])[0] for prompt in prompts] == together
