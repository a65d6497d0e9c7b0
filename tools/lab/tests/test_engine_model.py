from __future__ import annotations

import json
from pathlib import Path

import pytest

from llm_lab.engine_model import fit

BASE, SLOPE, PREFILL = 0.010, 0.001, 0.0001


def write_trace(path: Path) -> None:
    """Steps as the model has them, one after the other, with an idle minute in the middle."""
    now, lines = 0.0, [{"event": "start"}]
    for index in range(60):
        decodes, prompt = index % 8 + 1, (index % 5) * 20
        seconds = BASE + SLOPE * decodes + PREFILL * prompt
        chunk = [{"num_tokens": prompt}] if prompt else []
        step = {"index": index, "time": now, "sequences": [{"num_tokens": 1}] * decodes + chunk}
        result = {"event": "result", "index": index, "time": now + seconds - 0.001}
        lines += [{"event": "step", **step}, result, {"event": "finish"}]
        now += seconds + (60.0 if index == 30 else 0.0)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_the_figures_of_a_known_engine_are_found_again(tmp_path: Path) -> None:
    write_trace(tmp_path / "one")
    model = fit([tmp_path / "one"])
    assert (model.itl_base, model.itl_slope, model.prefill) == pytest.approx((BASE, SLOPE, PREFILL), rel=1e-6)
    assert model.flags()[::2] == ("--itl-base", "--itl-slope", "--prefill")
