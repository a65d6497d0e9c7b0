"""Verification keeps the distribution: exact counts on small cases, a statistical test on random ones."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from llm_engine.operators.rejection import Draft, accept, accept_greedy

VOCABULARY = 6


@pytest.mark.parametrize(
    ("best", "drafts", "expected"),
    [([5], [], [5]), ([5, 6], [5], [5, 6]), ([5, 6], [4], [5]), ([1, 2, 3], [1, 9], [1, 2]), ([1, 2, 3], [9, 2], [1])],
)
def test_greedy_keeps_drafts_up_to_the_first_wrong_one(best: list[int], drafts: list[int], expected: list[int]) -> None:
    assert accept_greedy(best, drafts) == expected


def distribution(seed: int, rows: int) -> Tensor:
    return torch.randn(rows, VOCABULARY, generator=torch.Generator().manual_seed(seed)).mul(1.5).softmax(-1)


def test_a_draft_as_likely_as_the_model_says_is_always_accepted() -> None:
    p = distribution(0, 3)
    counts, finals = accept(p, [Draft(0, [1, 4], p[:2])], [0.999, 0.999])
    assert counts == [2]
    assert torch.equal(finals[0], p[2])


def test_a_draft_the_model_excludes_is_never_accepted_nor_drawn_instead() -> None:
    p = torch.tensor([[0.0, 0.5, 0.5], [1.0, 0.0, 0.0]])
    counts, finals = accept(p, [Draft(0, [0], None)], [0.0])
    assert counts == [0]
    assert finals.tolist() == [[0.0, 0.5, 0.5]]


def test_each_draft_reads_its_own_rows_and_numbers() -> None:
    p = torch.eye(3)[[0, 1, 2, 0, 1]]
    drafts = [Draft(0, [0, 2], None), Draft(3, [], None), Draft(4, [], None)]
    counts, finals = accept(p, drafts, [0.5, 0.5])
    assert counts == [1, 0, 0]
    assert finals.tolist() == [[0, 1, 0], [1, 0, 0], [0, 1, 0]]


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**6), looked_up=st.booleans())
def test_the_first_token_is_distributed_as_without_drafts(seed: int, looked_up: bool) -> None:
    """P(token) = q(token) accepted + rejected and drawn from the rest; 5,000 draws, five standard deviations."""
    count = 5_000
    generator = torch.Generator().manual_seed(seed)
    p, q = distribution(seed, 2), distribution(seed + 1, 1)
    proposals = (
        torch.full((count,), seed % VOCABULARY)
        if looked_up
        else torch.multinomial(q[0], count, replacement=True, generator=generator)
    )
    uniforms = torch.rand(count, generator=generator).tolist()
    drafts = [Draft(0, [token], None if looked_up else q) for token in proposals.tolist()]
    accepted, finals = accept(p, drafts, uniforms)
    drawn = torch.multinomial(finals, 1, generator=generator).squeeze(1)
    first = torch.where(torch.tensor(accepted) == 1, proposals, drawn)
    observed = torch.bincount(first, minlength=VOCABULARY) / count
    assert ((observed - p[0]).abs() <= 5 * (p[0] * (1 - p[0]) / count).sqrt()).all()
