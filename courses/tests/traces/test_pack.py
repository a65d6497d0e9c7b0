"""Packing loses nothing but digits of the clock, in Python and in the browser's twin."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_course.errors import CourseError
from llm_course.traces import files
from llm_course.traces.commands import recordings
from llm_course.traces.engine import record
from llm_course.traces.pack import Event, pack, unpack
from llm_course.traces.workloads import growing, shared_prefixes
from llm_engine.observers.trace import SCHEMA
from llm_gateway.telemetry.queue_trace import SCHEMA as QUEUE_SCHEMA

TIGHT: dict[str, Any] = {"num_gpu_blocks_override": 20, "block_size": 8, "max_model_len": 160, "max_num_seqs": 6}
ENGINE = [name for name, one in recordings().items() if "live" not in one]


def clocked(events: list[Event]) -> list[Event]:
    times = ("time", "duration", "draft_seconds")
    return [{key: round(value, 5) if key in times else value for key, value in event.items()} for event in events]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"num_cpu_blocks": 40},
        {"prefix_cache": "radix"},
        {"speculative_config": {"method": "ngram", "num_speculative_tokens": 3}},
        {"async_scheduling": True},
    ],
    ids=str,
)
def test_what_is_packed_comes_back(settings: dict[str, Any]) -> None:
    events = record({**TIGHT, **settings}, growing(requests=5, tokens=40))
    assert any(event.get("preempted") for event in events)
    back = unpack(pack(events))
    assert back == clocked(events)


def test_a_token_may_hold_any_character() -> None:
    strange = "line\u2028 next\x85 \x0b \n 'quoted' \\"
    request = {"event": "request", "id": "a/0", "time": 0.0, "prompt_token_ids": [7], "prompt_texts": [strange]}
    assert unpack(pack([request])) == [request]


@pytest.mark.parametrize("name", ENGINE)
def test_a_recording_fits_the_schema_and_is_small(name: str) -> None:
    head, *events = files.load(name)
    assert (head["event"], head["name"]) == ("recording", name)
    assert head["command"] == f"./lab traces record {name}"
    validator = jsonschema_rs.validator_for(json.loads(SCHEMA.read_text(encoding="utf-8")))
    for event in events:
        validator.validate(event)
    assert (files.FOLDER / f"{name}.js").stat().st_size < 60_000


def test_the_queue_fits_its_schema() -> None:
    _, *events = [json.loads(line) for line in files.read("queue-gateway").splitlines()]
    validator = jsonschema_rs.validator_for(json.loads(QUEUE_SCHEMA.read_text(encoding="utf-8")))
    for event in events:
        validator.validate(event)


def facts(events: list[Event]) -> list[Any]:
    """Return all that does not depend on the machine: no clocks, and no tokens that were drawn."""
    dropped = {"time", "duration", "time_unix", "sampled", "inserted", "prompt_texts", "engine_version", "model"}
    return [{key: value for key, value in event.items() if key not in dropped} for event in events]


@pytest.mark.parametrize("name", ["paging", "prefix-radix", "preempt-swap", "batching-static"])
def test_recording_again_gives_the_same_steps(name: str, tmp_path: Path) -> None:
    from llm_course.traces.commands import text_of

    again = files.write(name, text_of(name, recordings()[name]), tmp_path)
    assert facts(files.load(name, tmp_path)) == facts(files.load(name))
    assert again.name == f"{name}.js"


@given(st.text(), st.text())
def test_any_text_survives_the_script(tmp_path_factory: pytest.TempPathFactory, first: str, second: str) -> None:
    folder = tmp_path_factory.mktemp("traces")
    text = json.dumps([first, second], ensure_ascii=False)
    files.write("any", text, folder)
    assert files.read("any", folder) == text


def test_an_unknown_trace_is_named(tmp_path: Path) -> None:
    files.write("known", "{}", tmp_path)
    with pytest.raises(CourseError, match="there is no trace other; there are known"):
        files.read("other", tmp_path)


def test_workloads_are_the_same_each_time() -> None:
    assert shared_prefixes(requests=9, seed=3) == shared_prefixes(requests=9, seed=3)
    assert shared_prefixes(requests=9, seed=3) != shared_prefixes(requests=9, seed=4)
