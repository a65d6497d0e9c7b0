from __future__ import annotations

import json
from pathlib import Path

import pytest

from llm_quantize.errors import EvaluationError
from llm_quantize.performance import read_kernel_table


def test_the_recorded_kernels_of_the_h200_are_read() -> None:
    table = read_kernel_table()
    assert "H200" in table.gpu
    assert {row.op for row in table.rows} == {"w4a16_gemm", "scaled_gemm"}
    assert len({(row.op, row.shape, row.dtype) for row in table.rows}) == len(table.rows)
    assert all(row.seconds > 0 and row.library for row in table.rows)


def test_the_fastest_of_ours_stands_for_a_shape(tmp_path: Path) -> None:
    row = {"op": "w4a16_gemm", "shape": "1x2", "dtype": "bf16", "library": "cuBLAS", "ratio_to_library": 2.0}
    rows = [{**row, "implementation": name, "seconds": seconds} for name, seconds in (("triton", 3.0), ("cuda", 1.0))]
    rows.append({**row, "implementation": "cuBLAS", "seconds": 0.5, "library": None})
    (tmp_path / "bench.json").write_text(json.dumps({"environment": {"gpu": "G"}, "rows": rows}))
    (found,) = read_kernel_table(tmp_path / "bench.json").rows
    assert found.implementation == "cuda"


@pytest.mark.parametrize("content", ["", "{}", '{"rows": [{}], "environment": {"gpu": "G"}}'])
def test_another_file_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "bench.json").write_text(content)
    with pytest.raises(EvaluationError, match="holds no recorded kernels"):
        read_kernel_table(tmp_path / "bench.json")
