"""Rules on small prompts; then five workloads, counted from the engine's trace and predicted without it."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pytest
from exercise import Hits, counted, found, largest_block, order_for_reuse, predicted

from llm_course.paths import MODELS

BLOCK = 16
Prompts = tuple[tuple[int, ...], ...]


def text(seed: int, length: int) -> tuple[int, ...]:
    """Return tokens of which no other seed's text shares the first."""
    random = Random(seed)
    return (seed % 200 + 10, *(random.randrange(10, 250) for _ in range(length - 1)))


def system_prompt() -> Prompts:
    return tuple(text(0, 60) + text(number, 40) for number in range(1, 13))


def conversations() -> Prompts:
    """Four chats of four turns each, which take turns; a prompt is the chat so far."""
    turns = [[text(100 + 10 * chat + turn, 25) for turn in range(4)] for chat in range(4)]
    return tuple(sum(turns[chat][: turn + 1], ()) for turn in range(4) for chat in range(4))


def examples() -> Prompts:
    """Three templates of worked examples, each with six questions of their own; requests come mixed."""
    return tuple(text(30 + number % 3, 72) + text(50 + number, 20) for number in range(18))


def documents() -> Prompts:
    """One question on the same two documents, in either order."""
    left, right = text(70, 48), text(71, 48)
    return (left + right + text(72, 10), right + left + text(72, 10), left + right + text(73, 10))


def unrelated() -> Prompts:
    return tuple(text(80 + number, 50) for number in range(8))


WORKLOADS: dict[str, Callable[[], Prompts]] = {
    each.__name__: each for each in (system_prompt, conversations, examples, documents, unrelated)
}


def step(*admitted: tuple[str, int]) -> dict[str, Any]:
    return {"event": "step", "admitted": [{"id": name, "cached_tokens": count} for name, count in admitted]}


def request(name: str, length: int) -> dict[str, Any]:
    return {"event": "request", "id": name, "prompt_token_ids": list(range(length))}


def test_hits_are_counted_at_admission() -> None:
    """Two prompts of 10 and 30 tokens, of which the second finds 16: 16 of 40."""
    events = [request("a", 10), request("b", 30), step(("a", 0)), step(), step(("b", 16)), {"event": "finish"}]
    assert counted(events) == Hits(40, 16)


def test_a_second_admission_does_not_count() -> None:
    """A preempted sequence that comes back and finds 32 tokens of its own adds nothing."""
    events = [request("a", 40), step(("a", 16)), step(), step(("a", 32))]
    assert counted(events) == Hits(40, 16)


def test_a_request_in_the_queue_was_not_looked_up() -> None:
    """A request that still waits when the trace ends is in neither sum."""
    events = [request("a", 40), request("b", 500), step(("a", 0))]
    assert counted(events) == Hits(40, 0)


def test_only_full_blocks_are_found() -> None:
    """60 tokens in common and blocks of 16: the hash cache finds 48."""
    assert found(text(0, 60) + text(1, 40), [text(0, 60) + text(2, 40)], BLOCK, "hash") == 48


def test_radix_finds_the_beginning_of_full_blocks() -> None:
    """The tree finds 60 tokens if the earlier prompt filled its fourth block, and 48 if it ended in it."""
    prompt = text(0, 60) + text(1, 40)
    earlier = (text(0, 60) + text(2, 4), text(0, 60))
    assert [found(prompt, [each], BLOCK, "radix") for each in earlier] == [60, 48]


def test_a_repeated_prompt_computes_its_last_block() -> None:
    """The same 64 tokens again: the hash cache finds 48 of them, the tree 63."""
    prompt = text(0, 64)
    assert [found(prompt, [prompt], BLOCK, kind) for kind in ("hash", "radix")] == [48, 63]


def test_documents_in_another_order() -> None:
    """The same two documents in another order have other KV: the second prompt finds nothing, the third 96 tokens."""
    assert predicted(documents(), BLOCK, "hash").hits == 96


def test_conversations_take_turns() -> None:
    """Each turn finds its own chat's earlier turns, whichever chats came in between."""
    assert predicted(conversations(), BLOCK, "hash").hits == 4 * (16 + 48 + 64)


def test_a_shared_system_prompt(record_property: Callable[[str, object], None]) -> None:
    """Twelve prompts of 100 tokens with 60 in common: the engine finds what you predict."""
    hits = predicted(system_prompt(), BLOCK, "hash")
    record_property("prediction", round(100 * hits.rate))
    assert hits == served("system_prompt", "hash")[1]


@pytest.mark.parametrize("kind", ["hash", "radix"])
@pytest.mark.parametrize("workload", WORKLOADS)
def test_the_engine_finds_what_you_predict(workload: str, kind: str) -> None:
    """Five workloads, two caches: the trace's count, the engine's counters and your prediction agree."""
    events, stats = served(workload, kind)
    assert counted(events) == stats
    assert predicted(WORKLOADS[workload](), BLOCK, kind) == stats


