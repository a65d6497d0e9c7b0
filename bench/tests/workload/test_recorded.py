from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_bench.errors import ScenarioError
from llm_bench.workload.recorded import TraceArrivals
from llm_bench.workload.scenario import Scenario
from llm_bench.workload.schedule import draw_schedule
from llm_bench.workload.trace_scenario import trace_scenario
from llm_traces import TraceRow

CORPUS = "".join(f"line number {index} of the corpus\n" for index in range(500))


@pytest.fixture(scope="module")
def hour(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One request every 4 seconds for an hour."""
    path = tmp_path_factory.mktemp("trace") / "hour.jsonl"
    lines = [{"at": 4.0 * index, "prompt_tokens": 10 + index, "output_tokens": 5} for index in range(900)]
    path.write_bytes(b"\n".join(map(orjson.dumps, lines)))
    return path


def rows(path: Path, duration: float, **changes: Any) -> list[TraceRow]:
    return TraceArrivals(kind="trace", file=path, **changes).draw_rows(duration, np.random.default_rng(0))


def test_an_hour_in_a_minute(hour: Path) -> None:
    played = rows(hour, 60.0, speed=60)

    assert len(played) == 900
    assert [row.at for row in played] == pytest.approx([4 / 60 * index for index in range(900)])
    assert TraceArrivals(kind="trace", file=hour, speed=60).mean_rate(60.0) == 15.0


def test_only_the_window_is_played(hour: Path) -> None:
    assert len(rows(hour, 30.0, speed=60)) == 450
    assert len(rows(hour, 8.0)) == 2


@given(factor=st.floats(0.01, 5))
def test_the_rate_is_scaled_evenly(hour: Path, factor: float) -> None:
    played = rows(hour, 3600.0, rate_scale=factor)

    times = [row.at for row in played]
    assert abs(len(played) - 900 * factor) <= 1
    assert times == sorted(times)
    assert times[0] >= 0
    assert times[-1] < 3600
    per_quarter, _ = np.histogram(times, bins=4, range=(0, 3600))
    assert np.ptp(per_quarter) <= 2
    copies = Counter(row.prompt_tokens for row in played)
    assert max(copies.values()) - min(copies.values()) <= 1 or factor < 1


def test_a_scenario_of_a_trace_has_its_times_and_lengths(hour: Path) -> None:
    scenario = trace_scenario(TraceArrivals(kind="trace", file=hour, speed=60), None, 0.5, 400)

    schedule = draw_schedule(scenario, CORPUS, seed=1, salt="s")

    assert len(schedule) == 900
    assert scenario.longest_request() == 400
    assert [planned.max_tokens for planned in schedule[:3]] == [2, 2, 2]
    assert schedule[100].prompt_tokens == 55
    assert schedule[-1].prompt_tokens == 300  # cut to the model's room
    assert {planned.class_name for planned in schedule} == {"standard"}


BURST_GPT = """Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type
5,ChatGPT,472,18,490,Conversation log
6,ChatGPT,472,0,472,Conversation log
"""


def test_rows_without_tokens_and_bad_rows_are_counted_and_said(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text(BURST_GPT)
    assert trace_scenario(TraceArrivals(kind="trace", file=path), None, 1.0, None).left_out == [
        "1 of the trace's 2 rows have 0 tokens, as failed requests do: they were left out"
    ]

    bad = tmp_path / "bad.csv"
    bad.write_text(BURST_GPT + "x,ChatGPT,1,1,2,API log\n")
    with pytest.raises(ScenarioError, match=r"bad\.csv:4: could not convert .*; --skip-bad-rows leaves such rows out"):
        TraceArrivals(kind="trace", file=bad).read()
    scenario = trace_scenario(TraceArrivals(kind="trace", file=bad, skip_bad_rows=True), None, 1.0, None)
    assert scenario.left_out[0] == "1 bad rows of the scenario's files were skipped"


def test_a_missing_trace_is_an_error_of_the_scenario(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"gone\.csv: the trace cannot be read"):
        TraceArrivals(kind="trace", file=tmp_path / "gone.csv").read()


def test_classes_are_those_of_the_rows(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(
        '{"at": 0, "prompt_tokens": 5, "output_tokens": 5, "class": "chat"}\n'
        '{"at": 1, "prompt_tokens": 5, "output_tokens": 5}\n'
    )
    arrivals = TraceArrivals(kind="trace", file=path)
    scenario = trace_scenario(arrivals, None, 1.0, None)
    other = Scenario(name="x", duration=5, arrivals=arrivals, classes={"bulk": next(iter(scenario.classes.values()))})

    assert [planned.class_name for planned in draw_schedule(scenario, CORPUS, seed=1, salt="s")] == ["chat", "chat"]
    with pytest.raises(ScenarioError, match="the scenario has no class 'chat'"):
        draw_schedule(other, CORPUS, seed=1, salt="s")


def test_prompts_share_what_their_blocks_share(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    lines = [
        {"timestamp": 0, "input_length": 1200, "output_length": 5, "hash_ids": [1, 2, 3]},
        {"timestamp": 1, "input_length": 1300, "output_length": 5, "hash_ids": [1, 2, 4]},
        {"timestamp": 2, "input_length": 600, "output_length": 5, "hash_ids": [9, 2]},
    ]
    path.write_bytes(b"\n".join(map(orjson.dumps, lines)))
    scenario = trace_scenario(TraceArrivals(kind="trace", file=path), None, 1.0, None)

    one, two, three = (planned.prompt for planned in draw_schedule(scenario, CORPUS, seed=1, salt="s"))

    block = 512 * 3
    assert one[: 2 * block] == two[: 2 * block]
    assert one[2 * block : 2 * block + 12] != two[2 * block : 2 * block + 12]
    assert three[:11] != one[:11]
    assert three[block:] == one[block : 600 * 3]
    assert [len(text) for text in (one, two, three)] == [3600, 3900, 1800]
