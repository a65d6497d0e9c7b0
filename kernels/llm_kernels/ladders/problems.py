"""The six problems."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from llm_kernels import layouts
from llm_kernels.dispatch import Args
from llm_kernels.ladders.base import Ladder, Sizes
from llm_kernels.ops.attention import attend
from llm_kernels.ops.rope import _rotated as rotated
from llm_kernels.workloads import Cost
from llm_kernels.workloads.base import integers, normal, uniform
from llm_kernels.workloads.cache import cos_sin_table
from llm_kernels.workloads.products import random_operand

BF16, FP32 = torch.bfloat16, torch.float32


def _nan(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.full(shape, float("nan"), dtype=dtype, device=device)


def _gemm_make(g: torch.Generator, device: torch.device, s: Sizes) -> Args:
    m, n, k = s["m"], s["n"], s["k"]
    a, b = normal(g, (m, k), BF16, device), normal(g, (n, k), BF16, device)
    return a, b, _nan((m, n), BF16, device), m, n, k


GEMM = Ladder(
    "gemm",
    "bf16 matrix product, c [m, n] = a [m, k] b [n, k]^T",
    _gemm_make,
    outputs=(2,),
    expected=lambda args: (args[0].double() @ args[1].double().T,),
    native=lambda args: (args[0] @ args[1].T,),
    library="cuBLAS",
    cost=lambda s: Cost(2.0 * (s["m"] * s["k"] + s["n"] * s["k"] + s["m"] * s["n"]), 2.0 * s["m"] * s["n"] * s["k"]),
    small={"m": 256, "n": 512, "k": 192},
    large={"m": 4096, "n": 4096, "k": 4096},
)


def _rows_make(g: torch.Generator, device: torch.device, s: Sizes) -> Args:
    shape = (s["rows"], s["n"])
    return normal(g, shape, BF16, device, 3.0), _nan(shape, BF16, device), s["rows"], s["n"]


REDUCTION = Ladder(
    "reduction",
    "row softmax of [rows, n] bf16",
    _rows_make,
    outputs=(1,),
    expected=lambda args: (args[0].double().softmax(-1),),
    native=lambda args: (args[0].softmax(-1),),
    library="torch.softmax",
    cost=lambda s: Cost(4.0 * s["rows"] * s["n"]),
    small={"rows": 37, "n": 4096},
    large={"rows": 8192, "n": 4096},
)


def _rope_make(g: torch.Generator, device: torch.device, s: Sizes) -> Args:
    tokens, blocks = s["tokens"], -(-s["tokens"] // 16) + 2
    query = normal(g, (tokens, 32, 128), BF16, device)
    key, value = (normal(g, (tokens, 8, 128), BF16, device) for _ in range(2))
    positions = integers(g, 0, 4096, (tokens,), torch.int64, device)
    slots = torch.randperm(blocks * 16, generator=g)[:tokens].to(device)
    cache = normal(g, (blocks, 16, 2, 8, 128), BF16, device)
    return (
        query,
        key,
        value,
        positions,
        cos_sin_table(4096, 128, device),
        slots,
        _nan(tuple(query.shape), BF16, device),
        cache,
    )


def _rope_result(args: Args, dtype: torch.dtype) -> tuple[Tensor, ...]:
    query, key, value, positions, cos_sin, slots, _, cache = args
    out = rotated(query.to(dtype), positions, cos_sin)
    cached = cache.to(dtype).clone()
    rows = torch.stack((rotated(key.to(dtype), positions, cos_sin), value.to(dtype)), 1)
    cached.view(-1, 2, 8, 128).index_copy_(0, slots, rows)
    return out, cached


ROPE = Ladder(
    "rope",
    "rotary embedding of queries and keys, and the write of keys and values to the paged cache",
    _rope_make,
    outputs=(6, 7),
    expected=lambda args: _rope_result(args, torch.float64),
    native=lambda args: _rope_result(args, BF16),
    library="torch, eager",
    cost=lambda s: Cost(s["tokens"] * (2 * 32 * 256 + 4 * 8 * 256 + 512 + 16)),
    small={"tokens": 37},
    large={"tokens": 8192},
)


def _attention_make(g: torch.Generator, device: torch.device, s: Sizes) -> Args:
    batch, tokens, heads = s["batch"], s["tokens"], s["heads"]
    q, k, v = (normal(g, (batch, tokens, heads, 128), BF16, device) for _ in range(3))
    return q, k, v, _nan(tuple(q.shape), BF16, device), batch, tokens, heads


def _sdpa(args: Args) -> tuple[Tensor, ...]:
    q, k, v = (t.transpose(1, 2) for t in args[:3])
    return (F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2),)


def _attention_cost(s: Sizes) -> Cost:
    pairs = s["tokens"] * (s["tokens"] + 1) / 2
    return Cost(8.0 * s["batch"] * s["tokens"] * s["heads"] * 128, 4.0 * s["batch"] * s["heads"] * 128 * pairs)


ATTENTION = Ladder(
    "attention",
    "causal attention, head_dim 128, bf16",
    _attention_make,
    outputs=(3,),
    expected=lambda args: (attend(args[0].double(), args[1].double(), args[2].double(), True, 0, None),),
    native=_sdpa,
    library="torch SDPA",
    cost=_attention_cost,
    small={"batch": 1, "tokens": 320, "heads": 2},
    large={"batch": 4, "tokens": 4096, "heads": 32},
    slow_at={"01": {"batch": 1, "tokens": 4096, "heads": 8}, "02": {"batch": 1, "tokens": 4096, "heads": 8}},
)


def _decode_make(g: torch.Generator, device: torch.device, s: Sizes) -> Args:
    seqs, context = s["sequences"], s["context"]
    blocks = -(-context // 16)
    tables = torch.randperm(seqs * blocks, generator=g).int().view(seqs, blocks).to(device)
    q = normal(g, (seqs, 32, 128), BF16, device)
    cache = normal(g, (seqs * blocks, 16, 2, 8, 128), BF16, device)
    scratch = torch.empty(seqs * 32 * 64 * 130, dtype=FP32, device=device)
    return q, cache, tables, _nan(tuple(q.shape), BF16, device), scratch, seqs, context, blocks


def _decode_result(args: Args, dtype: torch.dtype) -> tuple[Tensor, ...]:
    q, cache, tables, _, _, _, context, _ = args
    outputs = []
    for row in range(q.shape[0]):
        kv = cache[tables[row].long()].flatten(0, 1)[:context].to(dtype).unsqueeze(0)
        outputs.append(attend(q[row : row + 1].unsqueeze(0).to(dtype), kv[:, :, 0], kv[:, :, 1], True, 0, None)[0])
    return (torch.cat(outputs),)


def _gathered(args: Args) -> tuple[Tensor, ...]:
    """Gather the pages, then run torch's SDPA. The gather is part of the price."""
    q, cache, tables, _, _, _, context, _ = args
    kv = cache[tables.long()].flatten(1, 2)[:, :context]
    k, v = kv[:, :, 0].transpose(1, 2), kv[:, :, 1].transpose(1, 2)
    return (F.scaled_dot_product_attention(q.unsqueeze(2), k, v, enable_gqa=True).squeeze(2),)


