"""Quantised checkpoints in every format: read, split, multiplied, and served like their dequantised weights."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoModelForCausalLM

from llm_engine import LLM, SamplingParams
from llm_engine.errors import ModelError
from llm_engine.operators.quantized import KernelW4A16, QuantizedWeight, join, quantized_linear
from llm_engine.testing.parts import decoder_of
from llm_engine.testing.rounding import FORMATS, round_model
from llm_kernels.cpu import PackedLinear
from llm_kernels.cpu.packing import Type

Checkpoints = Callable[..., tuple[Path, dict[str, Tensor]]]
PROMPT = list(range(5, 45))


@pytest.fixture(scope="module")
def rounded(models: Path, tmp_path_factory: pytest.TempPathFactory) -> Checkpoints:
    """rounded(family, format, head=False): the folder and its dequantised weights."""

    @cache
    def make(family: str, name: str, *, head: bool = False) -> tuple[Path, dict[str, Tensor]]:
        target = tmp_path_factory.mktemp("quantized") / "model"
        return target, round_model(models / "zoo" / family, target, name, head=head)

    return make


def greedy(folder: Path, **settings: Any) -> list[int]:
    llm = LLM(str(folder), num_gpu_blocks_override=128, **settings)
    try:
        params = SamplingParams(temperature=0, max_tokens=20, ignore_eos=True)
        return llm.generate(PROMPT, params, use_tqdm=False)[0].token_ids
    finally:
        llm.engine.close()


def reference(models: Path, family: str, meant: dict[str, Tensor], rounds_to: torch.dtype | None) -> list[int]:
    """Run transformers with the dequantised weights, quantising each projection's inputs token by token.

    The head is one of the projections if the weights have one.
    """
    projections = ("_proj", "lm_head") if "lm_head.weight" in meant else ("_proj",)
    tied = {} if "lm_head.weight" not in meant else {"tie_word_embeddings": False}
    model = AutoModelForCausalLM.from_pretrained(models / "zoo" / family, dtype=torch.float32, **tied)
    model.load_state_dict(meant, strict=False)
    if rounds_to is not None:
        for name, module in model.named_modules():
            if isinstance(module, nn.Linear) and name.endswith(projections):
                module.register_forward_pre_hook(lambda module, inputs: (by_token(inputs[0], rounds_to),))
    ids = torch.tensor([PROMPT])
    out = model.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=20, min_new_tokens=20, do_sample=False, pad_token_id=0
    )
    tokens: list[int] = out[0, len(PROMPT) :].tolist()
    return tokens


def by_token(x: Tensor, dtype: torch.dtype) -> Tensor:
    largest = 127 if dtype is torch.int8 else 448
    scale = x.abs().amax(-1, keepdim=True) / largest
    return ((x / scale).round() if dtype is torch.int8 else (x / scale).to(dtype).float()) * scale


ROUNDED_INPUTS = {"int8": torch.int8, "fp8": torch.float8_e4m3fn}
CASES = [("llama", name) for name in FORMATS] + [
    ("phi3", "int4"),
    ("phi3", "awq"),
    ("qwen2", "gptq"),
    ("gemma", "int8"),
]


@pytest.mark.parametrize(("family", "name"), CASES)
def test_it_writes_what_its_weights_mean(models: Path, rounded: Checkpoints, family: str, name: str) -> None:
    folder, meant = rounded(family, name)
    expected = reference(models, family, meant, ROUNDED_INPUTS.get(name))
    assert greedy(folder) == expected
    assert greedy(folder, attention_backend="triton") == expected  # through the references of the kernels


@pytest.mark.parametrize("name", ["gptq", "int2", "int4, asymmetric", "int8, packed", "int8", "fp8"])
def test_the_head_is_quantised_as_well(models: Path, rounded: Checkpoints, name: str) -> None:
    """The embedding stays as it was, although the model that was quantised ties the head to it."""
    folder, meant = rounded("llama", name, head=True)
    expected = reference(models, "llama", meant, ROUNDED_INPUTS.get(name))
    assert greedy(folder) == expected
    assert greedy(folder, attention_backend="triton") == expected
    assert greedy(folder, tensor_parallel_size=2) == expected


@pytest.mark.parametrize("name", ["int4, act-order", "int8"])
def test_two_ranks_write_the_same(rounded: Checkpoints, name: str) -> None:
    """Split the MLP's 96 inputs, in groups of 32, in the middle of a group."""
    folder, _ = rounded("llama", name)
    assert greedy(folder, tensor_parallel_size=2) == greedy(folder)


def weight(groups: list[int], out: int = 16, seed: int = 0) -> QuantizedWeight:
    generator = torch.Generator().manual_seed(seed)
    shape = (out, max(groups) + 1)
    return QuantizedWeight(
        values=torch.randint(0, 16, (out, len(groups)), generator=generator, dtype=torch.uint8),
        scales=torch.rand(shape, generator=generator) + 0.1,
        groups=torch.tensor(groups),
        zeros=torch.randint(0, 16, shape, generator=generator, dtype=torch.uint8),
    )


