from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from llm_gateway.simulate.synthetic import OUTPUT_TOKENS, PROMPT_TOKENS, lengths, mean_lengths, poisson
from llm_gateway.simulate.trace import Mix, TraceError, TraceRequest, read_trace

ONE = Mix({"standard": 1.0}, {"": 1.0})

AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:17:03.9799600,4808,10
2023-11-16 18:17:04.0319600,3180,8
2023-11-16 18:17:03.4799600,110,27
"""
BURST_GPT = """Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type
5,a,1.2,ChatGPT,472,18,490,Conversation log
45.5,b,0.1,ChatGPT,1087,0,1087,Conversation log
118,a,2.2,GPT-4,417,276,693,API log
"""
MOONCAKE = """{"timestamp": 27482, "input_length": 6955, "output_length": 52, "hash_ids": [46, 47]}
{"timestamp": 30535, "input_length": 6472, "output_length": 26, "hash_ids": [46, 2353]}
"""


def read(folder: Path, text: str, mix: Mix = ONE) -> list[TraceRequest]:
    path = folder / "trace"
    path.write_text(text)
    return read_trace(path, mix, seed=1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (AZURE, [(0.0, 110, 27), (0.5, 4808, 10), (0.552, 3180, 8)]),
        (BURST_GPT, [(0.0, 472, 18), (113.0, 417, 276)]),
        (MOONCAKE, [(0.0, 6955, 52), (3.053, 6472, 26)]),
    ],
)
def test_formats(tmp_path: Path, text: str, expected: list[tuple[float, int, int]]) -> None:
    found = read(tmp_path, text)
    assert [request.at for request in found] == pytest.approx([at for at, _, _ in expected], abs=1e-5)
    assert [(one.prompt_tokens, one.output_tokens) for one in found] == [row[1:] for row in expected]
    assert {(one.class_name, one.tenant, one.max_tokens) for one in found} == {("standard", "", None)}


def test_a_result_of_the_bench_brings_its_classes_and_offers_what_was_turned_away_again(tmp_path: Path) -> None:
    record = {"scheduled_at": 1.5, "class_name": "batch", "max_tokens": 40, "prompt_tokens": 7, "outcome": "ok"}
    rejected = {**record, "scheduled_at": 2.0, "output_tokens": 0, "outcome": "rejected"}
    text = json.dumps({"requests": [{**record, "output_tokens": 31}, rejected]}, indent=2)
    assert read(tmp_path, text) == [
        TraceRequest(0.0, "batch", "", 7, 31, 40),
        TraceRequest(0.5, "batch", "", 7, 40, 40),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a trace of"),
        ("a,b\n1,2\n", "not a trace of .* it begins 'a,b"),
        ("TIMESTAMP,ContextTokens,GeneratedTokens\n", "holds no request"),
        (AZURE + "2023-11-16 18:17:05,x,1\n", "line 5: ValueError"),
        (AZURE + "2023-11-16 18:17:05,1\n", "line 5: TypeError"),
        (MOONCAKE + "{}\n", "line 3: KeyError"),
        (MOONCAKE + "[\n", "line 3: JSONDecodeError"),
        ('{"requests": [{}]}', "not a result of llm-bench"),
        ('{"runs": []}', "not a result of llm-bench"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(TraceError, match=message):
        read(tmp_path, text)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="cannot be read"):
        read_trace(tmp_path / "none", ONE, 0)


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
