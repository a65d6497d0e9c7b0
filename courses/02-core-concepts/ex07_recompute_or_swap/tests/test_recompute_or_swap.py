"""Counts on small traces, the model's arithmetic, and both against the engine and its recorded benchmark."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from random import Random
from typing import Any

import pytest
from exercise import Cost, Swap, Work, counted, crossover, explained, fitted, lost_blocks, swap_seconds

from llm_course.paths import MODELS, ROOT

REQUESTS, PROMPT, OUTPUT = 24, 200, 100
ROOM = REQUESTS * (PROMPT + OUTPUT) // 16 // 3
HOST_BLOCKS = 999
WAYS: dict[str, dict[str, Any]] = {
    "roomy": {"num_gpu_blocks_override": 3 * ROOM + 64},
    "recompute": {"num_gpu_blocks_override": ROOM},
    "recompute_without_prefix_cache": {"num_gpu_blocks_override": ROOM, "prefix_cache": "off"},
    "swap_without_prefix_cache": {
        "num_gpu_blocks_override": ROOM, "prefix_cache": "off", "num_cpu_blocks": HOST_BLOCKS,
    },
}  # fmt: skip
"""The settings of `services/engine/benchmarks/preemption.py`."""
LINK = Swap(layers=32, bytes_per_token=4096, seconds_per_copy=10e-6, bytes_per_second=50e9)
"""Llama-3-8B's KV in bfloat16 over a link like PCIe 5.0 x16, in round figures."""


def step(*sequences: tuple[str, int, int], copies: tuple[tuple[str, int, int], ...] = ()) -> dict[str, Any]:
    items = [{"id": name, "first_token": first, "num_tokens": count} for name, first, count in sequences]
    return {"event": "step", "sequences": items, "copies": [list(copy) for copy in copies]}


def test_work_without_preemption() -> None:
    """A prompt of 10 in two chunks, then two decodes: 12 tokens in 4 steps, none of them twice."""
    assert counted([step(("a", 0, 6)), step(("a", 6, 4)), step(("a", 10, 1)), step(("a", 11, 1))]) == Work(4, 12)


def test_a_step_that_computes_nothing_is_none() -> None:
    """A step without sequences runs no forward pass."""
    assert counted([step(), step(("a", 0, 3))]) == Work(1, 3)


def test_computed_again_in_chunks() -> None:
    """Preempted after 20 tokens and computed again in chunks of 12: 20 of these 24 are repetitions."""
    events = [step(("a", 0, 20)), step(("a", 0, 12), ("b", 0, 5)), step(("a", 12, 12))]
    assert counted(events) == Work(3, 49, again=20)


def test_what_the_cache_kept_is_not_computed_again() -> None:
    """Preempted after 20 tokens, of which the prefix cache kept 16: 4 are computed again."""
    assert counted([step(("a", 0, 20)), step(("a", 16, 5))]) == Work(2, 25, again=4)


def test_a_swapped_sequence_repeats_nothing() -> None:
    """Two blocks go out, two come back, and the sequence goes on where it stopped."""
    out = (("out", 4, 0), ("out", 5, 1))
    back = (("in", 0, 7), ("in", 1, 2))
    assert counted([step(("a", 0, 20)), step(("b", 0, 4), copies=out), step(("a", 20, 1), copies=back)]) == Work(
        3, 25, moved=4
    )


def test_copy_on_write_is_no_swap() -> None:
    """A copy from device to device does not cross the link."""
    assert counted([step(("a", 0, 4), copies=(("copy", 1, 2), ("out", 3, 0)))]) == Work(1, 4, moved=1)


def test_two_runs_give_the_cost() -> None:
    """2 ms a step and 50 µs a token come out of two runs that took what these cost."""
    truth, runs = Cost(2e-3, 50e-6), (Work(100, 4000), Work(300, 5000))
    cost = fitted(runs[0], truth.seconds(runs[0]), runs[1], truth.seconds(runs[1]))
    assert (round(1e6 * cost.per_step, 3), round(1e6 * cost.per_token, 3)) == (2000.0, 50.0)


def test_two_runs_alike_give_none() -> None:
    """Runs with the same number of tokens per step cannot tell the two costs apart."""
    with pytest.raises(ValueError, match=r".+"):
        fitted(Work(10, 40), 1.0, Work(20, 80), 2.0)


def test_the_loss_has_two_parts() -> None:
    """200 steps more and 1,000 tokens again, at 1 ms and 100 µs."""
    parts = explained(Work(100, 7000), Work(300, 8000, again=1000), Cost(1e-3, 1e-4))
    assert [round(part, 6) for part in parts] == [0.2, 0.1]


def test_a_swap_goes_both_ways() -> None:
    """One block of one layer: two copies of 1 s for the start and 1 s for the bytes."""
    assert swap_seconds(16, 16, Swap(1, 100, 1.0, 1600.0)) == 4.0


def test_whole_blocks_move() -> None:
    """17 tokens are two blocks of 16, in each of 3 layers."""
    assert swap_seconds(17, 16, Swap(3, 100, 1.0, 1600.0)) == 2 * 2 * 3 * 2.0


