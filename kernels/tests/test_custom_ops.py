"""Each op is a well-behaved torch custom op: schema, fake implementation, torch.compile without a graph break."""

import pytest
import torch

from llm_kernels import ops, workloads
from llm_kernels.dispatch import REGISTRY
from llm_kernels.workloads.base import clone, outputs


def one_workload(name):
    """The last small one in float32, or int8 for the product that has no other."""
    return [w for w in workloads.small(name) if w.dtype in (torch.float32, torch.int8)][-1]


@pytest.mark.parametrize("name", sorted(REGISTRY.ops))
def test_opcheck(name):
    torch.library.opcheck(getattr(ops, name), one_workload(name).inputs(seed=1))


@pytest.mark.parametrize("name", sorted(REGISTRY.ops))
def test_compiles_whole(name):
    torch._dynamo.reset()
    workload, op = one_workload(name), getattr(ops, name)
    args = workload.inputs(seed=2)

    def call(*own):
        return op(*own)

    compiled = torch.compile(call, fullgraph=True, backend="aot_eager")
    mine, expected = clone(args), clone(args)
    got, right = compiled(*mine), op(*expected)
    for a, b in zip(outputs(REGISTRY.ops[name], mine, got), outputs(REGISTRY.ops[name], expected, right), strict=True):
        assert a.dtype == b.dtype
        assert torch.equal(a.view(torch.uint8), b.view(torch.uint8))


REFUSED = [
    ("rms_norm", (torch.ones(2, 4, dtype=torch.int32), torch.ones(4), 1e-6), "x is int32; it takes float32"),
    ("rms_norm", (torch.ones(2, 4), torch.ones(3), 1e-6), r"takes \[4\] \(hidden\)"),
    ("fused_add_rms_norm", (torch.ones(2, 4), torch.ones(2, 5), torch.ones(4), 1e-6), "x's"),
    ("silu_and_mul", (torch.ones(2, 3),), r"takes \[..., 2 \* intermediate\]"),
    ("gelu_and_mul", (torch.ones(2, 4), "fast"), "takes tanh, none"),
    ("softmax", (torch.ones(()),), "n > 0"),
    ("gemm", (torch.ones(2, 4), torch.ones(3, 5)), r"takes \[n, 4\]"),
    ("quantize_per_token", (torch.ones(2, 4), torch.int16), "takes torch.int8 or torch.float8_e4m3fn"),
    (
        "flash_attention",
        (torch.ones(1, 2, 3, 8), torch.ones(1, 2, 2, 8), torch.ones(1, 2, 2, 8), True, 0, None),
        "a multiple of kv_heads",
    ),
    (
        "flash_attention",
        (torch.ones(1, 2, 1, 512), torch.ones(1, 2, 1, 512), torch.ones(1, 2, 1, 512), True, 0, None),
        "takes 1 to 256",
    ),
]


@pytest.mark.parametrize(("name", "args", "words"), REFUSED)
def test_names_what_it_takes(name, args, words):
    with pytest.raises(ValueError, match=words):
        getattr(ops, name)(*args)


@pytest.mark.parametrize("slices", [(0, 8), (8, 12)])
def test_rope_rotates_slices_of_a_fused_projection_in_place(slices):
    qkv = torch.randn(5, 12, 16)
    whole = qkv.clone()
    cos_sin = torch.randn(20, 16)
    query, key = qkv[:, :8], qkv[:, 8:]
    ops.rope(query, key, torch.arange(5), cos_sin)
    begin, end = slices
    expected_query, expected_key = whole[:, :8].contiguous(), whole[:, 8:].contiguous()
    ops.rope(expected_query, expected_key, torch.arange(5), cos_sin)
    assert torch.equal(qkv[:, begin:end], torch.cat((expected_query, expected_key), 1)[:, begin:end])
