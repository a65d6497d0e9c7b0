from __future__ import annotations

import pytest
import torch

from llm_engine.execution.batch import BatchBuilder, LogitRows
from llm_engine.sampling.params import SamplingParams
from llm_engine.scheduler.sequence import Sequence

CPU = torch.device("cpu")


def sequence(tokens: list[int], computed: int, blocks: list[int]) -> Sequence:
    item = Sequence("s", tokens, SamplingParams())
    item.num_computed_tokens, item.block_table = computed, blocks
    return item


@pytest.fixture
def builder() -> BatchBuilder:
    return BatchBuilder(max_num_seqs=4, max_tokens=32, max_model_len=16, block_size=4, device=CPU)


def test_decodes_come_first_and_chunks_in_order_of_length(builder: BatchBuilder) -> None:
    chunk = sequence([10, 11, 12, 13, 14, 15, 16], 2, [5, 3])
    decode = sequence([20, 21, 22], 2, [7])
    whole = sequence([30, 31, 32], 0, [1])
    batch = builder.build({chunk: 4, decode: 1, whole: 3}).to(CPU)
    assert batch.token_ids.tolist() == [22, 30, 31, 32, 12, 13, 14, 15]
    assert batch.positions.tolist() == [2, 0, 1, 2, 2, 3, 4, 5]
    assert batch.slots.tolist() == [30, 4, 5, 6, 22, 23, 12, 13]
    assert batch.query_lens == [1, 3, 4]
    assert batch.context_lens.tolist() == [3, 3, 6]
    assert batch.block_tables[2].tolist() == [5, 3]
    assert batch.wanted == [LogitRows(decode, 0, 0, 1), LogitRows(whole, 1, 0, 1)]  # the chunk is not at its end
    assert batch.logit_rows is not None
    assert batch.logit_rows.tolist() == [0, 3]


def test_of_equally_many_tokens_the_longest_context_comes_first(builder: BatchBuilder) -> None:
    items = [sequence([1] * length, length - 1, [7, 3, 1]) for length in (2, 9, 5)]
    batch = builder.build(dict.fromkeys(items, 1)).to(CPU)
    assert batch.context_lens.tolist() == [9, 5, 2]
    assert [rows.sequence for rows in batch.wanted] == [items[1], items[2], items[0]]


def test_if_every_token_samples_no_rows_are_picked(builder: BatchBuilder) -> None:
    items = [sequence([1, 2], 1, [block]) for block in (3, 4)]
    batch = builder.build(dict.fromkeys(items, 1)).to(CPU)
    assert [rows.sequence for rows in batch.wanted] == items
    assert batch.logit_rows is None


def test_a_chunk_of_one_token_in_the_middle_of_a_prompt_samples_nothing(builder: BatchBuilder) -> None:
    batch = builder.build({sequence([1, 2, 3], 0, [2]): 1}).to(CPU)
    assert batch.wanted == []
    assert batch.logit_rows is not None
    assert batch.logit_rows.tolist() == []


def test_drafts_follow_the_last_token_and_each_gets_logits(builder: BatchBuilder) -> None:
    drafted = sequence([1, 2, 3], 2, [4, 9])
    drafted.draft_token_ids = [50, 51]
    batch = builder.build({drafted: 3}).to(CPU)
    assert batch.token_ids.tolist() == [3, 50, 51]
    assert batch.slots.tolist() == [18, 19, 36]
    assert batch.wanted == [LogitRows(drafted, 0, 0, 3)]
    assert batch.logit_rows is None


def test_prompt_logprobs_want_every_row_of_the_prompt_until_they_are_known(builder: BatchBuilder) -> None:
    params = SamplingParams(prompt_logprobs=0)
    item = Sequence("s", [1, 2, 3, 4], params)
    item.block_table = [0]
    assert builder.build({item: 3}).wanted == [LogitRows(item, 0, 3, 0)]
    assert builder.build({item: 4}).wanted == [LogitRows(item, 0, 3, 1)]
    item.prompt_logprobs = [None, {}, {}, {}]
    assert builder.build({item: 4}).wanted == [LogitRows(item, 0, 0, 1)]


def test_a_row_follows_its_sequence_and_then_the_next_one(builder: BatchBuilder) -> None:
    first = sequence([1] * 9, 4, [5, 6])
    assert builder.build({first: 1}).to(CPU).block_tables[0].tolist() == [5, 6]
    first.num_computed_tokens, first.block_table = 8, [5, 6, 9]
    assert builder.build({first: 1}).to(CPU).block_tables[0].tolist() == [5, 6, 9]
    second = sequence([1] * 5, 4, [8, 7])
    assert builder.build({second: 1}).to(CPU).block_tables[0].tolist() == [8, 7]


def test_a_preempted_sequence_in_its_old_row_gets_its_new_blocks(builder: BatchBuilder) -> None:
    item = sequence([1] * 6, 4, [5, 6])
    builder.build({item: 1})
    item.table_version, item.num_computed_tokens, item.block_table = 1, 4, [2, 3]
    assert builder.build({item: 1}).to(CPU).block_tables[0].tolist() == [2, 3]
