from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from llm_gateway.simulate.load import Mix, TraceRequest, load_requests
from llm_gateway.simulate.synthetic import OUTPUT_TOKENS, PROMPT_TOKENS, lengths, mean_lengths, poisson
from llm_traces import TraceError

ONE = Mix({"standard": 1.0}, {"": 1.0})

BURST_GPT = """Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type
45.5,ChatGPT,1087,0,1087,Conversation log
118,GPT-4,417,276,693,API log
5,ChatGPT,472,18,490,Conversation log
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "trace"
    path.write_text(text)
    return path


def test_requests_come_by_arrival_with_the_class_and_tenant_of_the_mix(tmp_path: Path) -> None:
    requests, trace = load_requests(write(tmp_path, BURST_GPT), Mix({"standard": 1.0}, {"acme": 1.0}), seed=1)

    assert requests == [
        TraceRequest(0.0, "standard", "acme", 472, 18),
        TraceRequest(113.0, "standard", "acme", 417, 276),
    ]
    assert trace.notice is not None


def test_a_class_that_the_trace_names_is_kept_and_what_was_turned_away_is_offered_again(tmp_path: Path) -> None:
    record = {"scheduled_at": 1.5, "class_name": "batch", "max_tokens": 40, "prompt_tokens": 7, "outcome": "ok"}
    rejected = {**record, "scheduled_at": 2.0, "output_tokens": 0, "outcome": "rejected"}
    text = json.dumps({"requests": [{**record, "output_tokens": 31}, rejected]}, indent=2)

    requests, _ = load_requests(write(tmp_path, text), ONE, seed=1)

    assert requests == [TraceRequest(0.0, "batch", "", 7, 31, 40), TraceRequest(0.5, "batch", "", 7, 40, 40)]


def test_what_is_no_trace_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="is no trace that is known"):
        load_requests(write(tmp_path, "a,b\n1,2\n"), ONE, 0)


def test_classes_and_tenants_are_drawn_in_their_parts_and_repeatably(tmp_path: Path) -> None:
    mix = Mix({"interactive": 3.0, "batch": 1.0}, {"a": 1.0, "b": 1.0})
    first, again = poisson(10.0, 1000.0, mix, 3), poisson(10.0, 1000.0, mix, 3)
    assert first == again != poisson(10.0, 1000.0, mix, 4)
    assert np.mean([one.class_name == "batch" for one in first]) == pytest.approx(0.25, abs=0.02)
    assert np.mean([one.tenant == "b" for one in first]) == pytest.approx(0.5, abs=0.02)


def test_synthetic_load_has_the_rate_and_the_published_percentiles() -> None:
    load = poisson(100.0, 1000.0, ONE, 1)
    times = np.array([one.at for one in load])
    assert len(load) == pytest.approx(100_000, rel=0.03)
    assert np.all(np.diff(times) >= 0)
    assert np.std(np.diff(times)) / np.mean(np.diff(times)) == pytest.approx(1.0, abs=0.05)
    for values, table in (
        ([one.prompt_tokens for one in load], PROMPT_TOKENS),
        ([one.output_tokens for one in load], OUTPUT_TOKENS),
    ):
        assert np.percentile(values, [50, 90, 99]) == pytest.approx(table[1:4], rel=0.05)
    assert mean_lengths() == pytest.approx(
        (np.mean([one.prompt_tokens for one in load]), np.mean([one.output_tokens for one in load])), rel=0.03
    )
    assert lengths(OUTPUT_TOKENS, np.array([0.0, 1.0])).tolist() == [1, 1000]
