"""The facts that only a trace needs: preemptions with their times, chunks of prompts, drafts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llm_engine import Engine, EngineConfig, SamplingParams
from llm_engine.observers.progress import ProgressObserver
from llm_engine.scheduler.sequence import Progress, Sequence

GREEDY = {"temperature": 0.0, "ignore_eos": True}


def make_engine(models: Path, **settings: Any) -> Engine:
    config = EngineConfig(str(models / "zoo" / "llama"), **{"num_gpu_blocks_override": 256, **settings})
    return Engine(config, [ProgressObserver()])


def traced(engine: Engine, name: str, prompt: list[int], **params: object) -> Sequence:
    prepared = engine.prepare(prompt, SamplingParams(**{**GREEDY, **params}))  # type: ignore[arg-type]
    prepared.sequence.progress = Progress()
    engine.enqueue(name, prepared)
    return prepared.sequence


def run(engine: Engine) -> None:
    while engine.has_work:
        engine.step()


def test_a_chunked_prompt_counts_its_steps(models: Path) -> None:
    engine = make_engine(models, max_num_batched_tokens=16, max_num_seqs=4)
    sequence = traced(engine, "a", list(range(3, 43)), max_tokens=3)
    untraced = engine.prepare(list(range(3, 43)), SamplingParams(max_tokens=3))
    engine.enqueue("b", untraced)
    run(engine)
    assert sequence.progress is not None
    assert sequence.progress.num_prefill_steps == 3, "40 tokens, 16 in a step"
    assert sequence.progress.events == []
    assert untraced.sequence.progress is None


def test_a_preemption_and_its_end_have_their_times(models: Path) -> None:
    engine = make_engine(models, max_model_len=96, num_gpu_blocks_override=6, enable_prefix_caching=False)
    sequences = [traced(engine, name, list(range(3, 33)), max_tokens=40) for name in "ab"]
    run(engine)
    assert engine.num_preemptions
    victims = [sequence for sequence in sequences if sequence.num_preemptions]
    for sequence in victims:
        assert sequence.progress is not None
        names = [name for name, _ in sequence.progress.events]
        assert names == ["preempted", "resumed"] * sequence.num_preemptions
        times = [moment for _, moment in sequence.progress.events]
        assert times == sorted(times)
        assert sequence.last_token_time is not None
        assert sequence.arrival_time < times[0] <= times[-1] < sequence.last_token_time


def test_drafts_are_counted(models: Path) -> None:
    speculative = {"method": "ngram", "num_speculative_tokens": 2}
    engine = make_engine(models, speculative_config=speculative)
    sequence = traced(engine, "a", [5, 6, 7] * 8, max_tokens=24)
    run(engine)
    assert engine.speculation is not None
    assert sequence.progress is not None
    assert sequence.progress.num_drafts == engine.speculation.stats.num_draft_tokens > 0
    assert sequence.progress.num_accepted_drafts == sum(engine.speculation.stats.accepted_by_position)
