"""The ceilings of this GPU: the bandwidth of a large copy and the rates of large products, measured at the start of a
run.

Copy: bytes read plus bytes written over the time. Products: 8192^3 on random data, through cuBLAS. A kernel's limit is
the larger of its bytes over the copy's bandwidth and its operations over the unit's rate.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch

from llm_kernels.bench.timing import measure
from llm_kernels.workloads import Cost


@dataclass(frozen=True)
class Ceilings:
    copy_bytes_per_second: float
    flops_per_second: dict[str, float]
    """Rates for bf16, int8 and fp8; one that could not be measured is missing."""

    def limit_seconds(self, cost: Cost) -> float:
        """Return the least time that the cost can take."""
        by_bytes = cost.bytes / self.copy_bytes_per_second
        rate = self.flops_per_second.get(cost.unit)
        return max(by_bytes, cost.flops / rate if rate else 0.0)

    def bound(self, cost: Cost) -> str:
        rate = self.flops_per_second.get(cost.unit)
        return "compute" if rate and cost.flops / rate > cost.bytes / self.copy_bytes_per_second else "bandwidth"

    def as_json(self) -> dict[str, object]:
        return asdict(self)


def measure_ceilings(size: int = 8192) -> Ceilings:
    bandwidth = _copy_bandwidth(words=2**29)
    a, b = (torch.randn(size, size, device="cuda").bfloat16() for _ in range(2))
    rates = {"bf16": _rate(size, lambda: a @ b.T)}
    with contextlib.suppress(RuntimeError, NotImplementedError, ValueError):
        x, y = (torch.randint(-127, 128, (size, size), dtype=torch.int8, device="cuda") for _ in range(2))
        rates["int8"] = _rate(size, lambda: torch._int_mm(x, y.T))
    with contextlib.suppress(RuntimeError, NotImplementedError, ValueError):
        e, f = (t.to(torch.float8_e4m3fn) for t in (a, b))
        one = torch.ones((), device="cuda")
        rates["fp8"] = _rate(
            size, lambda: torch._scaled_mm(e, f.T, one, one, out_dtype=torch.bfloat16, use_fast_accum=True)
        )
    return Ceilings(bandwidth, rates)


def _copy_bandwidth(words: int) -> float:
    source = torch.randint(2**31 - 1, (words,), dtype=torch.int32, device="cuda")
    target = torch.empty_like(source)
    return 2 * words * 4 / measure(lambda: None, lambda _: target.copy_(source)).seconds


def _rate(size: int, product: Callable[[], object]) -> float:
    return 2 * size**3 / measure(lambda: None, lambda _: product()).seconds
