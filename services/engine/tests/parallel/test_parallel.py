"""A model in several processes writes the same tokens as in one: every family, tensor and pipeline parallel."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from llm_engine import LLM, EngineConfig, SamplingParams
from llm_engine.checkpoint.families import parse_config
from llm_engine.checkpoint.folder import read_json
from llm_engine.errors import ModelError
from llm_engine.execution.graphs import DecodeGraphs
from llm_engine.parallel import rank, workers
from llm_engine.parallel.rank import Setup
from llm_engine.parallel.sharding import Shard
from llm_engine.startup import load
from llm_engine.testing.parts import prepare_by_calling

FAMILIES = ("llama", "mistral", "qwen2", "qwen3", "gemma", "phi3")
TIGHT: dict[str, Any] = {"num_gpu_blocks_override": 40, "block_size": 8, "max_model_len": 320, "num_cpu_blocks": 20}


@pytest.fixture
def forked_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fork the ranks from a process that has imported torch, which each would take seconds for.

    The tests without this fixture start them as the product does.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([rank.__name__])
    monkeypatch.setattr(
        workers, "multiprocessing", SimpleNamespace(get_context=lambda method: context, Pipe=context.Pipe)
    )


@contextmanager
def opened(model: Path, **settings: Any) -> Iterator[LLM]:
    llm = LLM(str(model), **{"num_gpu_blocks_override": 300, "check_invariants": True, **settings})
    try:
        yield llm
    finally:
        llm.engine.close()


def greedy(llm: LLM, text: str) -> list[list[list[int]]]:
    ids = llm.engine.tokenizer.encode(text[:8000])
    prompts = [ids[start : start + size] for start, size in ((0, 1), (100, 33), (200, 150), (300, 70))]
    params = [SamplingParams(temperature=0, max_tokens=24, min_tokens=24, n=1 + index % 2) for index in range(4)]
    outputs = llm.generate(prompts, params, use_tqdm=False)
    return [[answer.token_ids for answer in output.outputs] for output in outputs]


@cache
def tokens_of_one_rank(model: Path, text: str) -> list[list[list[int]]]:
    with opened(model) as llm:
        return greedy(llm, text)


@pytest.mark.usefixtures("forked_ranks")
@pytest.mark.parametrize(
    ("family", "tensor", "stages"),
    [*((family, 2, 1) for family in FAMILIES), *((family, 1, 2) for family in FAMILIES), ("llama", 2, 2)],
)
def test_greedy_tokens_equal_those_of_one_rank(
    models: Path, heldout: str, family: str, tensor: int, stages: int
) -> None:
    model = models / "zoo" / family
    sizes = {"tensor_parallel_size": tensor, "pipeline_parallel_size": stages}
    with opened(model, **sizes, **TIGHT) as llm:
        assert greedy(llm, heldout) == tokens_of_one_rank(model, heldout)
        assert llm.engine.num_preemptions > 0


@pytest.mark.usefixtures("forked_ranks")
@pytest.mark.parametrize("sizes", [{"tensor_parallel_size": 2}, {"pipeline_parallel_size": 2}])
def test_a_step_is_launched_before_the_one_before_is_read(models: Path, heldout: str, sizes: dict[str, int]) -> None:
    model = models / "zoo" / "llama"
    with opened(model, async_scheduling=True, **sizes, **TIGHT) as llm:
        assert greedy(llm, heldout) == tokens_of_one_rank(model, heldout)


@pytest.mark.usefixtures("forked_ranks")
@pytest.mark.parametrize("ranks", [2, 4])
def test_graphs_hold_the_collectives_of_all_ranks(
    models: Path, heldout: str, monkeypatch: pytest.MonkeyPatch, ranks: int
) -> None:
    """As on GPUs: decodes replay graphs, which call here what they have captured, and steps overlap."""
    monkeypatch.setattr(load, "prepare", prepare_by_calling)
    monkeypatch.setattr(workers, "Setup", partial(Setup, prepare=prepare_by_calling))
    model = models / "main"
    with opened(model, tensor_parallel_size=ranks, async_scheduling=True, attention_backend="triton") as llm:
        assert isinstance(llm.engine._runner._forward, DecodeGraphs)
        assert greedy(llm, heldout) == tokens_of_one_rank(model, heldout)


def test_four_tensor_ranks_share_two_kv_heads_and_guess(models: Path, heldout: str) -> None:
    model = models / "main"
    draft = {"model": str(models / "draft"), "num_speculative_tokens": 2}
    with opened(model, tensor_parallel_size=4, speculative_config=draft) as llm:
        assert greedy(llm, heldout) == tokens_of_one_rank(model, heldout)


def test_traffic_is_counted(models: Path) -> None:
    with opened(models / "zoo" / "llama", tensor_parallel_size=2) as llm:
        llm.generate([[5, 6, 7]], SamplingParams(temperature=0, max_tokens=3, ignore_eos=True), use_tqdm=False)
        workers = llm.engine._runner._workers
        assert workers is not None
        reduced = workers.collectives.traffic["all_reduce"]
        config = parse_config(read_json(models / "zoo" / "llama" / "config.json"))
        assert reduced.calls == 3 * 2 * config.num_layers
        assert reduced.num_bytes == (3 + 1 + 1) * 2 * config.num_layers * config.hidden_size * 4
        assert workers.collectives.traffic["gather"].calls == 3
        assert "gather: 3 calls" in workers.collectives.report()


def of_rank(rank: int, tensor: int, stages: int) -> Shard:
    return Shard.of_rank(rank, EngineConfig("m", tensor_parallel_size=tensor, pipeline_parallel_size=stages))


def test_parts_put_together_are_the_whole() -> None:
    tensor = torch.arange(24).view(12, 2)
    shards = [of_rank(rank, 3, 1) for rank in range(3)]
    assert torch.equal(torch.cat([shard.part(tensor) for shard in shards]), tensor)
    stages = [of_rank(rank, 2, 3) for rank in range(6)]
    assert [list(shard.layers(7)) for shard in stages[::2]] == [[0, 1], [2, 3], [4, 5, 6]]
    assert [shard.tensor_rank for shard in stages] == [0, 1, 0, 1, 0, 1]


def test_more_ranks_than_kv_heads_have_copies() -> None:
    heads = torch.arange(2).repeat_interleave(4)
    parts = [of_rank(rank, 4, 1).kv_part(heads, 2).tolist() for rank in range(4)]
    assert parts == [[0] * 4, [0] * 4, [1] * 4, [1] * 4]


@pytest.mark.parametrize(
    ("tensor", "stages", "message"), [(3, 1, "heads cannot be split in 3"), (1, 99, "cannot make 99 stages")]
)
def test_a_model_that_cannot_be_cut_so_is_refused(models: Path, tensor: int, stages: int, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        LLM(str(models / "zoo" / "llama"), tensor_parallel_size=tensor, pipeline_parallel_size=stages)