def eight_bits(item: QuantizedWeight, zero: int | None = None) -> QuantizedWeight:
    """Return a weight of 8 bits with the scales and groups of another; `zero`: all zero points, None: many."""
    values = torch.randint(-128, 128, item.shape, generator=torch.Generator().manual_seed(1), dtype=torch.int8)
    assert item.zeros is not None
    zeros = item.zeros.to(torch.int8) if zero is None else torch.full_like(item.scales, zero, dtype=torch.int8)
    return replace(item, values=values, zeros=zeros)


IN_ORDER = [0] * 128 + [1] * 128
ACT_ORDER = [1, 0] * 128


@pytest.mark.parametrize("groups", [IN_ORDER, ACT_ORDER])
def test_parts_are_parts_of_the_whole(groups: list[int]) -> None:
    whole = weight(groups)
    dense = whole.dequantize()
    torch.testing.assert_close(whole.narrow(0, 3, 7).dequantize(), dense[3:10])
    torch.testing.assert_close(whole.narrow(1, 96, 64).dequantize(), dense[:, 96:160])
    stacked = join([whole.narrow(0, 0, 5), whole.narrow(0, 5, 11)])
    assert isinstance(stacked, QuantizedWeight)
    torch.testing.assert_close(stacked.dequantize(), dense)


def test_what_is_grouped_differently_is_joined_in_full_precision() -> None:
    first, second = weight(IN_ORDER), weight(ACT_ORDER, seed=1)
    torch.testing.assert_close(join([first, second]), torch.cat([first.dequantize(), second.dequantize()]))


def test_projections_of_one_input_are_rounded_alike() -> None:
    first = QuantizedWeight(torch.ones(2, 4, dtype=torch.int8), torch.ones(2, 1), torch.zeros(4).long(), None, True)
    with pytest.raises(ModelError, match="quantise all or none"):
        join([first, torch.ones(2, 4)])


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("groups", [IN_ORDER, ACT_ORDER, [0] * 32 + [1] * 32])
def test_the_kernel_gets_the_same_weight(groups: list[int], biased: bool) -> None:
    item, x = weight(groups), torch.randn(3, len(groups), generator=torch.Generator().manual_seed(2))
    bias = torch.arange(16.0) if biased else None
    packed = quantized_linear(item, bias, torch.float32, "triton")
    assert isinstance(packed, KernelW4A16)
    assert packed.packed.layout == ("fragments" if len(groups) == 256 else "compressed-tensors")
    assert (packed.packed.permutation is None) == (groups != ACT_ORDER)
    plain = quantized_linear(item, bias, torch.float32, "torch")
    torch.testing.assert_close(packed(x), plain(x), atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *((name, Type.INT4) for name in ("gptq", "awq", "int2", "int3, asymmetric")),
        *((f"int8{how}", Type.INT8) for how in ("", ", packed", ", packed, asymmetric", ", packed, channels")),
    ],
)
def test_a_cpu_reads_packed_weights_in_one_call(rounded: Checkpoints, name: str, kind: Type) -> None:
    """The layers are read as the checkpoint has them, the head in 16 bits, and the forward pass is still one call."""
    folder, _ = rounded("llama", name)
    llm = LLM(str(folder), num_gpu_blocks_override=128, attention_backend="cpp")
    try:
        decoder: Any = decoder_of(llm)
        layers = [part for layer in decoder._weights.layers for part in (layer.qkv, layer.o, layer.gate_up, layer.down)]
        assert {layer.weight.type for layer in layers} == {kind}
        assert decoder._weights.head.weight.type is Type.BFLOAT16
        assert decoder._backend.decoder is not None
    finally:
        llm.engine.close()


@pytest.mark.parametrize(
    "item",
    [
        weight(IN_ORDER),
        weight(ACT_ORDER),
        weight(IN_ORDER).narrow(1, 64, 136),
        weight(ACT_ORDER).narrow(1, 40, 96),
        weight([0] * 20),
        weight(IN_ORDER, out=70).narrow(0, 3, 50),
    ],
    ids=["in order", "act-order", "cut groups", "cut act-order", "one short group", "some outputs"],
)
@pytest.mark.parametrize("bits", ["4 bits", "8 bits", "8 bits, symmetric"])
def test_the_cpus_kernel_gets_the_same_weight(item: QuantizedWeight, bits: str) -> None:
    if bits != "4 bits":
        item = eight_bits(item, 0 if "symmetric" in bits else None)
    x, bias = torch.randn(3, item.shape[1], generator=torch.Generator().manual_seed(2)), torch.arange(item.shape[0])
    packed = quantized_linear(item, bias.float(), torch.float32, "cpp")
    assert isinstance(packed, PackedLinear)
    assert packed.weight.type is (Type.INT4 if bits == "4 bits" else Type.INT8)
    torch.testing.assert_close(packed(x), x @ item.dequantize().T + bias, atol=1e-3, rtol=1e-4)


