"""llm-quantize's performance measurement with the real engine and the real bench."""

from __future__ import annotations

from pathlib import Path

from llm_quantize.performance import measure

ROOT = Path(__file__).resolve().parents[1]


def test_a_model_is_measured_behind_the_engine_at_each_batch_size() -> None:
    found = measure(ROOT / "models" / "zoo" / "llama", (1, 4), runs=2, seconds=3.0)
    assert [one.batch for one in found.batches] == [1, 4]
    for one in found.batches:
        assert one.requests >= 2
        assert 0 < one.tpot.low <= one.tpot.median <= one.tpot.high
        assert 0 < one.ttft.low <= one.ttft.median <= one.ttft.high
        assert one.output_tokens_per_second.low > 0
    assert found.resident_bytes is not None
    assert found.weight_bytes is not None
    assert found.resident_bytes > found.weight_bytes > 500_000
