"""Speculation changes only the speed: greedy tokens are the same, and drawn ones have the same distribution."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from torch import Tensor

from llm_engine import LLM, Engine, EngineConfig, SamplingParams
from llm_engine.errors import EngineError, ModelError
from llm_engine.execution.transfer import HostCopy
from llm_engine.metrics import EngineMetrics
from llm_engine.sampling.sampler import Sampled
from llm_engine.scheduler.sequence import Sequence
from llm_engine.speculation import draft_model
from llm_engine.speculation.speculation import Speculation, SpeculativeConfig, propose_ngram

MakeEngine = Callable[..., Engine]


def sequence(tokens: list[int], **params: Any) -> Sequence:
    item = Sequence("s", tokens[:1], SamplingParams(**params))
    item.token_ids = list(tokens)
    item.num_computed_tokens = len(tokens) - 1
    return item


@pytest.mark.parametrize(
    ("tokens", "guesses"),
    [
        ([1, 2, 3, 4, 1, 2], [3, 4, 1]),
        ([1, 2, 9, 1, 2, 8, 1, 2], [8, 1, 2]),  # the latest occurrence
        ([5, 1, 2, 3, 7, 2, 3, 8, 1, 2, 3], [7, 2, 3]),  # the longest run
        ([1, 1, 1, 1], [1]),
        ([1, 2, 3], []),
        ([256, 1, 256], []),  # a run of one token is too short
        ([1], []),
    ],
)
def test_what_followed_last_time_is_guessed(tokens: list[int], guesses: list[int]) -> None:
    assert propose_ngram(sequence(tokens), 3, longest=3, shortest=2) == guesses


@settings(max_examples=300, deadline=None)
@given(tokens=st.lists(st.integers(0, 3) | st.sampled_from([256, 65536]), min_size=1, max_size=40))
def test_ngrams_by_brute_force(tokens: list[int]) -> None:
    def search() -> list[int]:
        for size in range(min(4, len(tokens) - 1), 1, -1):
            for start in range(len(tokens) - size - 1, -1, -1):
                if tokens[start : start + size] == tokens[-size:]:
                    return tokens[start + size : start + size + 5]
        return []

    assert propose_ngram(sequence(tokens), 5, longest=4, shortest=2) == search()


@pytest.mark.parametrize(
    ("most", "params", "count"),
    [
        (100, {}, 4),
        (10, {}, 3),  # the step itself yields one of the 4 that are left
        (7, {}, 0),
        (100, {"presence_penalty": 1.0}, 0),
        (100, {"bad_words": ("a",)}, 0),
    ],
)
def test_no_guesses_past_the_end_or_where_logits_depend_on_them(most: int, params: dict[str, Any], count: int) -> None:
    item = sequence([1, 2, 3, 4, 5, 6], **params)
    item.max_num_tokens = most
    Speculation(lambda item, count: [0] * count, 4).prepare([item])
    assert len(item.draft_token_ids) == count


def test_acceptance_is_counted_by_position() -> None:
    speculation = Speculation(lambda item, count: [], 3)
    item = sequence([1, 2])
    speculation.observe([Sampled(item, [1], None, 3), Sampled(item, [1, 2, 3], None, 3), Sampled(item, [1], None, 0)])
    stats = speculation.stats
    assert (stats.num_drafts, stats.num_draft_tokens, stats.accepted_by_position) == (2, 6, [1, 1, 0])


def draft_config(models: Path, count: int) -> dict[str, Any]:
    return {"model": str(models / "draft"), "num_speculative_tokens": count}


NGRAM = {"method": "ngram", "num_speculative_tokens": 4}


@pytest.mark.parametrize("way", ["roomy", "preempted"])
@pytest.mark.parametrize("method", ["ngram", "draft", "right"])
def test_greedy_tokens_are_the_same(models: Path, heldout: str, method: str, way: str) -> None:
    """With the method `right`, the draft model is the main model, so every guess is accepted."""
    model = str(models / "main")
    ways: dict[str, dict[str, Any]] = {
        "roomy": {"num_gpu_blocks_override": 300},
        "preempted": {
            "num_gpu_blocks_override": 64,
            "block_size": 4,
            "max_model_len": 256,
            "max_num_batched_tokens": 48,
        },
    }
    config = {"ngram": NGRAM, "draft": draft_config(models, 3), "right": {"model": model, "num_speculative_tokens": 3}}
    shared = {"max_num_seqs": 8, "check_invariants": True, **ways[way]}
    plain = LLM(model, **shared)
    ids = plain.engine.tokenizer.encode(heldout[:8000])
    prompts = [ids[start : start + 3 + start // 16] for start in range(0, 960, 120)]
    params = [SamplingParams(temperature=0, max_tokens=40, n=1 + index % 2) for index in range(len(prompts))]
    expected = plain.generate(prompts, params, use_tqdm=False)
    guessing = LLM(model, speculative_config=config[method], **shared)
    for _ in range(2):  # the second time with a prefix cache
        outputs = guessing.generate(prompts, params, use_tqdm=False)
        for output, want in zip(outputs, expected, strict=True):
            assert [answer.token_ids for answer in output.outputs] == [answer.token_ids for answer in want.outputs]
            assert [answer.text for answer in output.outputs] == [answer.text for answer in want.outputs]
    assert guessing.engine.speculation is not None
    stats = guessing.engine.speculation.stats
    assert sum(stats.accepted_by_position) > 0
    if method == "right" and way == "roomy":
        assert sum(stats.accepted_by_position) == stats.num_draft_tokens
    if way == "preempted":
        assert guessing.engine.num_preemptions > 0
    assert guessing.engine.scheduler.kv_cache.pool.num_available == guessing.engine.num_blocks


@pytest.mark.parametrize("method", ["ngram", "draft"])
def test_drawn_tokens_are_distributed_the_same(models: Path, method: str) -> None:
    """The third token of 1,500 answers with and without guesses: two-sample chi-square under its 99.99 % quantile."""
    config = {"method": "ngram", "num_speculative_tokens": 2, "prompt_lookup_min": 1}
    settings: dict[str, Any] = {"max_num_seqs": 128, "max_num_batched_tokens": 1024, "num_gpu_blocks_override": 512}
    counts, accepted = [], 0
    for speculative in (None, config if method == "ngram" else draft_config(models, 2)):
        llm = LLM(str(models / "zoo" / "llama"), max_model_len=64, seed=7, speculative_config=speculative, **settings)
        prompt = llm.engine.tokenizer.encode("self.a = a\n        self.b = b\n        self.")
        params = SamplingParams(temperature=0.9, top_k=3, max_tokens=4, ignore_eos=True)
        outputs = llm.generate([prompt] * 1500, params, use_tqdm=False)
        counts.append(Counter(output.token_ids[2] for output in outputs))
        if llm.engine.speculation is not None:
            accepted = sum(llm.engine.speculation.stats.accepted_by_position)
    assert accepted > 150
    tokens = [token for token, count in (counts[0] + counts[1]).items() if count >= 20]
    chi_square = sum((counts[0][t] - counts[1][t]) ** 2 / (counts[0][t] + counts[1][t]) for t in tokens)
    degrees = len(tokens) - 1
    assert degrees >= 2
    # Wilson and Hilferty's approximation of the quantile.
    assert chi_square < degrees * (1 - 2 / (9 * degrees) + 3.719 * (2 / (9 * degrees)) ** 0.5) ** 3


def test_a_stop_among_accepted_guesses_cuts_the_rest(models: Path) -> None:
    model = str(models / "zoo" / "llama")
    shared: dict[str, Any] = {"num_gpu_blocks_override": 256, "check_invariants": True}
    plain, guessing = LLM(model, **shared), LLM(
        model, speculative_config={"model": model, "num_speculative_tokens": 5}, **shared
    )
    prompt = plain.engine.tokenizer.encode("import os\n")
    free = plain.generate(prompt, SamplingParams(temperature=0, max_tokens=20), use_tqdm=False)[0]
    for stop in {free.token_ids[3], free.token_ids[6], free.token_ids[11]}:
        params = SamplingParams(temperature=0, max_tokens=20, stop_token_ids=(stop,), logprobs=1)
        want, got = (llm.generate(prompt, params, use_tqdm=False)[0] for llm in (plain, guessing))
        assert (got.token_ids, got.text, got.finish_reason) == (want.token_ids, want.text, want.finish_reason)
        assert got.outputs[0].logprobs is not None
        assert [next(iter(at)) for at in got.outputs[0].logprobs] == got.token_ids
    assert guessing.engine.scheduler.kv_cache.pool.num_available == 256


def test_the_guesses_of_all_rounds_are_read_at_once(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A prompt, which guesses nothing, a greedy request and a drawn one that ends earlier, in the same steps."""
    copies: list[int] = []

    class Copy(HostCopy):
        def __init__(self, *tensors: Tensor) -> None:
            copies.extend(len(tensor) for tensor in tensors)
            super().__init__(*tensors)

    monkeypatch.setattr(draft_model, "HostCopy", Copy)
    zoo = models / "zoo" / "llama"
    config = EngineConfig(str(zoo), num_gpu_blocks_override=256, speculative_config=draft_config(models, 4))
    engine = Engine(config)
    engine.add_request("a", [5, 6], SamplingParams(temperature=0, max_tokens=100, ignore_eos=True))
    engine.add_request("b", [7, 8], SamplingParams(temperature=1, top_k=5, max_tokens=4, ignore_eos=True))
    engine.step()
    engine.add_request("c", [9] * 40, SamplingParams(temperature=0, max_tokens=100, ignore_eos=True))
    assert copies == []
    engine.step()
    assert copies == [4 + 2]