def test_groups_that_share_words_are_dequantised_on_a_cpu() -> None:
    item = weight([0] * 12 + [1] * 12)
    packed = quantized_linear(item, None, torch.float32, "cpp")
    assert isinstance(packed, PackedLinear)
    assert packed.weight.type is Type.FLOAT32
    torch.testing.assert_close(packed(torch.eye(24)).T, item.dequantize())


def test_a_group_cut_in_two_is_no_matter_for_the_reference_alone() -> None:
    part = weight(IN_ORDER).narrow(1, 64, 128 + 8)
    assert KernelW4A16.of(part, None, torch.float32) is None
    dense = quantized_linear(part, None, torch.float32, "triton")
    x = torch.randn(2, 136, generator=torch.Generator().manual_seed(2))
    torch.testing.assert_close(dense(x), x @ part.dequantize().T, atol=1e-3, rtol=1e-4)


COMPRESSED: dict[str, Any] = {
    "quant_method": "compressed-tensors",
    "format": "pack-quantized",
    "config_groups": {"group_0": {"weights": {"num_bits": 4, "type": "int", "strategy": "group", "group_size": 32}}},
}
STATIC = {"num_bits": 8, "type": "int", "strategy": "tensor", "dynamic": False}
CHANNEL = {"num_bits": 8, "type": "int", "strategy": "channel"}


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"quant_method": "fbgemm_fp8"}, "'fbgemm_fp8' is not supported; supported: compressed-tensors, gptq, awq"),
        ({"quant_method": "gptq", "bits": 3, "group_size": 32}, "bits of gptq is 3; supported: 2 or 4 or 8"),
        ({"quant_method": "gptq", "bits": 4}, "lacks 'group_size'"),
        ({"quant_method": "awq", "bits": 4, "group_size": 32, "version": "gemv"}, "version of awq is 'gemv'"),
        ({**COMPRESSED, "format": "marlin-24"}, "format is 'marlin-24'; supported: 'pack-quantized' or 'int-q"),
        ({**COMPRESSED, "kv_cache_scheme": {"num_bits": 8}}, "kv_cache_scheme is"),
        ({**COMPRESSED, "config_groups": {}}, "number of config_groups is 0"),
        (
            {
                **COMPRESSED,
                "format": "int-quantized",
                "config_groups": {"group_0": {"weights": CHANNEL, "input_activations": STATIC}},
            },
            "input_activations is .'tensor', False.; supported: .'token', True.",
        ),
    ],
)
def test_a_scheme_nobody_supports_is_named(rounded, tmp_path: Path, config: dict[str, Any], message: str) -> None:  # type: ignore[no-untyped-def]
    source, _ = rounded("llama", "int4")
    (tmp_path / "config.json").write_text(
        json.dumps({**json.loads((source / "config.json").read_text()), "quantization_config": config})
    )
    with pytest.raises(ModelError, match=message):
        LLM(str(tmp_path))


def test_the_flag_must_agree_with_the_checkpoint(models: Path, rounded: Checkpoints) -> None:
    folder, _ = rounded("llama", "awq")
    assert greedy(folder, quantization="awq") == greedy(folder)
    with pytest.raises(ModelError, match="--quantization is gptq, but the checkpoint has awq"):
        LLM(str(folder), quantization="gptq")
    with pytest.raises(ModelError, match="has unquantized weights"):
        LLM(str(models / "zoo" / "llama"), quantization="gptq")


@pytest.mark.parametrize(
    ("name", "tensor", "change", "message"),
    [
        (
            "gptq",
            "scales",
            lambda t: t[:1].clone(),
            r"scales has shape \(1, 128\), but .* asks for \(2, 128\)",
        ),
        ("gptq", "qzeros", None, "lack .*q_proj.qzeros"),
        ("gptq", "g_idx", lambda t: t + 1, "q_proj.g_idx has groups outside 0 to 1"),
        ("int8", "weight", lambda t: t.float(), "q_proj.weight is torch.float32, but quantization_config asks for"),
    ],
)
def test_tensors_that_do_not_fit_are_named(
    models: Path, tmp_path: Path, name: str, tensor: str, change: Callable[[Tensor], Tensor] | None, message: str
) -> None:
    folder = tmp_path / "model"
    round_model(models / "zoo" / "llama", folder, name)
    tensors = load_file(folder / "model.safetensors")
    key = f"model.layers.0.self_attn.q_proj.{tensor}"
    broken = tensors.pop(key)
    if change is not None:
        tensors[key] = change(broken)
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(ModelError, match=message):
        LLM(str(folder))


def test_integers_without_a_quantization_are_refused(models: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    round_model(models / "zoo" / "llama", folder, "int8")
    (folder / "config.json").write_bytes((models / "zoo" / "llama" / "config.json").read_bytes())
    with pytest.raises(ModelError, match=r"q_proj\.weight is torch\.int8, but config\.json has no"):
        LLM(str(folder))
