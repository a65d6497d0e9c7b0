"""One rule a test, on events made by hand; then whole runs of the engine, compared with its own counters."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from exercise import Blocks, Event, Replay, film, life

from llm_course.paths import MODELS

START: Event = {"event": "start", "schema_version": 2, "num_blocks": 8, "block_size": 4}


def step(
    *computed: tuple[str, int, int, list[int]],
    preempted: Iterable[str] = (),
    evicted: Iterable[int] = (),
    lost: Iterable[int] = (),
    inserted: Iterable[int] = (),
) -> Event:
    """Return a step; a sequence is its name, its first token, how many it computes, and its block table."""
    names = ("id", "first_token", "num_tokens", "block_table")
    return {
        "event": "step",
        "sequences": [dict(zip(names, item, strict=True)) for item in computed],
        "preempted": [{"id": name} for name in preempted],
        "evicted": list(evicted),
        "lost": list(lost),
        "inserted": _inserted(inserted),
    }


def result(*sampled: tuple[str, int], inserted: Iterable[int] = ()) -> Event:
    """Return a result; a sequence that got a token is its name and how many of its drafts were rejected."""
    items = [{"id": name, "rejected_drafts": rejected} for name, rejected in sampled]
    return {"event": "result", "sampled": items, "inserted": _inserted(inserted)}


def finish(name: str) -> Event:
    return {"event": "finish", "id": name}


def _inserted(blocks: Iterable[int]) -> list[list[Any]]:
    return [[block, None, "00000000", 0] for block in blocks]


def after(*events: Event) -> Replay:
    replay = Replay(START)
    for event in events:
        replay.take(event)
    return replay


def test_a_table_owns_its_blocks() -> None:
    """A sequence with nine tokens owns the three blocks of its table; the other five are free."""
    assert after(step(("a", 0, 9, [5, 2, 7]))).blocks() == Blocks(owned=3, cached=0, free=5, evictions=0)


def test_a_sequence_that_pauses_keeps_its_blocks() -> None:
    """A step that computes nothing of a sequence leaves its table as it is."""
    assert after(step(("a", 0, 8, [0, 1])), step(("b", 0, 4, [2]))).blocks().owned == 3


def test_a_shared_block_is_one_block() -> None:
    """Two tables that name the same two blocks own three blocks together, and the picture counts the owners."""
    replay = after(step(("a", 0, 8, [0, 1])), step(("a", 8, 1, [0, 1, 2]), ("b", 7, 1, [0, 1])))
    assert replay.blocks().owned == 3
    assert replay.picture() == "221....."


def test_many_owners_are_a_plus() -> None:
    """Nine owners are a 9, ten are a +."""
    nine = [(f"s{index}", 0, 1, [0]) for index in range(9)]
    assert after(step(*nine)).picture() == "9......."
    assert after(step(*nine, ("t", 0, 1, [0]))).picture() == "+......."


def test_a_known_block_is_cached_once_it_has_no_owner() -> None:
    """While its sequence runs, a known block is owned; after the sequence's end it is cached, and the rest is free."""
    running = [step(("a", 0, 9, [5, 2, 7])), result(("a", 0), inserted=[5, 2])]
    assert after(*running).blocks() == Blocks(owned=3, cached=0, free=5, evictions=0)
    ended = after(*running, finish("a"))
    assert ended.blocks() == Blocks(owned=0, cached=2, free=6, evictions=0)
    assert ended.picture() == "..c..c.."


def test_a_preempted_sequence_owns_nothing() -> None:
    """A victim gives its blocks back in the step that preempts it, and can end while it waits."""
    events = [step(("a", 0, 8, [0, 1]), ("b", 0, 8, [2, 3])), step(("a", 8, 1, [0, 1, 3]), preempted=["b"])]
    assert after(*events).picture() == "11.1...."
    assert after(*events, finish("b")).picture() == "11.1...."


def test_an_evicted_block_is_forgotten() -> None:
    """An eviction counts, and a block that depended on it is lost: both are cached no more."""
    events = [step(("a", 0, 12, [0, 1, 2])), result(("a", 0), inserted=[0, 1, 2]), finish("a")]
    replay = after(*events, step(("b", 0, 2, [1]), evicted=[1], lost=[2]))
    assert replay.picture() == "c1......"
    assert replay.blocks() == Blocks(owned=1, cached=1, free=6, evictions=1)


def test_a_block_is_evicted_before_it_is_filled_again() -> None:
    """A cached block that is taken for content from host memory is known again in the same step."""
    events = [step(("a", 0, 4, [0])), result(("a", 0), inserted=[0]), finish("a")]
    replay = after(*events, step(("b", 4, 1, [0, 1]), evicted=[0], inserted=[0]), finish("b"))
    assert replay.picture() == "c......."


def test_rejected_drafts_give_their_blocks_back() -> None:
    """Three computed tokens and five drafts fill two blocks; with the drafts rejected, one is enough."""
    assert after(step(("a", 0, 8, [6, 3])), result(("a", 5))).picture() == "......1."
    assert after(step(("a", 0, 8, [6, 3])), result(("a", 3))).picture() == "...1..1."


