"""Questions that a trace answers; and the committed trace is what the engine does today."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llm_course.errors import CourseError
from llm_course.quiz import recorded
from llm_course.traces import commands, files

SMALL = "small-pool"


@pytest.fixture(scope="module")
def trace() -> recorded.Recorded:
    return recorded.read(SMALL, (0, 19))


def test_the_committed_trace_is_what_the_engine_does(tmp_path: Path, trace: recorded.Recorded) -> None:
    files.write(SMALL, commands.text_of(SMALL, commands.recordings()[SMALL]), tmp_path)
    new = recorded.read(SMALL, (0, 19), tmp_path)
    assert [step | {"time": 0} for step in new.steps] == [step | {"time": 0} for step in trace.steps]


def test_questions_about_steps(trace: recorded.Recorded) -> None:
    ask = trace.functions
    assert ask["first_token_at"]("b") == 2
    assert ask["admitted_at"]("e") == 10
    assert ask["preempted_at"]("c") == 7
    assert [ask[name](10) for name in ("tokens_in", "sequences_in", "sampled_in", "prefill_tokens_in")] == [
        12,
        3,
        2,
        11,
    ]
    assert [ask["waiting_in"](7), ask["owned_in"](8), ask["shared_blocks_in"](4)] == [2, 11, 2]


def test_questions_about_blocks(trace: recorded.Recorded) -> None:
    ask = trace.functions
    assert [ask["evicted_at"](block) for block in (2, 4, 5, 7)] == [10, 14, 13, 13]
    assert ask["released_at"](5) == 10
    assert [ask["computed_of"]("c", 6), ask["blocks_of"]("b", 9)] == [12, 7]
    assert ask["evictions_between"](9, 10) == 3
    assert [ask["block_size"](), ask["num_blocks"](), ask["budget"]()] == [4, 12, 12]


def test_hits_are_no_evictions(trace: recorded.Recorded) -> None:
    with pytest.raises(CourseError, match="block 0 is not overwritten in steps 0 to 19"):
        trace.evicted_at(0)


def test_the_first_admission_shown_counts() -> None:
    assert recorded.read(SMALL, (0, 6)).cached_tokens_of("c") == 8
    assert recorded.read(SMALL, (8, 12)).cached_tokens_of("c") == 12
    with pytest.raises(CourseError, match="c is not preempted in steps 8 to 12"):
        recorded.read(SMALL, (8, 12)).preempted_at("c")


def test_an_excerpt_is_a_table_of_the_shown_steps() -> None:
    rows = recorded.read(SMALL, (9, 10)).excerpt().splitlines()
    assert len(rows) == 4
    assert rows[2] == "| 9 | b: 24 → 3 4 5 7 8 10 11; c: 12, 12 cached → 0 1 9 6 | – | d, e | 0 | 1 |"


@pytest.mark.parametrize("steps", [(0, 20), (5, 4), (-1, 3)])
def test_steps_that_are_not_there(steps: tuple[int, int]) -> None:
    with pytest.raises(CourseError, match="no trace with steps"):
        recorded.read(SMALL, steps)


def test_a_file_that_is_no_trace(tmp_path: Path) -> None:
    (tmp_path / "t.js").write_text("nothing", encoding="utf-8")
    with pytest.raises(CourseError, match="no trace of an engine"):
        recorded.read("t", (0, 0), tmp_path)
    files.write("t", json.dumps({"event": "other"}), tmp_path)
    with pytest.raises(CourseError, match="no trace of an engine"):
        recorded.read("t", (0, 0), tmp_path)
    with pytest.raises(CourseError, match="there is no trace none"):
        recorded.read("none", (0, 0), tmp_path)
