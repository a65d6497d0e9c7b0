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
class Verdict:
    error: float
    """The largest error over all outputs, relative to the largest exact value; 0 where `verify` judges."""
    allowed: float
    wrong: str | None
    """What is wrong, or None."""


def judge(workload: Workload, implementation: Implementation, args: Args) -> Verdict:
    """Run on a copy of `args` and compare."""
    own = clone(args)
    return judge_outputs(workload, args, own, implementation.run(*own))


def judge_outputs(workload: Workload, args: Args, own: Args, result: Any) -> Verdict:
    """`args`: the inputs as they were; `own`: what the implementation was given and may have changed."""
    op = workload.definition()
    if workload.verify is not None:
        return Verdict(0.0, 0.0, workload.verify(args, result))
    exact_args, native_args = to_double(args), clone(args)
    exact = outputs(op, exact_args, op.reference(*exact_args))
    run_native = workload.native or op.reference
    native = outputs(op, native_args, run_native(*native_args))
    verdicts = [
        compare(got, right, base, workload.slack)
        for got, right, base in zip(outputs(op, own, result), exact, native, strict=True)
    ]
    return max(verdicts, key=lambda v: (v.wrong is not None, v.error))


def compare(got: Tensor, exact: Tensor, native: Tensor, slack: float = 0.0) -> Verdict:
    """`exact` float64; `native`: the same in the dtype of `got`, by torch."""
    if got.shape != exact.shape:
        return Verdict(float("inf"), 0.0, f"shape {list(got.shape)}, wanted {list(exact.shape)}")
    if got.dtype != native.dtype:
        return Verdict(float("inf"), 0.0, f"dtype {got.dtype}, wanted {native.dtype}")
    if not got.numel():
        return Verdict(0.0, 0.0, None)
    got, native = got.double(), native.double()
    if bool((got.isnan() & ~exact.isnan()).any()):
        return Verdict(float("inf"), 0.0, f"{int((got.isnan() & ~exact.isnan()).sum())} elements are NaN")
    finite = exact.isfinite()
    if not torch.equal(got[~finite].nan_to_num(nan=0.5), exact[~finite].nan_to_num(nan=0.5)):
        return Verdict(float("inf"), 0.0, "infinities differ")
    largest = float(exact[finite].abs().max()) if bool(finite.any()) else 0.0
    unit = max(largest, 1e-30)
    error = float((got - exact)[finite].abs().max()) / unit if bool(finite.any()) else 0.0
    base = float((native - exact)[finite].nan_to_num().abs().max()) / unit if bool(finite.any()) else 0.0
    allowed = 2 * base + 1e-5 + slack
    wrong = None if error <= allowed else f"error {error:.3g} of the largest value, allowed {allowed:.3g}"
    return Verdict(error, allowed, wrong)
