"""Whether a result is right: FlashAttention's rule for half types, 1e-5 for float32.

    max |out - exact|  <=  2 * max |torch at the same dtype - exact|  +  1e-5 * max |exact|

where `exact` is the reference in float64. Source: the tests of FlashAttention (Dao, 2023). NaN never passes where the
exact result is a number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from llm_kernels.dispatch import Args, Implementation
from llm_kernels.workloads.base import Workload, clone, outputs, to_double


@dataclass(frozen=True)
class Accuracy:
    error: float
    """The largest error over all outputs, relative to the largest exact value; 0 if the workload's `verify` judges."""
    allowed: float
    wrong: str | None
    """The error that was found, or None."""


def judge(workload: Workload, implementation: Implementation, args: Args) -> Accuracy:
    """Run the implementation on a copy of `args` and compare its outputs with the exact ones."""
    own = clone(args)
    return judge_outputs(workload, args, own, implementation.run(*own))


def judge_by_head(workload: Workload, implementation: Implementation, args: Args) -> Accuracy:
    """Judge attention that is too long for the scores of all heads at once: compute the exact result head by head."""
    op, result = workload.definition(), implementation.run(*args)
    run_native = workload.native or op.reference
    heads, verdicts = args[0].shape[-2], []
    for head in range(heads):
        own = _of_one_head(args, head)
        exact, native = op.reference(*to_double(own)), run_native(*own)
        verdicts.append(compare(result[..., head : head + 1, :], exact, native, workload.slack))
    return max(verdicts, key=lambda v: (v.wrong is not None, v.error))


def _of_one_head(args: Args, head: int) -> Args:
    """Return the arguments for one query head: that head, and the KV head that it reads."""
    query, *rest = args
    heads = query.shape[-2]

    def cut(value: Any) -> Any:
        if not isinstance(value, Tensor) or not value.is_floating_point():
            return value
        at = head * value.shape[-2] // heads
        return value[..., at : at + 1, :]

    return (query[..., head : head + 1, :], *map(cut, rest))


def judge_outputs(workload: Workload, args: Args, own: Args, result: Any) -> Accuracy:
    """Compare a result with the exact one.

    `args`: the inputs before the call; `own`: the implementation's own copy, which it can have changed.
    """
    op = workload.definition()
    if workload.verify is not None:
        return Accuracy(0.0, 0.0, workload.verify(args, result))
    exact_args, native_args = to_double(args), clone(args)
    exact = outputs(op, exact_args, op.reference(*exact_args))
    run_native = workload.native or op.reference
    native = outputs(op, native_args, run_native(*native_args))
    verdicts = [
        compare(got, right, base, workload.slack)
        for got, right, base in zip(outputs(op, own, result), exact, native, strict=True)
    ]
    return max(verdicts, key=lambda v: (v.wrong is not None, v.error))


def compare(got: Tensor, exact: Tensor, native: Tensor, slack: float = 0.0) -> Accuracy:
    """Compare `got` with `exact` (float64); `native` is torch's result in the dtype of `got`."""
    if got.shape != exact.shape:
        return Accuracy(float("inf"), 0.0, f"shape {list(got.shape)}, wanted {list(exact.shape)}")
    if got.dtype != native.dtype:
        return Accuracy(float("inf"), 0.0, f"dtype {got.dtype}, wanted {native.dtype}")
    if not got.numel():
        return Accuracy(0.0, 0.0, None)
    got, native = got.double(), native.double()
    if bool((got.isnan() & ~exact.isnan()).any()):
        return Accuracy(float("inf"), 0.0, f"{int((got.isnan() & ~exact.isnan()).sum())} elements are NaN")
    finite = exact.isfinite()
    if not torch.equal(got[~finite].nan_to_num(nan=0.5), exact[~finite].nan_to_num(nan=0.5)):
        return Accuracy(float("inf"), 0.0, "infinities differ")
    largest = float(exact[finite].abs().max()) if bool(finite.any()) else 0.0
    unit = max(largest, 1e-30)
    error = float((got - exact)[finite].abs().max()) / unit if bool(finite.any()) else 0.0
    base = float((native - exact)[finite].nan_to_num().abs().max()) / unit if bool(finite.any()) else 0.0
    allowed = 2 * base + 1e-5 + slack
    wrong = None if error <= allowed else f"error {error:.3g} of the largest value, allowed {allowed:.3g}"
    return Accuracy(error, allowed, wrong)