def test_small_blocks_are_slow_to_move() -> None:
    """1,024 tokens over the link: blocks of 1 take 14.3 times as long as blocks of 16."""
    assert round(swap_seconds(1024, 1, LINK) / swap_seconds(1024, 16, LINK), 1) == 14.3


def test_the_crossover() -> None:
    """1,024 tokens at 40 µs each: a swap wins from blocks of 32 on; at 0.5 µs it never does."""
    sizes = (128, 64, 32, 16, 8, 4, 2, 1)
    assert crossover(1024, sizes, LINK, 40e-6) == 32
    assert crossover(1024, sizes, LINK, 0.5e-6) is None


def test_a_faster_model_needs_larger_blocks() -> None:
    """The faster a token is computed, the larger a block must be for a swap to win."""
    sizes = [2**power for power in range(9)]
    found = [crossover(1024, sizes, LINK, seconds) for seconds in (600e-6, 100e-6, 20e-6)]
    assert found == [2, 8, 64]


def test_tokens_computed_twice(record_property: Callable[[str, object], None]) -> None:
    """In a cache for a third of the requests, every token beyond the roomy run's is one computed again."""
    roomy, tight = work("roomy"), work("recompute_without_prefix_cache")
    record_property("prediction", tight.again)
    assert tight.again == tight.tokens - roomy.tokens > 0
    assert roomy.tokens == REQUESTS * (PROMPT + OUTPUT - 1)


def test_a_swap_computes_nothing_twice() -> None:
    """With host memory the same run repeats no token, and moves as many blocks in as out."""
    swapped = work("swap_without_prefix_cache")
    assert (swapped.again, swapped.tokens) == (0, work("roomy").tokens)
    assert swapped.moved > 0 == swapped.moved % 2


def test_the_model_predicts_the_recorded_swap() -> None:
    """Fitted to two recorded runs, the model predicts the third, the swap, within 20%."""
    names = ("roomy", "recompute_without_prefix_cache", "swap_without_prefix_cache")
    roomy, tight, swapped = (work(name) for name in names)
    cost = fitted(roomy, recorded(names[0]), tight, recorded(names[1]))
    assert min(cost.per_step, cost.per_token) > 0
    assert cost.seconds(swapped) == pytest.approx(recorded(names[2]), rel=0.2)


def test_most_of_the_loss_is_not_recomputing() -> None:
    """The recorded loss is mostly steps with a small batch, which a swap does not give back."""
    roomy, tight = work("roomy"), work("recompute_without_prefix_cache")
    cost = fitted(roomy, recorded("roomy"), tight, recorded("recompute_without_prefix_cache"))
    steps, tokens = explained(roomy, tight, cost)
    assert steps + tokens == pytest.approx(recorded("recompute_without_prefix_cache") - recorded("roomy"))
    assert steps > 4 * tokens


@pytest.mark.parametrize("way", ["recompute", "swap_without_prefix_cache"])
def test_nothing_is_lost(way: str) -> None:
    """After all requests no block is lost, and one that is taken out of a free list is missed."""
    kv_cache = run(way).kv_cache
    host = WAYS[way].get("num_cpu_blocks", 0)
    assert lost_blocks(kv_cache, host) == (0, 0)
    homes = (kv_cache.pool.free, kv_cache.free_host_blocks)
    taken = [(home, home.pop()) for home in homes if home]
    missing = lost_blocks(kv_cache, host)
    for home, block in taken:
        home.append(block)
    assert missing == (int(homes[0] in [home for home, _ in taken]), int(host > 0))


def recorded(way: str) -> float:
    """Return the seconds of a recorded run."""
    results = json.loads((ROOT / "services/engine/results/preemption.json").read_text(encoding="utf-8"))
    return REQUESTS * OUTPUT / float(results[way]["output_tokens_per_second"])


def work(way: str) -> Work:
    return counted(run(way).steps)


@dataclass
class Recorder:
    """An observer that keeps those fields of a trace's steps that count here."""

    steps: list[dict[str, Any]] = field(default_factory=list)
    kv_cache: Any = None

    def watch(self, engine: Any) -> None:
        self.kv_cache = engine.kv_cache

    def launched(self, planned: Any, now: float) -> None:
        sequences = [(s.request_id, planned.starts[s], count) for s, count in planned.num_tokens.items()]
        copies = tuple((copy.move.name.lower(), copy.source, copy.target) for copy in planned.copies)
        self.steps.append(step(*sequences, copies=copies))

    def queued(self, sequence: Any) -> None: ...

    def computed(self, planned: Any, sampled: Any, now: float) -> None: ...

    def finished(self, sequence: Any) -> None: ...


@cache
def run(way: str) -> Recorder:
    """Run the benchmark's lengths. The schedule depends on these alone, so the smallest model does."""
    from llm_engine import Engine, EngineConfig, SamplingParams

    recorder, random = Recorder(), Random(1)
    config = EngineConfig(str(MODELS / "zoo" / "llama"), max_model_len=512, **WAYS[way])
    engine = Engine(config, observers=(recorder,))
    params = SamplingParams(temperature=0, max_tokens=OUTPUT, ignore_eos=True)
    for number in range(REQUESTS):
        engine.add_request(str(number), [random.randrange(10, 250) for _ in range(PROMPT)], params)
    while engine.has_work:
        engine.step()
    return recorder
