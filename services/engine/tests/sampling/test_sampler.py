from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_engine.execution.batch import LogitRows
from llm_engine.operators.truncation import truncate
from llm_engine.sampling.params import SamplingParams
from llm_engine.sampling.randomness import uniform_numbers
from llm_engine.sampling.sampler import Sampler
from llm_engine.scheduler.sequence import Sequence

EOS = 3


def rows(*params: SamplingParams) -> list[Sequence]:
    return [Sequence(str(i), [1, 2], p, arrival=i) for i, p in enumerate(params)]


def sampler() -> Sampler:
    return Sampler((EOS,), seed=0)


def sample(logits: torch.Tensor, sequences: list[Sequence], by: Sampler | None = None) -> list[int]:
    """Return one token per row."""
    sampled = (
        (by or sampler())
        .sample(logits, [LogitRows(sequence, row, 0, 1) for row, sequence in enumerate(sequences)])
        .read()
    )
    assert [item.sequence for item in sampled] == sequences
    return [token for item in sampled for token in item.token_ids]


def kept(logits: list[float], params: SamplingParams) -> list[int]:
    result = truncate(torch.tensor([logits]), [params])[0]
    return torch.isfinite(result).nonzero().flatten().tolist()


def test_temperature_zero_is_the_largest_logit() -> None:
    logits = torch.randn(5, 50, generator=torch.Generator().manual_seed(0))
    expected = logits.argmax(-1).tolist()
    assert sample(logits, rows(*[SamplingParams(temperature=0)] * 5)) == expected


def test_greedy_and_random_rows_mix() -> None:
    logits = torch.randn(3, 50)
    greedy, drawn = SamplingParams(temperature=0), SamplingParams(temperature=1, top_k=1)
    expected = logits.argmax(-1).tolist()
    assert sample(logits, rows(greedy, drawn, greedy)) == expected


def test_top_k_keeps_the_k_likeliest() -> None:
    assert kept([0.0, 3.0, 1.0, 2.0], SamplingParams(top_k=2)) == [1, 3]
    assert kept([0.0, 3.0, 1.0, 2.0], SamplingParams(top_k=-1)) == [0, 1, 2, 3]
    assert kept([0.0, 3.0, 1.0, 2.0], SamplingParams(top_k=99)) == [0, 1, 2, 3]


def test_top_p_keeps_the_fewest_that_reach_p() -> None:
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log().tolist()
    assert kept(logits, SamplingParams(top_p=0.4)) == [0]
    assert kept(logits, SamplingParams(top_p=0.7)) == [0, 1]
    assert kept(logits, SamplingParams(top_p=0.9)) == [0, 1, 2]
    assert kept(logits, SamplingParams(top_p=1.0)) == [0, 1, 2, 3]


def test_top_p_counts_within_what_top_k_left() -> None:
    logits = torch.tensor([0.4, 0.3, 0.2, 0.1]).log().tolist()
    assert kept(logits, SamplingParams(top_k=2, top_p=0.5)) == [0]


def test_min_p_keeps_what_is_likely_enough_beside_the_likeliest() -> None:
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log().tolist()
    assert kept(logits, SamplingParams(min_p=0.5)) == [0, 1]


def test_draws_follow_the_probabilities() -> None:
    probabilities = torch.tensor([0.6, 0.25, 0.1, 0.05])
    count = 20_000
    params = SamplingParams(temperature=1)
    sequences = [Sequence(str(i), [0], params, arrival=i) for i in range(count)]
    tokens = sample(probabilities.log().repeat(count, 1), sequences)
    observed = torch.bincount(torch.tensor(tokens), minlength=4) / count
    # Five standard deviations of a binomial proportion.
    assert ((observed - probabilities).abs() < 5 * (probabilities * (1 - probabilities) / count).sqrt()).all()


def test_temperature_sharpens() -> None:
    logits = torch.tensor([[1.0, 0.0]]).repeat(4000, 1)
    cold = [Sequence(str(i), [0], SamplingParams(temperature=0.25), arrival=i) for i in range(4000)]
    share = 1 - sum(sample(logits, cold)) / 4000
    assert share == pytest.approx(torch.tensor(4.0).sigmoid().item(), abs=0.02)


@settings(max_examples=50, deadline=None)
@given(
    seed=st.integers(-(2**63), 2**63),
    others=st.lists(
        st.sampled_from(
            [
                SamplingParams(temperature=0.0),
                SamplingParams(temperature=1.3, top_p=0.8),
                SamplingParams(temperature=0.7, top_k=3),
            ]
        )
    ),
    place=st.integers(0, 10),
    params=st.sampled_from([(1.0, 1.0, 0), (0.8, 0.9, 0), (1.2, 1.0, 5), (1.0, 0.7, 9)]),
)
def test_a_seeded_draw_does_not_depend_on_the_batch(
    seed: int, others: list[SamplingParams], place: int, params: tuple[float, float, int]
) -> None:
    own = SamplingParams(temperature=params[0], top_p=params[1], top_k=params[2], seed=seed)
    logits = torch.randn(len(others) + 1, 40, generator=torch.Generator().manual_seed(1))
    place = min(place, len(others))
    batch = rows(*others[:place], own, *others[place:])
    together = sample(logits.clone(), batch)[place]
    alone = sample(logits[place : place + 1].clone(), rows(own), Sampler((EOS,), seed=99))[0]
    assert together == alone


def test_seeds_and_positions_give_different_numbers_in_range() -> None:
    numbers = uniform_numbers([0, 0, 1, -1], [0, 1, 0, 0])
    assert len(set(numbers.tolist())) == 4
    many = uniform_numbers([5] * 10_000, list(range(10_000)))
    assert many.min() >= 0
    assert many.max() < 1
    assert many.mean() == pytest.approx(0.5, abs=0.02)


def test_a_token_of_probability_zero_is_never_drawn() -> None:
    logits = torch.full((2000, 4), float("-inf"))
    logits[:, 2] = 0.0
    sequences = [Sequence(str(i), [0], SamplingParams(), arrival=i) for i in range(2000)]
    assert set(sample(logits, sequences)) == {2}


def test_no_end_before_min_tokens() -> None:
    logits = torch.zeros(1, 6)
    logits[0, EOS], logits[0, 5], logits[0, 1] = 9, 8, 7
    early = SamplingParams(temperature=0, min_tokens=1, stop_token_ids=(5,))
    assert sample(logits.clone(), rows(early)) == [1]
    (late,) = rows(early)
    late.token_ids.append(0)
    assert sample(logits.clone(), [late]) == [EOS]
