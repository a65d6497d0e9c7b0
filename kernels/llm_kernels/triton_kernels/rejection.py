"""Verification of draft tokens: one program a sequence; the drafts are judged first, then one row is drawn from."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from llm_kernels.triton_kernels.draw import place_in_chunk


@triton.jit
def _weights(target, draft, start, i, vocabulary, token, rejected, HAS_DRAFT: tl.constexpr):
    """Return max(0, p - q) at the rejected place, else p."""
    at = start + i
    p = tl.load(target + at, mask=at < vocabulary, other=0.0).to(tl.float32)
    if HAS_DRAFT:
        q = tl.load(draft + at, mask=(at < vocabulary) & rejected, other=0.0).to(tl.float32)
        return tl.maximum(p - q, 0.0)
    return tl.where(rejected & (at == token), 0.0, p)


@triton.jit
def rejection_sample_kernel(
    target, draft, draft_tokens, accept_uniform, final_uniform, tokens, accepted_out, drafts, vocabulary,
    HAS_DRAFT: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    sequence = tl.program_id(0).to(tl.int64)
    target += sequence * (drafts + 1) * vocabulary
    draft += sequence * drafts * vocabulary
    draft_tokens += sequence * drafts
    tokens += sequence * (drafts + 1)
    accepted, going, rejected = 0, 1, False
    token = tl.full([], -1, tl.int64)
    while going == 1:
        going = 0
        if accepted < drafts:
            token = tl.load(draft_tokens + accepted)
            if token >= 0:
                p = tl.load(target + accepted * vocabulary + token).to(tl.float32)
                q = 1.0
                if HAS_DRAFT:
                    q = tl.load(draft + accepted * vocabulary + token).to(tl.float32)
                uniform = tl.load(accept_uniform + sequence * drafts + accepted).to(tl.float32)
                if uniform * q < p:
                    tl.store(tokens + accepted, token)
                    accepted += 1
                    going = 1
                else:
                    rejected = True

    target += accepted * vocabulary
    draft += accepted * vocabulary
    i = tl.arange(0, BLOCK)
    total = 0.0
    for start in range(0, vocabulary, BLOCK):
        total += tl.sum(_weights(target, draft, start, i, vocabulary, token, rejected, HAS_DRAFT), axis=0)
    goal = tl.load(final_uniform + sequence).to(tl.float32) * total
    before, chosen, start = 0.0, -1, 0
    while start < vocabulary:
        weights = _weights(target, draft, start, i, vocabulary, token, rejected, HAS_DRAFT)
        here = tl.sum(weights, axis=0)
        if here > 0:
            chosen = tl.where(before <= goal, place_in_chunk(weights, start + i, before, goal), chosen)
        before += here
        start += BLOCK
        if before > goal:
            start = vocabulary
    tl.store(tokens + accepted, tl.cast(chosen, tl.int64))
    tl.store(accepted_out + sequence, accepted)
    place = accepted + 1
    while place <= drafts:
        tl.store(tokens + place, tl.full([], -1, tl.int64))
        place += 1


def rejection_sample(
    target: Tensor, draft: Tensor | None, draft_tokens: Tensor, accept_uniform: Tensor, final_uniform: Tensor
) -> tuple[Tensor, Tensor]:
    sequences, places, vocabulary = target.shape
    tokens = torch.empty((sequences, places), dtype=torch.int64, device=target.device)
    accepted = torch.empty(sequences, dtype=torch.int32, device=target.device)
    if sequences:
        rejection_sample_kernel[(sequences,)](
            target, target if draft is None else draft, draft_tokens, accept_uniform, final_uniform, tokens, accepted,
            places - 1, vocabulary, HAS_DRAFT=draft is not None, BLOCK=min(4096, triton.next_power_of_2(vocabulary)),
            num_warps=8,
        )  # fmt: skip
    return tokens, accepted
