"""CUDA graphs as far as a CPU can test them: sizes, padding, fixed inputs. Here a capture just calls the function."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from llm_engine import LLM, SamplingParams
from llm_engine.execution.batch import Batch
from llm_engine.execution.graphs import LONGEST_QUERY, DecodeGraphs, Run, sizes_up_to

CPU = torch.device("cpu")


def decodes(count: int, blocks: int = 2) -> Batch:
    ones = torch.ones(count, dtype=torch.int64)
    tables = torch.full((count, blocks), 3)
    starts = torch.arange(count + 1)
    return Batch(
        token_ids=ones * 7,
        positions=ones * 9,
        slots=ones * 5,
        block_tables=tables,
        context_lens=ones * 10,
        query_starts=starts,
        query_lens=[1] * count,
        max_context_len=10,
        has_placeholders=False,
        logit_rows=None,
        wanted=[],
    )


def recorded(seen: list[Batch]) -> Callable[[Batch], Tensor]:
    def forward(batch: Batch) -> Tensor:
        seen.append(batch)
        return batch.token_ids.float().unsqueeze(1)

    return forward


@pytest.mark.parametrize(
    ("largest", "sizes"),
    [
        (1, [1]),
        (2, [1, 2]),
        (3, [1, 2, 3]),
        (8, [1, 2, 4, 8]),
        (20, [1, 2, 4, 8, 16, 20]),
        (32, [1, 2, 4, 8, 16, 24, 32]),
    ],
)
def test_sizes_cost_at_most_seven_rows_of_padding(largest: int, sizes: list[int]) -> None:
    assert sizes_up_to(largest) == sizes


def test_a_batch_is_padded_with_rows_that_write_and_read_nothing() -> None:
    seen: list[Batch] = []
    graphs = DecodeGraphs(recorded(seen), lambda run: run, 16, max_model_len=40, block_size=8, device=CPU)
    graphs(decodes(8))
    logits = graphs(decodes(5))
    assert logits.shape == (5, 1)
    assert seen[-1].query_lens == [1] * 8
    assert seen[-1].slots.tolist() == [5] * 5 + [-1] * 3
    assert seen[-1].context_lens.tolist() == [10] * 5 + [0] * 3
    assert seen[-1].block_tables[:5, :2].eq(3).all()
    assert seen[-1].query_starts.tolist() == list(range(9))
    assert seen[-1].max_context_len == 40


def test_every_size_is_recorded_once_the_largest_first_on_one_memory() -> None:
    seen: list[Batch] = []
    order: list[int] = []

    def capture(run: Run) -> Run:
        order.append(len(run()))
        return run

    DecodeGraphs(recorded(seen), capture, 8, max_model_len=40, block_size=8, device=CPU)
    assert order == [8, 4, 2, 1]
    assert len({batch.token_ids.data_ptr() for batch in seen}) == 1


def test_guesses_are_decodes_with_one_token_more_in_their_context_each() -> None:
    seen: list[Batch] = []
    graphs = DecodeGraphs(recorded(seen), lambda run: run, 8, max_model_len=40, block_size=8, device=CPU)
    tables = torch.tensor([[1, 2], [3, 4]])
    positions, starts, contexts = torch.tensor([9, 4, 5, 6]), torch.tensor([0, 1, 4]), torch.tensor([10, 7])
    tokens = torch.tensor([20, 21, 22, 23])
    rows = torch.tensor([0, 2, 3])
    logits = graphs(
        Batch(
            token_ids=tokens,
            positions=positions,
            slots=positions,
            block_tables=tables,
            context_lens=contexts,
            query_starts=starts,
            query_lens=[1, 3],
            max_context_len=10,
            has_placeholders=False,
            logit_rows=rows,
            wanted=[],
        )
    )
    assert logits.tolist() == [[20], [22], [23]]
    assert seen[-1].query_lens == [1] * 4
    assert seen[-1].context_lens.tolist() == [10, 5, 6, 7]
    assert seen[-1].block_tables[:, :2].tolist() == [[1, 2], [3, 4], [3, 4], [3, 4]]


def test_what_is_too_much_is_computed_as_it_is() -> None:
    seen: list[Batch] = []
    graphs = DecodeGraphs(recorded(seen), lambda run: run, 20, max_model_len=40, block_size=8, device=CPU)
    chunk, too_many = decodes(LONGEST_QUERY + 1), decodes(21)
    chunk.query_lens, chunk.query_starts = [LONGEST_QUERY + 1], torch.tensor([0, LONGEST_QUERY + 1])
    for batch in (chunk, too_many):
        graphs(batch)
        assert seen[-1] is batch


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen3"])
@pytest.mark.parametrize("guesses", [None, {"method": "ngram", "num_speculative_tokens": 3, "prompt_lookup_min": 1}])
def test_tokens_are_the_same_through_graphs(
    models: Path, heldout: str, family: str, guesses: dict[str, Any] | None
) -> None:
    folder = str(models / "zoo" / family)
    settings = {"num_gpu_blocks_override": 100, "max_model_len": 256, "max_num_seqs": 6, "check_invariants": True}
    plain = LLM(folder, **settings)
    graphed = LLM(
        folder,
        attention_backend="triton",
        async_scheduling=guesses is None,
        speculative_config=guesses,
        **settings,
    )
    runner = graphed.engine._runner
    runner._forward = DecodeGraphs(runner._forward, lambda run: run, 24, max_model_len=256, block_size=16, device=CPU)
    ids = plain.engine.tokenizer.encode(heldout[:2000])
    prompts = [ids[start : start + 5 + start // 4] for start in range(0, 360, 40)]
    params = [SamplingParams(temperature=0, max_tokens=4 + 3 * index, ignore_eos=True) for index in range(len(prompts))]
    expected, outputs = (llm.generate(prompts, params, use_tqdm=False) for llm in (plain, graphed))
    assert [output.token_ids for output in outputs] == [output.token_ids for output in expected]
