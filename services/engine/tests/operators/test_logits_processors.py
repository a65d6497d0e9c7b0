from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_engine.operators.logits_processors import forbid_words, penalize, process
from llm_engine.sampling.params import SamplingParams
from llm_engine.scheduler.sequence import Sequence

EOS = 3
MASKED = float("-inf")


def sequence(prompt: list[int], output: list[int], **params: object) -> Sequence:
    item = Sequence("s", prompt, SamplingParams(**params))  # type: ignore[arg-type]
    item.token_ids += output
    return item


def processed(logits: list[float], item: Sequence, offset: int = 0) -> list[float]:
    rows = torch.tensor([logits])
    process(rows, [(0, offset, item)], (EOS,))
    return rows[0].tolist()


def test_a_row_that_asks_for_nothing_is_left_alone() -> None:
    assert processed([1.0, 2.0], sequence([0], [])) == [1.0, 2.0]


def test_allowed_tokens_are_all_that_is_left() -> None:
    assert processed([1.0, 2.0, 3.0], sequence([0], [], allowed_token_ids=(0, 2))) == [1.0, MASKED, 3.0]


def test_a_bias_is_added() -> None:
    assert processed([1.0, 2.0, 3.0], sequence([0], [], logit_bias={1: 5.0, 2: -100.0})) == [1.0, 7.0, -97.0]


@pytest.mark.parametrize(("written", "offset", "ends"), [(0, 0, False), (1, 0, False), (2, 0, True), (0, 2, True)])
def test_no_end_before_the_minimum_drafts_counted(written: int, offset: int, ends: bool) -> None:
    item = sequence([0], [1] * written, min_tokens=2, stop_token_ids=(1,))
    assert processed([0.0] * 5, item, offset) == ([0.0] * 5 if ends else [0.0, MASKED, 0.0, MASKED, 0.0])


def test_end_of_text_needs_no_ban_where_it_is_ignored() -> None:
    assert processed([0.0] * 4, sequence([0], [], min_tokens=1, ignore_eos=True)) == [0.0] * 4


def test_repetition_divides_what_is_positive_and_multiplies_what_is_not_in_prompt_and_output() -> None:
    item = sequence([0, 1], [1, 2], repetition_penalty=2.0)
    assert processed([4.0, -4.0, 0.0, 4.0], item) == [2.0, -8.0, 0.0, 4.0]


def test_frequency_and_presence_count_the_output_only() -> None:
    item = sequence([0, 0], [1, 1, 2], frequency_penalty=0.5, presence_penalty=0.25)
    assert processed([0.0] * 4, item) == [0.0, -1.25, -0.75, 0.0]


def test_a_word_is_forbidden_only_where_it_would_be_completed() -> None:
    for output, expected in (([], [5]), ([1], [5]), ([7, 1, 2], [3, 5])):
        scores = torch.zeros(8)
        forbid_words(scores, [[1, 2, 3], [5]], output)
        assert torch.isinf(scores).nonzero().flatten().tolist() == expected


def test_other_rows_are_untouched() -> None:
    rows = torch.ones(2, 3)
    process(rows, [(1, 0, sequence([0], [], logit_bias={0: 1.0}))], ())
    assert rows.tolist() == [[1, 1, 1], [2, 1, 1]]


@settings(max_examples=200, deadline=None)
@given(
    prompt=st.lists(st.integers(0, 9), min_size=1, max_size=12),
    output=st.lists(st.integers(0, 9), max_size=12),
    repetition=st.sampled_from([0.5, 1.0, 1.3]),
    frequency=st.sampled_from([-1.0, 0.0, 0.7]),
    presence=st.sampled_from([-2.0, 0.0, 1.5]),
    logits=st.lists(st.floats(-10, 10, width=32), min_size=10, max_size=10),
)
def test_penalties_token_by_token(
    prompt: list[int], output: list[int], repetition: float, frequency: float, presence: float, logits: list[float]
) -> None:
    item = sequence(
        prompt, output, repetition_penalty=repetition, frequency_penalty=frequency, presence_penalty=presence
    )
    scores = torch.tensor(logits)
    penalize(scores, item)
    for token, before in enumerate(logits):
        expected = before
        if token in prompt + output:
            expected = before / repetition if before > 0 else before * repetition
        expected -= frequency * output.count(token) + presence * (token in output)
        assert scores[token].item() == pytest.approx(expected, abs=1e-4)
