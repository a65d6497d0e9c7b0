"""Kernel times that were recorded on a GPU: kernels/results/h200/bench.json and files like it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llm_measure.processes import ROOT
from llm_quantize.errors import EvaluationError

H200 = ROOT / "kernels" / "results" / "h200" / "bench.json"
QUANTISED = ("w4a16_gemm", "scaled_gemm")


@dataclass(frozen=True, slots=True)
class KernelRow:
    """The fastest of our implementations for one shape."""

    op: str
    shape: str
    dtype: str
    implementation: str
    seconds: float
    times_as_fast: float
    """As the library that it is compared with."""
    library: str


@dataclass(frozen=True, slots=True)
class KernelTable:
    """The quantised kernels of one GPU."""

    gpu: str
    source: str
    rows: list[KernelRow]


def read_kernel_table(file: Path = H200) -> KernelTable:
    """Return the fastest row of each operation and shape that reads quantised weights; EvaluationError without any."""
    try:
        content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        rows = [_row(row) for row in content["rows"] if row["op"] in QUANTISED and row["library"]]
        gpu = str(content["environment"]["gpu"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EvaluationError(f"{file} holds no recorded kernels: {error}") from error
    fastest: dict[tuple[str, str, str], KernelRow] = {}
    for row in rows:
        key = (row.op, row.shape, row.dtype)
        if key not in fastest or row.seconds < fastest[key].seconds:
            fastest[key] = row
    return KernelTable(gpu, f"{file.parent.name}/{file.name}", list(fastest.values()))


def _row(row: dict[str, Any]) -> KernelRow:
    return KernelRow(
        op=row["op"],
        shape=row["shape"],
        dtype=row["dtype"],
        implementation=row["implementation"],
        seconds=row["seconds"],
        times_as_fast=row["ratio_to_library"],
        library=row["library"],
    )
