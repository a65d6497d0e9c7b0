"""A trace is complete: its events alone rebuild the engine's counters and every block's content at each step."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from llm_engine import Engine, SamplingParams
from llm_engine.kv_cache.prefix_cache import HashPrefixCache
from llm_engine.observers.trace import SCHEMA

MakeEngine = Callable[..., Engine]
Event = dict[str, Any]
Place = tuple[str, int]
"""(sequence, position of a token in it)"""


@dataclass
class Replay:
    """The engine's memory as a trace describes it, rebuilt from its events alone."""

    start: Event
    memory: dict[tuple[int, int], Place] = field(default_factory=dict)
    """(block, offset) -> place of the token whose keys and values the engine has there"""
    host: dict[tuple[int, int], Place] = field(default_factory=dict)
    tokens: dict[str, list[int]] = field(default_factory=dict)
    """The prompt of each sequence, then its output."""
    tables: dict[str, list[int]] = field(default_factory=dict)
    host_tables: dict[str, list[int]] = field(default_factory=dict)
    known: dict[int, str] = field(default_factory=dict)
    """Block -> key, as the prefix cache knows it."""
    evictions: int = 0
    under_way: dict[int, list[tuple[Event, list[Place]]]] = field(default_factory=dict)
    """Step -> its sequences, each with what its block table read when the step was computed."""

    def take(self, event: Event) -> None:
        getattr(self, f"_{event['event']}")(event)

    def _request(self, event: Event) -> None:
        self.tokens[event["id"]] = list(event["prompt_token_ids"])

    def _step(self, event: Event) -> None:
        self._schedule(event)
        self._count(event)
        for move, source, target in event["copies"]:
            read = self.host if move == "in" else self.memory
            write = self.host if move == "out" else self.memory
            for offset in range(self.start["block_size"]):
                write[target, offset] = read.get((source, offset), ("", -1))
        for item in event["sequences"]:
            self._write(item)
        self.under_way[event["index"]] = [(item, self._read(item)) for item in event["sequences"]]

    def _schedule(self, event: Event) -> None:
        for item in event["preempted"]:
            assert item["needed_by"] in self.tokens
            self.tables.pop(item["id"], None)
            self.host_tables[item["id"]] = item["host_blocks"]
        for item in event["admitted"]:
            self.host_tables.pop(item["id"], None)
        self._forget(event)
        self._insert(event["inserted"])
        self.tables |= {item["id"]: item["block_table"] for item in event["sequences"]}
        assert set(self.tables) == {item["id"] for item in event["sequences"]} | set(event["skipped"])

    def _forget(self, event: Event) -> None:
        for block in event["evicted"] + event["lost"]:
            del self.known[block]
        self.evictions += len(event["evicted"])

    def _insert(self, inserted: list[tuple[int, int | None, str, int]]) -> None:
        for block, parent, key, index in inserted:
            assert block not in self.known
            assert parent is None or (index > 0 and parent in self.known)
            self.known[block] = key

    def _count(self, event: Event) -> None:
        """Owned, cached and free blocks are the engine's own numbers."""
        counters, owned = event["blocks"], {block for table in self.tables.values() for block in table}
        assert len(self.known.keys() - owned) == counters["cached"]
        assert self.start["num_blocks"] - len(owned | self.known.keys()) == counters["free"]
        assert self.evictions == counters["evictions"]
        used = sum(map(len, self.host_tables.values()))
        assert self.start["num_cpu_blocks"] - used == counters["free_host"]

    def _write(self, item: Event) -> None:
        first, size = item["first_token"], self.start["block_size"]
        for place in range(first, first + item["num_tokens"]):
            self.memory[item["block_table"][place // size], place % size] = item["id"], place

    def _read(self, item: Event) -> list[Place]:
        table, size = item["block_table"], self.start["block_size"]
        end = item["first_token"] + item["num_tokens"]
        return [self.memory[table[place // size], place % size] for place in range(end)]

    def _result(self, event: Event) -> None:
        size = self.start["block_size"]
        for item in event["sampled"]:
            assert len(item["texts"]) == len(item["token_ids"])
            self.tokens[item["id"]] += item["token_ids"]
        rejected = {item["id"]: item["rejected_drafts"] for item in event["sampled"]}
        for item, read in self.under_way.pop(event["index"]):
            end = len(read) - rejected.get(item["id"], 0)
            assert [self.tokens[owner][place] for owner, place in read[:end]] == self.tokens[item["id"]][:end]
            if end < len(read):
                self.tables[item["id"]] = self.tables[item["id"]][: -(-end // size)]
        self._insert(event["inserted"])

    def _finish(self, event: Event) -> None:
        self.tables.pop(event["id"], None)
        self.host_tables.pop(event["id"], None)


def lines(path: Path) -> list[Event]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


TIGHT = {"num_gpu_blocks_override": 24, "block_size": 4, "max_model_len": 90, "max_num_batched_tokens": 32}
SETTINGS: dict[str, dict[str, Any]] = {
    "roomy": {},
    "preempted": TIGHT,
    "radix": {"prefix_cache": "radix"},
    "radix, preempted": {**TIGHT, "prefix_cache": "radix"},
    "no prefix cache": {**TIGHT, "enable_prefix_caching": False},
    "swapped": {**TIGHT, "num_cpu_blocks": 60},
    "radix, swapped": {**TIGHT, "num_cpu_blocks": 60, "prefix_cache": "radix"},
    "swapped, overlapped": {**TIGHT, "num_cpu_blocks": 60, "async_scheduling": True},
    "overlapped, preempted": {**TIGHT, "async_scheduling": True},
    "priority, preempted": {**TIGHT, "scheduling_policy": "priority"},
    "ngram": {"speculative_config": {"method": "ngram", "num_speculative_tokens": 3}},
    "ngram, preempted": {**TIGHT, "speculative_config": {"method": "ngram", "num_speculative_tokens": 3}},
}


@pytest.mark.parametrize("way", SETTINGS)
def test_events_alone_rebuild_counters_and_memory(make_engine: MakeEngine, tmp_path: Path, way: str) -> None:
    path = tmp_path / "trace.jsonl"
    engine = make_engine(trace=str(path), max_num_seqs=8, **SETTINGS[way])
    rng = random.Random(1)
    for index in range(20):
        prompt = [9] * rng.randint(1, 40) + [rng.randint(1, 9)] * rng.randint(1, 9)
        params = SamplingParams(n=rng.choice([1, 1, 3]), max_tokens=rng.randint(1, 20), seed=index)
        engine.add_request(str(index), prompt, params, rng.randint(0, 2))
        engine.step()
        if index % 7 == 6:
            engine.abort_request(str(index))
    while engine.has_work:
        engine.step()
    start, *events = lines(path)
    replay = Replay(start)
    for event in events:
        replay.take(event)
    finished = {event["id"] for event in events if event["event"] == "finish"}
    steps = [event for event in events if event["event"] == "step"]
    assert finished == set(replay.tokens)
    moves = {move for event in steps for move, _, _ in event["copies"]}
    assert moves == ({"copy", "out", "in"} if "swapped" in way else {"copy"})
    assert any(item["cached_tokens"] for event in steps for item in event["admitted"])
    assert any(item["host_tokens"] for event in steps for item in event["admitted"]) == ("swapped" in way)
    assert not any(item["lost_tokens"] for event in steps for item in event["preempted"] if item["host_blocks"])
    assert sum(len(item["token_ids"]) for event in events for item in event.get("sampled", ())) == sum(
        len(tokens) - len(event["prompt_token_ids"])
        for event in events
        if event["event"] == "request"
        for tokens in [replay.tokens[event["id"]]]
    )
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
    assert {event["event"] for event in events} == {"start", "request", "step", "result", "finish"}
    for event in events:
        validator.validate(event)
    with pytest.raises(jsonschema_rs.ValidationError):
        validator.validate({**events[0], "unknown": 1})


def record(engine: Engine, path: Path, prompts: list[list[int]], **params: Any) -> list[Event]:
    """Run the prompts, all there at once, and return the trace."""
    for index, prompt in enumerate(prompts):
        engine.add_request(str(index), prompt, SamplingParams(temperature=0, ignore_eos=True, **params))
    while engine.has_work:
        engine.step()
    engine.close()
    return lines(path)


def test_a_preemption_names_who_asked_for_room_and_what_it_cost(make_engine: MakeEngine, tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    engine = make_engine(trace=str(path), **{**TIGHT, "max_num_seqs": 2, "enable_prefix_caching": False})
    events = record(engine, path, [[5] * 40, [6] * 41], max_tokens=30)
    (item,) = [item for event in events for item in event.get("preempted", ())]
    assert (item["id"], item["needed_by"], item["host_blocks"]) == ("1/0", "0/0", [])
    computed = [s for e in events for s in e.get("sequences", ()) if s["id"] == "1/0" and s["first_token"]]
    before = next(s for s, after in pairwise(computed) if after["first_token"] <= s["first_token"])
    assert item["lost_tokens"] == before["first_token"] + before["num_tokens"]


def test_keys_are_those_of_the_prefix_cache_and_name_their_parent(make_engine: MakeEngine, tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    engine = make_engine(trace=str(path), block_size=4, max_model_len=90)
    record(engine, path, [[5, 6, 7, 8, 9, 10, 11, 12, 13]], max_tokens=1)
    inserted = [item for event in lines(path) for item in event.get("inserted", ())]
    (first, _, first_key, _), (_, parent, second_key, _) = inserted
    assert [(item[1], item[3]) for item in inserted] == [(None, 0), (first, 1)]
    cache = engine.kv_cache.prefix_cache
    assert isinstance(cache, HashPrefixCache)
    assert [key.hex()[:8] for key in cache._block_of] == [first_key, second_key]
    assert parent == first


def test_a_running_sequence_that_gets_no_token_is_listed(make_engine: MakeEngine, tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    engine = make_engine(trace=str(path), max_num_batched_tokens=256)
    engine.add_request("slow", [5] * 300, SamplingParams(max_tokens=1, prompt_logprobs=0))  # at most 128 a step
    engine.add_request("urgent", [6] * 500, SamplingParams(max_tokens=1), -1)
    while engine.has_work:
        engine.step()
    assert all(not event["skipped"] for event in lines(path) if event["event"] == "step")
    engine = make_engine(trace=str(path), max_num_batched_tokens=256, scheduling_policy="priority")
    engine.add_request("slow", [5] * 300, SamplingParams(max_tokens=1, prompt_logprobs=0))
    engine.step()
    engine.add_request("urgent", [6] * 500, SamplingParams(max_tokens=1), -1)
    while engine.has_work:
        engine.step()
    assert [event["skipped"] for event in lines(path) if event["event"] == "step"][2] == ["slow/0"]


def test_speculation_says_how_long_guessing_took(make_engine: MakeEngine, models: Path, tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    draft = {"model": str(models / "zoo" / "llama"), "num_speculative_tokens": 2}
    events = record(make_engine(trace=str(path), speculative_config=draft), path, [[5, 6, 7]], max_tokens=9)
    results = [event for event in events if event["event"] == "result"]
    assert all(0 <= event["draft_seconds"] <= event["duration"] for event in results[1:])
    assert events[0]["speculation"] == draft
    assert {len(item["draft_token_ids"]) for event in events for item in event.get("sequences", ())} == {0, 1, 2}


def test_every_rank_says_when_it_computed_and_what_it_sent(make_engine: MakeEngine, tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    engine = make_engine(trace=str(path), tensor_parallel_size=2)
    events = record(engine, path, [[5, 6, 7]], max_tokens=3)
    results = [event for event in events if event["event"] == "result"]
    for event in results:
        assert [rank["rank"] for rank in event["ranks"]] == [0, 1]
        for rank in event["ranks"]:
            names = [name for name, _, _, _ in rank["collectives"]]
            assert set(names) == {"all_reduce", "gather"}
            edges = [rank["begin"], *(t for _, begin, end, _ in rank["collectives"] for t in (begin, end)), rank["end"]]
            assert edges == sorted(edges)
            assert all(size > 0 for _, _, _, size in rank["collectives"])


def test_a_request_carries_the_trace_id_of_its_caller(make_engine: MakeEngine, tmp_path: Path) -> None:
    path = tmp_path / "trace.jsonl"
    engine = make_engine(trace=str(path), scheduling_policy="priority")
    engine.enqueue("a", engine.prepare([5], SamplingParams(max_tokens=1)), 3, trace_id="ab" * 16)
    start, request = lines(path)
    assert (request["trace_id"], request["order"], request["max_tokens"]) == ("ab" * 16, [3, 0], 1)
    assert start["kv_bytes_per_block"] == 16 * 2 * 4 * engine_kv_width(engine)
    assert (start["schema_version"], start["dtype"], start["prefix_cache"]) == (2, "float32", "hash")


def engine_kv_width(engine: Engine) -> int:
    """Values per token in K, or in V, over all layers."""
    config = json.loads((engine.folder / "config.json").read_text(encoding="utf-8"))
    head_dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    return int(config["num_key_value_heads"] * head_dim * config["num_hidden_layers"])
