"""From logits to tokens on the device: penalties, top-k and top-p without a sort, verification of draft tokens.

Every draw inverts a cumulative distribution at a uniform number that the caller gives, so results can be repeated and
do not depend on what else is in the batch. Top-p: Holtzman et al., 2020. Rejection: Leviathan et al., 2023.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from llm_kernels import dispatch
from llm_kernels.numerics import wide
from llm_kernels.ops import checks

FLOATS_32 = (torch.float32, torch.float64)


@torch.library.custom_op("llm_kernels::process_logits", mutates_args=("logits",))
def process_logits(
    logits: Tensor,
    prompt_seen: Tensor,
    output_counts: Tensor,
    repetition: Tensor,
    frequency: Tensor,
    presence: Tensor,
    temperature: Tensor,
    bias: Tensor | None = None,
) -> None:
    """Apply bias, penalties and temperature, in vLLM's order, in place and in one pass.

    logits [rows, vocabulary] float32; prompt_seen [rows, vocabulary] bool: the token stands in the prompt;
    output_counts [rows, vocabulary] int32: how often it was generated; repetition (1: none; Keskar et al., 2019, over
    prompt and output), frequency, presence (0: none; OpenAI, over the output) and temperature (0: greedy, not divided)
    [rows] float32; bias [rows, vocabulary] float32, -inf forbids.
    """
    _PROCESS(logits, prompt_seen, output_counts, repetition, frequency, presence, temperature, bias)


@torch.library.custom_op("llm_kernels::sample", mutates_args=())
def sample(logits: Tensor, temperature: Tensor, uniform: Tensor) -> Tensor:
    """Draw one token per row from softmax(logits / temperature), in one pass over the logits.

    logits [rows, vocabulary] float32/16/bf16; temperature [rows] float32 (<= 0: the likeliest token, of equal ones the
    first); uniform [rows] float32 in [0, 1): where the cumulative distribution, in vocabulary order, is inverted.
    Returns [rows] int64.
    """
    return _SAMPLE_ALL(logits, temperature, uniform)  # type: ignore[no-any-return]


@torch.library.custom_op("llm_kernels::sample_top_k_top_p", mutates_args=())
def sample_top_k_top_p(logits: Tensor, top_k: Tensor, top_p: Tensor, uniform: Tensor) -> Tensor:
    """Draw one token per row from softmax(logits), restricted to the top_k likeliest, then to the fewest that reach
    top_p.

    logits [rows, vocabulary] float32/16/bf16; top_k [rows] int32 (<= 0: off); top_p [rows] float32 (>= 1: off); uniform
    [rows] float32 in [0, 1): where the cumulative distribution, in vocabulary order, is inverted. Tokens as likely as
    the last one that is kept are kept too. Returns [rows] int64.
    """
    return _SAMPLE(logits, top_k, top_p, uniform)  # type: ignore[no-any-return]


@torch.library.custom_op("llm_kernels::rejection_sample", mutates_args=())
def rejection_sample(
    target: Tensor, draft: Tensor | None, draft_tokens: Tensor, accept_uniform: Tensor, final_uniform: Tensor
) -> tuple[Tensor, Tensor]:
    """Verify drafts: return (tokens [sequences, drafts + 1] int64, padded with -1; accepted [sequences] int32).

    target [sequences, drafts + 1, vocabulary] float32: what the model says at each place; draft [sequences, drafts,
    vocabulary]: what each draft token was drawn from (None: certain, as n-gram look-ups are); draft_tokens [sequences,
    drafts] int64, -1 after a sequence's last; accept_uniform [sequences, drafts], final_uniform [sequences] in [0, 1).
    A draft is accepted if uniform * q < p; the first rejected place draws from max(0, p - q), and after the last draft
    one more is drawn from p.
    """
    return _REJECT(target, draft, draft_tokens, accept_uniform, final_uniform)  # type: ignore[no-any-return]


@process_logits.register_fake
def _(*_: Any) -> None:
    return None


@sample.register_fake
@sample_top_k_top_p.register_fake
def _(logits: Tensor, *_: Any) -> Tensor:
    return logits.new_empty(logits.shape[0], dtype=torch.int64)


@rejection_sample.register_fake
def _(target: Tensor, draft: Tensor | None, draft_tokens: Tensor, *_: Any) -> tuple[Tensor, Tensor]:
    sequences, drafts = draft_tokens.shape
    tokens = target.new_empty((sequences, drafts + 1), dtype=torch.int64)
    return tokens, target.new_empty(sequences, dtype=torch.int32)


def _process_reference(
    logits: Tensor,
    prompt_seen: Tensor,
    output_counts: Tensor,
    repetition: Tensor,
    frequency: Tensor,
    presence: Tensor,
    temperature: Tensor,
    bias: Tensor | None,
) -> None:
    x = logits if bias is None else logits + bias
    penalty = repetition.unsqueeze(1)
    x = torch.where(prompt_seen | (output_counts > 0), torch.where(x > 0, x / penalty, x * penalty), x)
    x = x - frequency.unsqueeze(1) * output_counts - presence.unsqueeze(1) * (output_counts > 0)
    logits.copy_(x / torch.where(temperature > 0, temperature, 1.0).unsqueeze(1))


def kept_by_top_k_top_p(logits: Tensor, top_k: Tensor, top_p: Tensor) -> Tensor:
    """Return [rows, vocabulary] bool, by sorting: the definition that the kernel without a sort must match."""
    x, size = wide(logits), logits.shape[-1]
    ordered = x.sort(dim=-1, descending=True).values
    k = torch.where(top_k > 0, top_k.clamp(max=size), size).long().unsqueeze(1)
    kept = x >= ordered.gather(1, k - 1)
    weights = torch.where(ordered >= ordered.gather(1, k - 1), ordered, float("-inf")).softmax(-1)
    before = weights.cumsum(-1) - weights
    last = (before < top_p.to(x.dtype).unsqueeze(1)).sum(-1, keepdim=True).clamp(min=1) - 1
    return torch.where((top_p < 1).unsqueeze(1), kept & (x >= ordered.gather(1, last)), kept)


def _sample_reference(logits: Tensor, top_k: Tensor, top_p: Tensor, uniform: Tensor) -> Tensor:
    kept = kept_by_top_k_top_p(logits, top_k, top_p)
    return invert(wide(logits).masked_fill(~kept, float("-inf")).softmax(-1), uniform)


def _sample_all_reference(logits: Tensor, temperature: Tensor, uniform: Tensor) -> Tensor:
    x, t = wide(logits), temperature.unsqueeze(1)
    drawn = invert((x / torch.where(t > 0, t, 1.0)).softmax(-1), uniform)
    return torch.where(temperature > 0, drawn, x.argmax(-1))


def invert(weights: Tensor, uniform: Tensor) -> Tensor:
    """Return the first index at which the running sum of `weights` [rows, n] passes uniform [rows] times their sum."""
    cumulative = weights.cumsum(-1)
    target = uniform.to(cumulative.dtype).unsqueeze(1) * cumulative[:, -1:]
    drawn = torch.searchsorted(cumulative, target, right=True).squeeze(1)
    return torch.minimum(drawn, cumulative.argmax(-1))  # argmax: the first place of the final sum


def _reject_reference(
    target: Tensor, draft: Tensor | None, draft_tokens: Tensor, accept_uniform: Tensor, final_uniform: Tensor
) -> tuple[Tensor, Tensor]:
    sequences, drafts = draft_tokens.shape
    rows = torch.arange(sequences, device=target.device)
    token = draft_tokens.clamp(min=0)
    p = target[:, :drafts].gather(2, token.unsqueeze(2)).squeeze(2)
    q = torch.ones_like(p) if draft is None else draft.gather(2, token.unsqueeze(2)).squeeze(2)
    good = (draft_tokens >= 0) & (accept_uniform * q < p)
    accepted = good.long().cumprod(1).sum(1)
    row = target[rows, accepted]
    if drafts:
        place = accepted.clamp(max=drafts - 1)
        rejected = (accepted < drafts) & (draft_tokens[rows, place] >= 0)
        if draft is None:
            q_row = torch.zeros_like(row).scatter_(1, token[rows, place].unsqueeze(1), float("inf"))
        else:
            q_row = draft[rows, place]
        row = torch.where(rejected.unsqueeze(1), (row - q_row).clamp(min=0), row)
    tokens = torch.full((sequences, drafts + 1), -1, dtype=torch.int64, device=target.device)
    kept = torch.arange(drafts, device=target.device) < accepted.unsqueeze(1)
    tokens[:, :drafts] = torch.where(kept, draft_tokens, -1)
    tokens[rows, accepted] = invert(row, final_uniform)
    return tokens, accepted.int()


def _check_process(
    logits: Tensor,
    prompt_seen: Tensor,
    output_counts: Tensor,
    repetition: Tensor,
    frequency: Tensor,
    presence: Tensor,
    temperature: Tensor,
    bias: Tensor | None,
) -> None:
    op = "process_logits"
    checks.dtype_in(op, "logits", logits, FLOATS_32)
    checks.require(logits.dim() == 2, op, f"logits has shape {list(logits.shape)}; it takes [rows, vocabulary]")
    shape, words = tuple(logits.shape), f"{list(logits.shape)} (the logits')"
    for name, tensor, dtypes in (
        ("prompt_seen", prompt_seen, (torch.bool,)),
        ("output_counts", output_counts, (torch.int32,)),
        ("bias", bias, (logits.dtype,)),
    ):
        if tensor is not None:
            checks.dtype_in(op, name, tensor, dtypes)
            checks.shape_is(op, name, tensor, shape, words)
            checks.contiguous(op, name, tensor)
    checks.contiguous(op, "logits", logits)
    for name, vector in (
        ("repetition", repetition),
        ("frequency", frequency),
        ("presence", presence),
        ("temperature", temperature),
    ):
        checks.dtype_in(op, name, vector, FLOATS_32)
        checks.shape_is(op, name, vector, (logits.shape[0],), f"[{logits.shape[0]}]")
    checks.same_device(op, logits, prompt_seen, output_counts, repetition, frequency, presence, temperature, bias)


def _check_sample_all(logits: Tensor, temperature: Tensor, uniform: Tensor) -> None:
    _check_rows("sample", logits, temperature=temperature, uniform=uniform)


def _check_sample(logits: Tensor, top_k: Tensor, top_p: Tensor, uniform: Tensor) -> None:
    checks.dtype_in("sample_top_k_top_p", "top_k", top_k, (torch.int32, torch.int64))
    checks.shape_is("sample_top_k_top_p", "top_k", top_k, (logits.shape[0],), f"[{logits.shape[0]}]")
    _check_rows("sample_top_k_top_p", logits, top_p=top_p, uniform=uniform)
    checks.same_device("sample_top_k_top_p", logits, top_k)


def _check_rows(op: str, logits: Tensor, **vectors: Tensor) -> None:
    """Check the logits, and vectors of floats with one per row."""
    checks.dtype_in(op, "logits", logits, checks.FLOATS)
    fits = logits.dim() == 2 and logits.shape[1] > 0
    checks.require(fits, op, f"logits has shape {list(logits.shape)}; it takes [rows, vocabulary]")
    checks.last_dim_dense(op, "logits", logits)
    for name, vector in vectors.items():
        checks.dtype_in(op, name, vector, FLOATS_32)
        checks.shape_is(op, name, vector, (logits.shape[0],), f"[{logits.shape[0]}]")
    checks.same_device(op, logits, *vectors.values())


def _check_reject(
    target: Tensor, draft: Tensor | None, draft_tokens: Tensor, accept_uniform: Tensor, final_uniform: Tensor
) -> None:
    op = "rejection_sample"
    checks.dtype_in(op, "target", target, FLOATS_32)
    fits = target.dim() == 3 and target.shape[1] > 0
    checks.require(fits, op, f"target has shape {list(target.shape)}; it takes [sequences, drafts + 1, vocabulary]")
    sequences, places, vocabulary = target.shape
    checks.contiguous(op, "target", target)
    checks.dtype_in(op, "draft_tokens", draft_tokens, (torch.int64,))
    checks.shape_is(op, "draft_tokens", draft_tokens, (sequences, places - 1), f"[{sequences}, {places - 1}]")
    checks.contiguous(op, "draft_tokens", draft_tokens)
    if draft is not None:
        checks.dtype_in(op, "draft", draft, (target.dtype,))
        shape = (sequences, places - 1, vocabulary)
        checks.shape_is(op, "draft", draft, shape, str(list(shape)))
        checks.contiguous(op, "draft", draft)
    checks.shape_is(op, "accept_uniform", accept_uniform, (sequences, places - 1), f"[{sequences}, {places - 1}]")
    checks.contiguous(op, "accept_uniform", accept_uniform)
    checks.shape_is(op, "final_uniform", final_uniform, (sequences,), f"[{sequences}]")
    checks.same_device(op, target, draft, draft_tokens, accept_uniform, final_uniform)


def _process_triton(*args: Any) -> None:
    from llm_kernels.triton_kernels import logits as kernels

    kernels.process_logits(*args)


def _sample_all_triton(logits: Tensor, temperature: Tensor, uniform: Tensor) -> Tensor:
    from llm_kernels.triton_kernels import sampling as kernels

    return kernels.sample(logits, temperature, uniform)


def _sample_triton(logits: Tensor, top_k: Tensor, top_p: Tensor, uniform: Tensor) -> Tensor:
    from llm_kernels.triton_kernels import sampling as kernels

    return kernels.sample_top_k_top_p(logits, top_k, top_p, uniform)


def _reject_triton(*args: Any) -> tuple[Tensor, Tensor]:
    from llm_kernels.triton_kernels import rejection as kernels

    return kernels.rejection_sample(*args)


_PROCESS = dispatch.define(
    "process_logits",
    check=_check_process,
    reference=_process_reference,
    triton=_process_triton,
    mutates=(0,),
)
_SAMPLE_ALL = dispatch.define(
    "sample", check=_check_sample_all, reference=_sample_all_reference, triton=_sample_all_triton
)
_SAMPLE = dispatch.define("sample_top_k_top_p", check=_check_sample, reference=_sample_reference, triton=_sample_triton)
_REJECT = dispatch.define("rejection_sample", check=_check_reject, reference=_reject_reference, triton=_reject_triton)
