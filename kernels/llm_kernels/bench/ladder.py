"""A ladder's rungs, checked, and timed together with the library."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from llm_kernels.bench.ceilings import Ceilings
from llm_kernels.bench.timing import measure
from llm_kernels.dispatch import Args
from llm_kernels.ladders.base import Ladder, Rung, Sizes, check, poison, rungs_of

LARGEST_DIFFERENCE = 0.02
"""Largest difference between two half-precision results, relative to the largest value."""


def run_ladder(
    ladder: Ladder, ceilings: Ceilings, report: Callable[[dict[str, Any]], None], budget_seconds: float = 0.1
) -> list[dict[str, Any]]:
    rows = []
    for rung in rungs_of(ladder.name):
        sizes = next((s for prefix, s in ladder.slow_at.items() if rung.name.startswith(prefix)), ladder.large)
        row = run_rung(ladder, rung, sizes, ceilings, budget_seconds)
        report(row)
        rows.append(row)
        torch.cuda.empty_cache()
    return rows


def run_rung(ladder: Ladder, rung: Rung, sizes: Sizes, ceilings: Ceilings, budget_seconds: float) -> dict[str, Any]:
    row: dict[str, Any] = {
        "op": f"ladder {ladder.name}", "implementation": rung.name, "shape": _describe(sizes), "dtype": "bf16",
        "seconds": None, "spread": None, "fraction_of_limit": None, "ratio_to_library": None, "library": ladder.library,
        "error": None, "wrong": None, "flops_per_second": None, "bytes_per_second": None,
    }  # fmt: skip
    try:
        small = ladder.make(torch.Generator().manual_seed(1), torch.device("cuda"), ladder.small)
        row["error"], row["wrong"] = check(ladder, rung, small)
        if row["wrong"] is None:
            row |= _time(ladder, rung, sizes, ceilings, budget_seconds)
    except Exception as error:  # noqa: BLE001 - a rung that fails is a row of the result
        row["wrong"] = f"{type(error).__name__}: {error}"[:400]
    return row


def _time(ladder: Ladder, rung: Rung, sizes: Sizes, ceilings: Ceilings, budget_seconds: float) -> dict[str, Any]:
    args = ladder.make(torch.Generator().manual_seed(2), torch.device("cuda"), sizes)
    expected = ladder.native(args)
    poison(args, ladder.outputs[:1])
    rung.run(args)
    torch.cuda.synchronize()
    difference = max(_difference(args[place], right) for place, right in zip(ladder.outputs, expected, strict=True))
    if not difference < LARGEST_DIFFERENCE:
        return {
            "wrong": f"differs from {ladder.library} by {difference:.3g} of the largest value at {_describe(sizes)}"
        }
    del expected
    timing = measure(lambda: args, rung.run, budget_seconds=budget_seconds, least=3)
    library = measure(lambda: args, ladder.timed or ladder.native, budget_seconds=budget_seconds, least=3)
    cost = ladder.cost(sizes)
    return {
        "seconds": timing.seconds, "spread": timing.spread, "library_seconds": library.seconds,
        "ratio_to_library": library.seconds / timing.seconds,
        "fraction_of_limit": ceilings.limit_seconds(cost) / timing.seconds,
        "flops_per_second": cost.flops / timing.seconds, "bytes_per_second": cost.bytes / timing.seconds,
    }  # fmt: skip


def small_inputs(ladder: Ladder, device: str, seed: int = 1) -> Args:
    return ladder.make(torch.Generator().manual_seed(seed), torch.device(device), ladder.small)


def _difference(got: Tensor, expected: Tensor) -> float:
    largest = float(expected.float().abs().max())
    return float((got.float() - expected.float()).abs().max()) / max(largest, 1e-30)


def _describe(sizes: Sizes) -> str:
    return " ".join(f"{name}={value}" for name, value in sizes.items())