def test_the_story_of_a_block() -> None:
    """Block 1 is owned, shared, owned by one again, and cached."""
    events = [
        step(("a", 0, 8, [0, 1])), result(("a", 0), inserted=[0, 1]),
        step(("a", 8, 1, [0, 1, 2]), ("b", 8, 1, [0, 1, 3])), result(("a", 0), ("b", 0)), finish("a"),
        step(("b", 9, 1, [0, 1, 3])), result(("b", 0)),
        step(("b", 10, 1, [0, 1, 3])), result(("b", 0)), finish("b"),
        step(("c", 0, 1, [4])),
    ]  # fmt: skip
    frames = film([START, *events])
    assert life(frames, 1) == [(0, "1"), (1, "2"), (2, "1"), (4, "c")]
    assert life(frames, 7) == [(0, ".")]


# Whole runs

Request = tuple[list[int], int, int]
"""Prompt, tokens to write, answers."""
DOCUMENTS = [Random(seed).choices(range(3, 250), k=40) for seed in (1, 2)]


def sharing(count: int) -> list[Request]:
    """Every prompt is one of two documents of 40 tokens and a question of its own."""
    return [(DOCUMENTS[index % 2] + [200 + index] * (2 + index), 6 + 5 * (index % 3), 1) for index in range(count)]


def repeating(count: int) -> list[Request]:
    """Every prompt says the same few tokens again and again, so an n-gram finds drafts; most are rejected."""
    return [([10 + index, 20, 30] * 5, 24, 1) for index in range(count)]


ALONE: list[Request] = [([index + 3] * (5 + index), 10, 1) for index in range(6)]
GROWING: list[Request] = [([index + 3] * 12, 40, 1) for index in range(6)]
ANSWERS: list[Request] = [(DOCUMENTS[0][:30], 20, 4), (DOCUMENTS[1][:9], 12, 3)]
TIGHT: dict[str, Any] = {"num_gpu_blocks_override": 20, "block_size": 8, "max_num_seqs": 6}
RUNS: dict[str, tuple[dict[str, Any], list[Request]]] = {
    "room for all": ({"num_gpu_blocks_override": 64, "block_size": 4}, ALONE),
    "two documents": ({"num_gpu_blocks_override": 40, "block_size": 4, "max_num_seqs": 3}, sharing(12)),
    "two documents, radix tree": (
        {"num_gpu_blocks_override": 40, "block_size": 4, "max_num_seqs": 3, "prefix_cache": "radix"}, sharing(12),
    ),
    "several answers": ({"num_gpu_blocks_override": 64, "block_size": 4}, ANSWERS),
    "preemption": (TIGHT, GROWING),
    "swapping": ({**TIGHT, "num_cpu_blocks": 40}, GROWING),
    "drafts": (
        {**TIGHT, "speculative_config": {"method": "ngram", "num_speculative_tokens": 6}}, repeating(6),
    ),
    "a step ahead": ({**TIGHT, "async_scheduling": True}, GROWING),
}  # fmt: skip


def record(name: str, folder: Path) -> tuple[list[Event], list[Blocks]]:
    """Run the engine. Return its trace without the counters, and the counters."""
    from llm_engine import Engine, EngineConfig, SamplingParams

    settings, requests = RUNS[name]
    path = folder / "trace.jsonl"
    engine = Engine(
        EngineConfig(
            str(MODELS / "zoo" / "llama"), trace=str(path), max_model_len=96, attention_backend="torch", **settings
        )
    )
    for index, (prompt, num_tokens, answers) in enumerate(requests):
        params = SamplingParams(temperature=0.8, seed=index, n=answers, max_tokens=num_tokens, ignore_eos=True)
        engine.add_request(str(index), prompt, params)
    while engine.has_work:
        engine.step()
    events = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    counted = []
    for event in events:
        if event["event"] == "step":
            blocks = event.pop("blocks")
            owned = engine.num_blocks - blocks["cached"] - blocks["free"]
            counted.append(Blocks(owned, blocks["cached"], blocks["free"], blocks["evictions"]))
    return events, counted


@pytest.mark.parametrize("name", RUNS)
def test_your_books_are_the_engines(name: str, tmp_path: Path) -> None:
    """At each step of a run your counts are the engine's own, which the trace you get leaves out."""
    events, counted = record(name, tmp_path)
    found = [frame.blocks for frame in film(events)]
    assert len(found) == len(counted)
    differs = next((step for step, both in enumerate(zip(found, counted, strict=True)) if both[0] != both[1]), 0)
    assert found[differs] == counted[differs], f"{name}, step {differs}"


def test_what_sharing_saves(record_property: Callable[[str, object], None], tmp_path: Path) -> None:
    """Twelve questions to two documents: the fullest step would need more blocks than there are, were none shared."""
    events, _ = record("two documents", tmp_path)
    fullest = max(film(events), key=lambda frame: frame.unshared)
    record_property("prediction", fullest.unshared)
    assert fullest.unshared > fullest.blocks.owned
    assert fullest.unshared == sum(int(owners) for owners in fullest.picture if owners.isdigit())