def test_metrics_by_position_exist_only_where_it_speculates(models: Path) -> None:
    texts = []
    for config in (None, NGRAM):
        metrics = EngineMetrics("m")
        engine = Engine(
            EngineConfig(str(models / "zoo" / "llama"), num_gpu_blocks_override=256, speculative_config=config),
            [metrics],
        )
        engine.add_request("a", [5, 6] * 20, SamplingParams(temperature=0, max_tokens=30, ignore_eos=True))
        while engine.has_work:
            engine.step()
        texts.append(metrics.render().decode())
    assert "spec_decode" not in texts[0]
    values = {
        (sample.name, sample.labels.get("position")): sample.value
        for family in text_string_to_metric_families(texts[1])
        for sample in family.samples
        if "spec_decode" in sample.name
    }
    prefix = "vllm:spec_decode_num"
    by_position = [values[f"{prefix}_accepted_tokens_per_pos_total", str(position)] for position in range(4)]
    assert sum(by_position) == values[f"{prefix}_accepted_tokens_total", None] > 0
    assert values[f"{prefix}_drafts_total", None] >= by_position[0]
    assert values[f"{prefix}_draft_tokens_total", None] >= sum(by_position)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({}, "lacks num_speculative_tokens"),
        ({"num_speculative_tokens": 0}, "at least 1"),
        ({"num_speculative_tokens": 2, "tokens": 3}, "unknown tokens"),
        ({"num_speculative_tokens": 2, "method": "medusa"}, "must be ngram or draft_model"),
        ({"num_speculative_tokens": 2, "method": "draft_model"}, "needs a model"),
        ({"num_speculative_tokens": 2, "prompt_lookup_min": 5}, "prompt_lookup_min"),
    ],
)
def test_wrong_settings_are_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(EngineError, match=message):
        SpeculativeConfig.parse(config)


def test_what_does_not_fit_together_is_refused(models: Path, tmp_path: Path) -> None:
    model = str(models / "zoo" / "llama")
    with pytest.raises(EngineError, match="with 30 guesses each"):
        Engine(EngineConfig(model, speculative_config={"num_speculative_tokens": 30}))
    config = (models / "draft" / "config.json").read_text(encoding="utf-8")
    (tmp_path / "config.json").write_text(config.replace('"vocab_size": 4096', '"vocab_size": 50'))
    with pytest.raises(ModelError, match="50 tokens, the model 4096"):
        Engine(EngineConfig(model, speculative_config={"model": str(tmp_path), "num_speculative_tokens": 2}))
