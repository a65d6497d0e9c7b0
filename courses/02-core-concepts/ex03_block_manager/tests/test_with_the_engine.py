"""Your block manager serves a model: the engine runs with it, tokens and all."""

from __future__ import annotations

from llm_course.exercises import overlay
from llm_course.paths import MODELS

Prompts = dict[str, tuple[list[int], int]]
"""Request -> its prompt, and how many answers it wants."""
SHARED = [9, 8, 7, 6, 5, 4, 3, 2]
PROMPTS: Prompts = {str(index): (SHARED + [index + 1] * 4, 1 + index % 2) for index in range(5)}


def answers(prompts: Prompts, **settings: int) -> tuple[dict[str, list[int]], int, int]:
    """Return each answer's tokens, the number of preemptions, and the prompt tokens that were found."""
    from llm_engine import Engine, EngineConfig, SamplingParams

    model = str(MODELS / "zoo" / "llama")
    engine = Engine(EngineConfig(model, check_invariants=True, attention_backend="torch", max_model_len=48, **settings))
    for name, (prompt, n) in prompts.items():
        params = SamplingParams(temperature=0.8, seed=3, n=n, max_tokens=20, ignore_eos=True)
        engine.add_request(name, prompt, params)
    found: dict[str, list[int]] = {}
    while engine.has_work:
        for output in engine.step():
            found.setdefault(f"{output.request_id}/{output.index}", []).extend(output.token_ids)
    assert engine.kv_cache.pool.num_available == engine.num_blocks, "blocks are lost"
    return found, engine.num_preemptions, engine.kv_cache.stats.hits


def test_the_engine_writes_the_same_tokens_with_your_manager() -> None:
    """With your manager and memory for two requests, the engine writes token for token what it writes with its own."""
    with overlay.PLAIN.active():
        expected, _, _ = answers(PROMPTS, num_gpu_blocks_override=256, block_size=4)
    found, preemptions, hits = answers(PROMPTS, num_gpu_blocks_override=12, block_size=4)
    assert found == expected
    assert preemptions > 0, "the memory was meant to be too small"
    assert hits > 0, "the shared prefix is not found"