@pytest.mark.parametrize("workload", WORKLOADS)
def test_radix_finds_at_least_as_much(workload: str) -> None:
    """The tree finds at least what the hashes find, with blocks of any size."""
    prompts = WORKLOADS[workload]()
    for size in (4, 16, 32):
        assert predicted(prompts, size, "radix").hits >= predicted(prompts, size, "hash").hits


def test_the_trace_of_a_small_cache() -> None:
    """Requests that preempt each other: the count still equals the engine's counters."""
    events, stats = preempting()
    assert sum(len(event.get("preempted", ())) for event in events) > 0
    assert counted(events) == stats


def test_the_cliff() -> None:
    """With 60 tokens in common, blocks of 32 keep half of the hits and blocks of 64 none."""
    prompts = system_prompt()
    assert largest_block(prompts, (8, 16, 32, 64, 128), 0.5) == 32
    assert largest_block(prompts, (8, 16, 32, 64, 128), 0.9) == 8
    with pytest.raises(ValueError, match=r".+"):
        largest_block(prompts, (64, 128), 0.1)


def test_a_larger_block_can_find_more() -> None:
    """60 tokens in common: blocks of 20 find all of them, blocks of 16 only 48."""
    assert largest_block(system_prompt(), (4, 16, 20, 64), 0.9) == 20


def test_reordering_gains_a_third() -> None:
    """Requests of three templates, mixed, and a cache for one prompt: your order finds at least 30% more."""
    prompts = examples()
    before = in_smallest_cache(prompts)
    after = in_smallest_cache(tuple(prompts[index] for index in order_for_reuse(prompts)))
    assert after.rate >= before.rate + 0.3


@pytest.mark.parametrize("seed", range(4))
def test_the_smallest_cache_finds_everything(seed: int) -> None:
    """In your order, a cache that holds one prompt finds as much as an unlimited one."""
    prompts = random_tree(seed)
    order = order_for_reuse(prompts)
    assert sorted(order) == list(range(len(prompts)))
    inorder = tuple(prompts[index] for index in order)
    assert in_smallest_cache(inorder).hits == predicted(inorder, BLOCK, "hash").hits


def test_equal_prompts_keep_their_order() -> None:
    """The first of equal prompts stays first."""
    assert order_for_reuse([(7, 7), (5, 5), (7, 7), (5, 5)]) == [1, 3, 0, 2]


def random_tree(seed: int) -> Prompts:
    """Return 24 shuffled prompts: two system prompts, two or three documents behind each, questions behind those."""
    random = Random(seed)
    prompts = [
        text(system, 32) + text(20 + random.randrange(3), 48) + text(40 + number, random.randrange(5, 30))
        for number, system in enumerate([1, 2] * 12)
    ]
    random.shuffle(prompts)
    return tuple(prompts)


@cache
def served(workload: str, kind: str) -> tuple[list[dict[str, Any]], Hits]:
    return serve(WORKLOADS[workload](), kind, num_blocks=512)


def in_smallest_cache(prompts: Prompts) -> Hits:
    longest = max(map(len, prompts))
    return serve(prompts, "hash", num_blocks=-(-(longest + 1) // BLOCK))[1]


@cache
def serve(prompts: Prompts, kind: str, num_blocks: int) -> tuple[list[dict[str, Any]], Hits]:
    """Serve the prompts one after another, and return the trace's events and the engine's counters."""
    return run(prompts, 1, one_by_one=True, prefix_cache=kind, num_gpu_blocks_override=num_blocks)


@cache
def preempting() -> tuple[list[dict[str, Any]], Hits]:
    prompts = tuple(text(0, 20) + text(number, 30) for number in range(1, 5))
    return run(prompts, 60, one_by_one=False, prefix_cache="hash", num_gpu_blocks_override=14)


def run(prompts: Prompts, num_new: int, *, one_by_one: bool, **settings: Any) -> tuple[list[dict[str, Any]], Hits]:
    from tempfile import TemporaryDirectory

    from llm_engine import Engine, EngineConfig, SamplingParams

    longest = max(map(len, prompts)) + num_new
    with TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.jsonl"
        config = EngineConfig(
            str(MODELS / "zoo" / "llama"), trace=str(trace), block_size=BLOCK, max_model_len=longest,
            attention_backend="torch", **settings,
        )  # fmt: skip
        engine = Engine(config)
        params = SamplingParams(temperature=0, max_tokens=num_new, ignore_eos=True)
        for number, prompt in enumerate(prompts):
            engine.add_request(str(number), list(prompt), params)
            while one_by_one and engine.has_work:
                engine.step()
        while engine.has_work:
            engine.step()
        events = [json.loads(line) for line in trace.read_text(encoding="utf-8").splitlines()]
    return events, Hits(engine.kv_cache.stats.queries, engine.kv_cache.stats.hits)
