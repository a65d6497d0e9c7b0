"""`./lab quantize`: from a model to the report, with the real engine under the load of the real bench."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from support import ENVIRONMENT, MODEL

from llm_quantize.performance import Performance

QUICK = (
    *("--methods", "w8a8", "--items", "8", "--benchmark", "perplexity"),
    *("--batches", "1,4", "--runs", "2", "--seconds", "2"),
)  # fmt: skip


def test_from_a_model_to_the_report(tmp_path: Path) -> None:
    command = (sys.executable, "-m", "llm_lab", "quantize", "--model", str(MODEL), "--", *QUICK, "--out", str(tmp_path))
    subprocess.run(command, check=True, env=ENVIRONMENT)
    assert "Tokens/s" in (tmp_path / "page.html").read_text()
    for method in ("full", "w8a8"):
        found = Performance.from_json((tmp_path / "llama" / method / "performance.json").read_text())
        assert [one.batch for one in found.batches] == [1, 4]
        for one in found.batches:
            assert one.requests >= 2
            assert 0 < one.tpot.low <= one.tpot.median <= one.tpot.high
            assert 0 < one.ttft.low <= one.ttft.median <= one.ttft.high
            assert one.output_tokens_per_second.low > 0
        assert found.resident_bytes is not None
        assert found.weight_bytes is not None
        assert found.resident_bytes > found.weight_bytes > 300_000
