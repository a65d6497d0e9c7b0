"""A trace is complete: replayed into an empty memory, each block table reads back its sequence's tokens."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from llm_engine import Engine, SamplingParams
from llm_engine.observers.trace import SCHEMA

MakeEngine = Callable[..., Engine]
Event = dict[str, Any]


@dataclass
class Replay:
    """The KV memory that a trace describes, with a token id in place of the token's keys and values."""

    block_size: int
    memory: dict[tuple[int, int], int] = field(default_factory=dict)
    """(block, offset) -> token"""
    host: dict[tuple[int, int], int] = field(default_factory=dict)
    tokens: dict[str, list[int]] = field(default_factory=dict)
    """Return the tokens of each sequence: the prompt, then its output."""

    def step(self, event: Event) -> None:
        for move, source, target in event["copies"]:
            read = self.host if move == "in" else self.memory
            write = self.host if move == "out" else self.memory
            for offset in range(self.block_size):
                write[target, offset] = read.get((source, offset), -1)
        for item in event["sequences"]:
            for place, token in enumerate(item["token_ids"], start=item["first_token"]):
                self.memory[item["block_table"][place // self.block_size], place % self.block_size] = token
        for item in event["sequences"]:
            end = item["first_token"] + len(item["token_ids"])
            read = [self.memory[item["block_table"][at // self.block_size], at % self.block_size] for at in range(end)]
            known = self.tokens[item["id"]][:end]
            assert read[: len(known)] == known
            assert read[len(known) :] == item["token_ids"][len(item["token_ids"]) - (end - len(known)) :]  # drafts
        for item in event["sampled"]:
            self.tokens[item["id"]] += item["token_ids"]


def lines(path: Path) -> list[Event]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


TIGHT = {"num_gpu_blocks_override": 24, "block_size": 4, "max_model_len": 90, "max_num_batched_tokens": 32}
SETTINGS: dict[str, dict[str, Any]] = {
    "roomy": {},
    "preempted": TIGHT,
    "radix, preempted": {**TIGHT, "prefix_cache": "radix"},
    "swapped": {**TIGHT, "num_cpu_blocks": 60},
    "overlapped, preempted": {**TIGHT, "async_scheduling": True},
    "ngram": {"speculative_config": {"method": "ngram", "num_speculative_tokens": 3}},
}


@pytest.mark.parametrize("way", SETTINGS)
def test_a_replay_rederives_every_block_table(make_engine: MakeEngine, tmp_path: Path, way: str) -> None:
    path = tmp_path / "trace.jsonl"
    engine = make_engine(trace=str(path), max_num_seqs=8, **SETTINGS[way])
    rng = random.Random(1)
    for index in range(20):
        prompt = [9] * rng.randint(1, 40) + [rng.randint(1, 9)] * rng.randint(1, 9)
        params = SamplingParams(n=rng.choice([1, 1, 3]), max_tokens=rng.randint(1, 20), seed=index)
        engine.add_request(str(index), prompt, params)
        engine.step()
        if index % 7 == 6:
            engine.abort_request(str(index))
    while engine.has_work:
        engine.step()
    start, *events = lines(path)
    replay, finished = Replay(start["block_size"]), set()
    for event in events:
        if event["event"] == "request":
            replay.tokens[event["id"]] = list(event["prompt_token_ids"])
        elif event["event"] == "step":
            replay.step(event)
        else:
            finished.add(event["id"])
    steps = [event for event in events if event["event"] == "step"]
    assert finished == set(replay.tokens)
    moves = {move for event in steps for move, _, _ in event["copies"]}
    assert moves == ({"copy", "out", "in"} if way == "swapped" else {"copy"})
    assert any(item["cached_tokens"] for event in steps for item in event["admitted"])
    assert any(event["preempted"] for event in steps) == ("num_gpu_blocks_override" in SETTINGS[way])
    assert [event["index"] for event in steps] == list(range(len(steps)))


def test_every_line_fits_the_schema(make_engine: MakeEngine, tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    engine = make_engine(trace=str(path))
    for request_id in "ab":
        engine.add_request(request_id, [5, 6, 7], SamplingParams(max_tokens=3, n=2))
    engine.step()
    engine.abort_request("b")
    while engine.has_work:
        engine.step()
    validator = jsonschema_rs.validator_for(json.loads(SCHEMA.read_text(encoding="utf-8")))
    events = lines(path)
    assert {event["event"] for event in events} == {"start", "request", "step", "finish"}
    for event in events:
        validator.validate(event)
    with pytest.raises(jsonschema_rs.ValidationError):
        validator.validate({**events[0], "unknown": 1})
