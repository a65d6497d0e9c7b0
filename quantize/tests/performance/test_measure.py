"""The engine and the bench are stand-ins here; tests/test_quantize_run.py runs the real ones."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from llm_quantize.errors import EvaluationError
from llm_quantize.performance import BatchFigures, Performance, Spread, measure
from llm_quantize.performance.measure import closed_loop

FAKE_BENCH = """
import json, pathlib, sys
arguments = sys.argv[1:]
out = pathlib.Path(arguments[arguments.index("--out") + 1])
seed = int(arguments[arguments.index("--seed") + 1])
batch = int(out.parent.joinpath("closed.yaml").read_text().split("users: ")[1].split()[0])
out.mkdir()
figures = {
    "ttft": {"percentiles": {"p50": 0.1 * batch}},
    "tpot": {"percentiles": {"p50": 0.01 + 0.001 * seed} if batch < 100 else {}},
    "output_tokens_per_second": 100.0 * batch + seed,
    "completed": 5,
}
verdict = {"reasons": ["the client was late"] if batch == 8 else ["all timed out"] if batch >= 100 else []}
(out / "result.json").write_text(json.dumps({"summary": {"classes": {"all": figures}}, "verdict": verdict}))
"""
FAKE_ENGINE = """
import sys, time
print("llm-engine 1.0 on http://127.0.0.1:1", flush=True)
kept = bytearray(64 << 20)
time.sleep(600)
"""


@pytest.fixture
def program(tmp_path: Path) -> Callable[[str], tuple[str]]:
    def write(source: str) -> tuple[str]:
        file = tmp_path / f"program{len(list(tmp_path.iterdir()))}.py"
        file.write_text(source)
        return (str(file),)

    return write


def test_every_batch_has_the_median_and_range_of_its_runs(tiny: Path, program: Callable[[str], tuple[str]]) -> None:
    found = measure(tiny, (1, 8), engine=program(FAKE_ENGINE), bench=program(FAKE_BENCH), runs=3)
    assert [one.batch for one in found.batches] == [1, 8]
    assert found.batches[0].tpot == Spread(0.011, 0.01, 0.012)
    assert found.batches[1].output_tokens_per_second == Spread(801.0, 800.0, 802.0)
    assert found.batches[1].requests == 15
    assert found.notes == ["batch 8: the client was late"]
    assert found.weight_bytes == (tiny / "model.safetensors").stat().st_size
    assert found.resident_bytes is not None
    assert found.resident_bytes > 64 << 20
    assert found.server == "llm-engine"


def test_a_server_by_url_has_no_files_and_no_memory_here(tmp_path: Path, program: Callable[[str], tuple[str]]) -> None:
    found = measure(tmp_path, (1,), "http://127.0.0.1:9", bench=program(FAKE_BENCH), runs=1)
    assert (found.weight_bytes, found.resident_bytes, found.device) == (None, None, "http://127.0.0.1:9")


def test_what_goes_wrong_is_said(tiny: Path, program: Callable[[str], tuple[str]]) -> None:
    with pytest.raises(EvaluationError, match=r"did not start.*no such weights"):
        measure(tiny, (1,), engine=program("raise SystemExit('no such weights')"), bench=program(FAKE_BENCH))
    with pytest.raises(EvaluationError, match="could not load http://x: nothing listens"):
        measure(tiny, (1,), "http://x", bench=program("raise SystemExit('nothing listens')"))
    with pytest.raises(EvaluationError, match="batch 100 at http://x: all timed out"):
        measure(tiny, (100,), "http://x", bench=program(FAKE_BENCH))


def test_a_run_does_not_count_its_beginning() -> None:
    scenario = closed_loop(8, 12.0)
    assert scenario["arrivals"] == {"kind": "closed", "users": 8}
    assert scenario["warm_up"] == 3.0


def test_a_measurement_survives_its_file() -> None:
    spread = Spread(2.0, 1.0, 3.0)
    one = Performance(
        name="main",
        weight_bytes=10,
        resident_bytes=None,
        device="a CPU",
        server="llm-engine",
        runs=3,
        batches=[BatchFigures(batch=8, ttft=spread, tpot=spread, output_tokens_per_second=spread, requests=4)],
        notes=[],
    )
    assert Performance.from_json(one.to_json()) == one
    assert one.at(8) == one.batches[0]
    assert one.at(64) is None
    for text in ("{}", "[1]", "x", json.dumps({"schema_version": 1})):
        with pytest.raises(EvaluationError, match="no performance measurement"):
            Performance.from_json(text)