PAGED_DECODE = Ladder(
    "paged_decode",
    "one query a sequence over a paged cache: 32 heads on 8 KV heads of 128, blocks of 16 tokens",
    _decode_make,
    outputs=(3,),
    expected=lambda args: _decode_result(args, torch.float64),
    native=_gathered,
    library="SDPA on gathered KV",
    cost=lambda s: Cost(s["sequences"] * (s["context"] * 4096.0 + 2 * 32 * 256)),
    small={"sequences": 3, "context": 333},
    large={"sequences": 64, "context": 8192},
)


def _gemv_make(g: torch.Generator, device: torch.device, s: Sizes) -> Args:
    n, k = s["n"], s["k"]
    values = integers(g, 0, 16, (n, k), torch.uint8, device)
    scales = (uniform(g, (k // 128, n), device) * 0.02 + 0.001).to(BF16)
    rows, fragments = layouts.pack_weight(values, "compressed-tensors"), layouts.pack_weight(values, "fragments")
    return normal(g, (k,), BF16, device), rows, fragments, scales, _nan((n,), BF16, device), n, k


def _gemv_result(args: Args, dtype: torch.dtype) -> tuple[Tensor, ...]:
    x, rows, _, scales, _, _, _ = args
    weight = layouts.dequantize(layouts.W4("compressed-tensors", rows, scales.to(dtype), None))
    return (weight @ x.to(dtype),)


W4A16_GEMV = Ladder(
    "w4a16_gemv",
    "4-bit weights [n, k] in groups of 128, times one bf16 vector",
    _gemv_make,
    outputs=(4,),
    expected=lambda args: _gemv_result(args, torch.float64),
    native=lambda args: _gemv_result(args, BF16),
    library="cuBLAS bf16",
    cost=lambda s: Cost(s["n"] * s["k"] / 2 + s["n"] * s["k"] / 64 + 2.0 * (s["n"] + s["k"])),
    small={"n": 64, "k": 1024},
    large={"n": 4096, "k": 14336},
    timed=lambda args: random_operand(args[5], args[6], BF16, args[0].device) @ args[0],
)

LADDERS = {ladder.name: ladder for ladder in (GEMM, REDUCTION, ROPE, ATTENTION, PAGED_DECODE, W4A16_GEMV)}
