"""Logits processing, sampling, verification of drafts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from llm_kernels.dispatch import Args
from llm_kernels.ops.sampling import kept_by_top_k_top_p
from llm_kernels.workloads.base import Compiled, Cost, Workload, integers, normal, uniform

BF16, FP16, FP32 = torch.bfloat16, torch.float16, torch.float32


def small() -> list[Workload]:
    found = [_process(rows, n, bias) for rows, n in ((1, 1), (3, 7), (2, 300)) for bias in (False, True)]
    found += [_sample(rows, n, dtype) for rows, n in ((1, 1), (4, 7), (6, 100), (8, 5000)) for dtype in (FP32, FP16)]
    found += [_sample_all(rows, n, dtype) for rows, n in ((1, 1), (5, 100), (4, 9000)) for dtype in (FP32, FP16, BF16)]
    return found + [
        _reject(*shape) for shape in ((1, 0, 5, True), (4, 1, 7, True), (6, 3, 100, False), (5, 4, 5000, True))
    ]


def large() -> list[Workload]:
    return [
        _sample(128, 128_256, FP32),
        _sample(8, 128_256, FP32),
        _sample_all(256, 128_256, BF16),
        _sample_all(1, 128_256, BF16),
        _process(128, 128_256, False),
        _reject(32, 4, 128_256, True),
    ]


def _process(rows: int, n: int, with_bias: bool) -> Workload:
    def make(g: torch.Generator, device: torch.device) -> Args:
        seen = integers(g, 0, 2, (rows, n), torch.int32, device).bool()
        counts = integers(g, 0, 4, (rows, n), torch.int32, device)
        repetition, frequency, presence, temperature = (uniform(g, (rows,), device) for _ in range(4))
        temperature[0] = 0  # greedy
        bias = normal(g, (rows, n), FP32, device) if with_bias else None
        logits = normal(g, (rows, n), FP32, device, 3.0)
        return logits, seen, counts, repetition + 0.5, frequency, presence, temperature, bias

    def torch_process(logits: Tensor, seen: Tensor, counts: Tensor, repetition: Tensor, frequency: Tensor,
                      presence: Tensor, temperature: Tensor, bias: Tensor | None) -> None:  # fmt: skip
        x = logits if bias is None else logits + bias
        penalty = repetition[:, None]
        x = torch.where(seen | (counts > 0), torch.where(x > 0, x / penalty, x * penalty), x)
        x = x - frequency[:, None] * counts - presence[:, None] * (counts > 0)
        logits.copy_(x / torch.where(temperature > 0, temperature, 1.0)[:, None])

    cost = Cost(rows * n * (8 + 4 + 1 + 4 * with_bias))
    libraries: dict[str, Callable[..., Any]] = {"torch": torch_process, "torch.compile": Compiled(torch_process)}
    label = f"{rows}x{n}{' bias' if with_bias else ''}"
    return Workload("process_logits", label, FP32, make, cost, libraries=libraries)


def _sample(rows: int, n: int, dtype: torch.dtype) -> Workload:
    def make(g: torch.Generator, device: torch.device) -> Args:
        logits = normal(g, (rows, n), dtype, device, 3.0)
        if n > 4:
            logits[-1, : n // 2] = float("-inf")
            logits[0, 1] = logits[0].max()  # a tie at the top
        top_k = torch.tensor([(0, 1, 5, n // 2, 2 * n)[row % 5] for row in range(rows)], dtype=torch.int32)
        top_p = torch.tensor([(0.9, 1.0, 0.5, 0.0, 0.99)[row % 5] for row in range(rows)], dtype=FP32)
        if rows >= 128:  # the bench: every row asks for top-p alone
            top_k, top_p = torch.zeros_like(top_k), torch.full_like(top_p, 0.9)
        return logits, top_k.to(device), top_p.to(device), uniform(g, (rows,), device)

    def sorting(logits: Tensor, top_k: Tensor, top_p: Tensor, u: Tensor) -> Tensor:
        """Sort, cut and draw, as samplers without a kernel do."""
        ordered, order = logits.sort(dim=-1, descending=True)
        p = ordered.softmax(-1)
        before = p.cumsum(-1) - p
        p = p.masked_fill(before >= top_p[:, None], 0).cumsum(-1)
        drawn = torch.searchsorted(p, u[:, None] * p[:, -1:], right=True).clamp(max=logits.shape[1] - 1)
        return order.gather(1, drawn).squeeze(1)

    cost = Cost(rows * n * dtype.itemsize)
    label = f"{rows}x{n} {'top-p' if rows >= 128 else 'top-k and top-p'}"
    libraries = {"torch sort": sorting}
    return Workload("sample_top_k_top_p", label, dtype, make, cost, libraries=libraries, verify=_fair)


def _sample_all(rows: int, n: int, dtype: torch.dtype) -> Workload:
    def make(g: torch.Generator, device: torch.device) -> Args:
        logits = normal(g, (rows, n), dtype, device, 3.0)
        if n > 4:
            logits[-1, : n // 2] = float("-inf")
        temperature = torch.tensor([(0.6, 0.0, 1.0)[row % 3] for row in range(rows)], dtype=FP32)
        return logits, temperature.to(device), uniform(g, (rows,), device)

    def passes(logits: Tensor, temperature: Tensor, u: Tensor) -> Tensor:
        """Sample as without a kernel: scale, softmax, cumulative sum, search; and the likeliest token."""
        p = (logits.float() / torch.where(temperature > 0, temperature, 1.0)[:, None]).softmax(-1).cumsum(-1)
        drawn = torch.searchsorted(p, u[:, None] * p[:, -1:], right=True).squeeze(1).clamp(max=n - 1)
        return torch.where(temperature > 0, drawn, logits.argmax(-1))

    cost = Cost(rows * n * dtype.itemsize)
    return Workload("sample", f"{rows}x{n}", dtype, make, cost, libraries={"torch": passes}, verify=_drawn)


def _drawn(args: Args, token: Any) -> str | None:
    """Check drawn tokens: at temperature 0 the first of the greatest, else the uniform number falls into its share."""
    logits, temperature, u = args
    x = logits.double()
    if bool(((token < 0) | (token >= x.shape[1])).any()):
        return "a token lies outside the vocabulary"
    greedy = temperature <= 0
    if not torch.equal(token[greedy], x[greedy].argmax(-1)):
        return "at temperature 0 not the likeliest token"
    share = (x[~greedy] / temperature[~greedy].double().unsqueeze(1)).softmax(-1)
    return _share_holds(share, token[~greedy], u[~greedy].double())


def _fair(args: Args, token: Any) -> str | None:
    """Check that each drawn token was allowed and that the uniform number falls into its share, up to rounding."""
    logits, top_k, top_p, u = args
    x = logits.double()
    rows = torch.arange(len(x), device=x.device)
    if bool(((token < 0) | (token >= x.shape[1])).any()):
        return "a token lies outside the vocabulary"
    # The mass at the cut may round to either side of top_p: a token that is kept at a hair more is excused.
    near = kept_by_top_k_top_p(x, top_k, (top_p.double() + 1e-5).clamp(max=1.0 + 1e-4))
    if not bool(near[rows, token].all()):
        return "a token was drawn that top-k or top-p excludes"
    kept = kept_by_top_k_top_p(x, top_k, top_p.double())
    share = x.masked_fill(~(kept | (near & (x == x[rows, token].unsqueeze(1)))), float("-inf")).softmax(-1)
    return _share_holds(share, token, u.double())


def _share_holds(share: Tensor, token: Tensor, u: Tensor) -> str | None:
    rows = torch.arange(len(share), device=share.device)
    upper = share.cumsum(-1)[rows, token]
    lower = upper - share[rows, token]
    fair = (u >= lower - 2e-5) & (u <= upper + 2e-5) & (share[rows, token] > 0)
    return None if bool(fair.all()) else "a uniform number does not fall into the drawn token's share"


def _reject(sequences: int, drafts: int, n: int, with_draft: bool) -> Workload:
    def make(g: torch.Generator, device: torch.device) -> Args:
        target = normal(g, (sequences, drafts + 1, n), FP32, device, 1.5).softmax(-1)
        # Near the target, so that some drafts are accepted.
        noise = normal(g, (sequences, drafts, n), FP32, device, 0.5)
        draft = (target[:, :drafts].log() + noise).softmax(-1)
        tokens = torch.zeros(sequences, drafts, dtype=torch.int64)
        if drafts and device.type != "meta":
            tokens = torch.multinomial(draft.reshape(-1, n).cpu(), 1, generator=g).view(sequences, drafts)
        if drafts > 1:
            tokens[0, 1:] = -1
        accept = uniform(g, (sequences, drafts), device)
        return target, draft if with_draft else None, tokens.to(device), accept, uniform(g, (sequences,), device)

    label = f"{sequences} sequences of {drafts} drafts, vocabulary {n}{'' if with_draft else ', certain'}"
    cost = Cost(sequences * n * 8)
    return Workload("rejection_sample", label, FP32, make, cost, verify=_verified)


def _verified(args: Args, result: Any) -> str | None:
    """Check that the rule accepts the accepted tokens, that the last has its share, and that the rest is -1."""
    target, draft, draft_tokens, accept_uniform, final_uniform = args
    tokens, accepted = result
    for row in range(len(tokens)):
        count = 0
        while count < draft_tokens.shape[1] and int(draft_tokens[row, count]) >= 0:
            token = int(draft_tokens[row, count])
            q = 1.0 if draft is None else float(draft[row, count, token])
            if float(accept_uniform[row, count]) * q >= float(target[row, count, token]):
                break
            count += 1
        if int(accepted[row]) != count:
            return f"sequence {row} accepted {int(accepted[row])} drafts, the rule accepts {count}"
        if not torch.equal(tokens[row, :count], draft_tokens[row, :count]) or bool(
            (tokens[row, count + 1 :] != -1).any()
        ):
            return f"sequence {row}: tokens before or after the last are wrong"
        weights = target[row, count].double()
        if count < draft_tokens.shape[1] and int(draft_tokens[row, count]) >= 0:
            weights = weights.clone()
            if draft is None:
                weights[draft_tokens[row, count]] = 0
            else:
                weights = (weights - draft[row, count].double()).clamp(min=0)
        share = (weights / weights.sum()).unsqueeze(0)
        wrong = _share_holds(share, tokens[row, count].unsqueeze(0), final_uniform[row].double().unsqueeze(0))
        if wrong:
            return f"sequence {row}: {wrong}"
    return None
