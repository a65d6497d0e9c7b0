"""Bias, penalties and temperature: element-wise over [rows, vocabulary], each array read once."""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor


@triton.jit
def process_logits_kernel(
    logits, prompt_seen, output_counts, repetition, frequency, presence, temperature, bias, vocabulary,
    HAS_BIAS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    i = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inside = i < vocabulary
    at = row * vocabulary + i
    x = tl.load(logits + at, mask=inside, other=0.0)
    counts = tl.load(output_counts + at, mask=inside, other=0)
    in_prompt = tl.load(prompt_seen + at, mask=inside, other=0) != 0
    if HAS_BIAS:
        x += tl.load(bias + at, mask=inside, other=0.0)
    penalty = tl.load(repetition + row)
    x = tl.where(in_prompt | (counts > 0), tl.where(x > 0, x / penalty, x * penalty), x)
    x -= tl.load(frequency + row) * counts.to(tl.float32) + tl.load(presence + row) * (counts > 0).to(tl.float32)
    heat = tl.load(temperature + row)
    tl.store(logits + at, x / tl.where(heat > 0, heat, 1.0), mask=inside)


def process_logits(
    logits: Tensor,
    prompt_seen: Tensor,
    output_counts: Tensor,
    repetition: Tensor,
    frequency: Tensor,
    presence: Tensor,
    temperature: Tensor,
    bias: Tensor | None,
) -> None:
    rows, vocabulary = logits.shape
    if logits.numel():
        block = min(2048, triton.next_power_of_2(vocabulary))
        process_logits_kernel[(rows, triton.cdiv(vocabulary, block))](
            logits, prompt_seen, output_counts, repetition, frequency, presence, temperature,
            logits if bias is None else bias, vocabulary, HAS_BIAS=bias is not None, BLOCK=block, num_warps=4,
        )  # fmt: skip
