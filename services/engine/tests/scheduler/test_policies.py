"""Policies: an engine with other policies serves the same tokens in another order."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

from llm_engine import Engine, EngineConfig, SamplingParams
from llm_engine.scheduler.policies import Policies
from llm_engine.scheduler.sequence import Sequence


def make(models: Path, policies: Policies, **settings: int) -> Engine:
    config = EngineConfig(str(models / "zoo" / "llama"), check_invariants=True, **settings)  # type: ignore[arg-type]
    return Engine(config, policies=policies)


def test_another_order(models: Path) -> None:
    def shortest_first(sequence: Sequence) -> tuple[int, ...]:
        return (sequence.num_prompt_tokens, sequence.arrival)

    engine = make(models, Policies(order=shortest_first), max_num_seqs=1, num_gpu_blocks_override=256)
    for request_id, size in (("long", 30), ("short", 2), ("middle", 9)):
        engine.add_request(request_id, [5] * size, SamplingParams(max_tokens=1))
    finished = []
    while engine.has_work:
        finished += [output.request_id for output in engine.step()]
    assert finished == ["short", "middle", "long"]


def test_another_victim_and_another_eviction(models: Path) -> None:
    evicted: list[int] = []

    def most_recent(cached: OrderedDict[int, None]) -> int:
        evicted.append(next(reversed(cached)))
        return evicted[-1]

    victims: list[int] = []

    def oldest(running, order):  # type: ignore[no-untyped-def]
        victim = min(running, key=order)
        victims.append(victim.arrival)
        return victim

    engine = make(
        models, Policies(select_victim=oldest, evict=most_recent),
        num_gpu_blocks_override=12, block_size=4, max_model_len=48,
    )  # fmt: skip
    for index in range(4):
        engine.add_request(str(index), [index + 1] * 15, SamplingParams(max_tokens=20, ignore_eos=True))
    while engine.has_work:
        engine.step()
    assert evicted
    assert victims[0] == 0
    assert engine.num_preemptions == len(victims)
