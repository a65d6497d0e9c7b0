"""The choices of a step of guesses on the device: those of `operators.rejection`, and with the right distribution."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from llm_engine.execution.batch import Batch
from llm_engine.execution.graphs import Forward
from llm_engine.operators.rejection import accept_greedy
from llm_engine.speculation.choices import Drawn, Likeliest, columns
from llm_engine.speculation.graphs import TABLE, Rounds

VOCABULARY, SAMPLES = 4, 60_000


@settings(max_examples=200, deadline=None)
@given(data=st.data(), count=st.integers(1, 4))
def test_greedy_acceptance_is_that_of_one_sequence_after_another(data: st.DataObject, count: int) -> None:
    tokens = st.lists(st.integers(0, 2), min_size=3, max_size=3)
    drafts = torch.tensor(data.draw(st.lists(tokens, min_size=count, max_size=count)))
    best = torch.tensor(data.draw(st.lists(tokens, min_size=count + 1, max_size=count + 1)))
    limits = data.draw(st.lists(st.integers(0, count), min_size=3, max_size=3))
    logits = torch.nn.functional.one_hot(best, 3).float()
    for choices in (Likeliest(), drawn(torch.zeros(3), count, logits[:-1])):
        found, accepted = choices.accept(logits, drafts, torch.tensor(limits))
        for place, (column, number) in enumerate(zip(found.T.tolist(), accepted.tolist(), strict=True)):
            expected = accept_greedy(best[:, place].tolist(), drafts[: limits[place], place].tolist())
            assert column[: number + 1] == expected


def drawn(temperatures: Tensor, num_drafts: int, proposals: Tensor) -> Drawn:
    numbers = torch.rand(len(temperatures), columns(num_drafts), dtype=torch.float64)
    numbers[:, 0] = temperatures
    choices = Drawn(numbers, num_drafts)
    for depth, logits in enumerate(proposals):
        choices.guess(logits, depth)
    return choices


def test_drawn_tokens_have_the_main_models_distribution() -> None:
    """Each token's logits depend on the token before: both tokens of a step, chi-square under the 99.99 % quantile."""
    torch.manual_seed(0)
    temperature, last = 0.7, 2
    tables = torch.randn(2, VOCABULARY, VOCABULARY)

    def model(table: Tensor) -> Forward:
        def forward(batch: Batch) -> Tensor:
            rows = batch.token_ids if batch.logit_rows is None else batch.token_ids[batch.logit_rows]
            return table[rows]

        return forward

    row = [0, last, 9, 2, *range(TABLE)]
    numbers = torch.rand(SAMPLES, columns(2), dtype=torch.float64)
    numbers[:, 0] = temperature
    rounds = Rounds(model(tables[0]), model(tables[1]), 2, max_model_len=64, block_size=16)
    found = rounds.run(torch.tensor([row] * SAMPLES), numbers)
    first, second, accepted = found[2], found[3], found[5]
    expected = (tables[1] / temperature).softmax(dim=-1)
    assert 0.2 < (accepted == 0).float().mean() < 0.8
    assert chi_square(first, expected[last]) < 21.1  # 3 degrees of freedom
    for token in range(VOCABULARY):
        assert chi_square(second[(first == token) & (accepted > 0)], expected[token]) < 21.1


def chi_square(tokens: Tensor, probabilities: Tensor) -> float:
    assert len(tokens) > 500
    counts, expected = torch.bincount(tokens, minlength=VOCABULARY), probabilities * len(tokens)
    return float(((counts - expected) ** 2 / expected).sum())
