"""Each parameter on small numbers; then all of them against the engine's operators and on a model's own logits."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest
from exercise import (
    draw,
    entropy,
    masked,
    min_p_mask,
    penalised,
    probabilities,
    top_k_mask,
    top_p_mask,
)

from llm_course.paths import MODELS

Row = npt.NDArray[np.float64]


def logits_of(*chances: float) -> Row:
    return np.log(np.array(chances))


def random_rows(count: int = 200, size: int = 64) -> npt.NDArray[np.float32]:
    """Return logits that float32 holds exactly, for the engine's operators compute in it."""
    return np.random.default_rng(4).normal(0, 3, (count, size)).astype(np.float32)


def test_softmax_of_large_logits() -> None:
    """Logits of a thousand give the same chances as the same logits near zero, and minus infinity gives no chance."""
    assert probabilities(np.array([1000.0, 1000.0, -np.inf])).tolist() == [0.5, 0.5, 0.0]


def test_temperature_sharpens_and_flattens() -> None:
    """Halving the temperature squares the odds; doubling it takes their root."""
    row = logits_of(0.8, 0.2)
    odds = [float(np.divide(*probabilities(row, t))) for t in (0.5, 1.0, 2.0)]
    assert [round(each, 6) for each in odds] == [16.0, 4.0, 2.0]


def test_top_k_keeps_k_even_if_tokens_tie() -> None:
    """Four equal tokens and k = 2: two are kept, those with the smaller ids."""
    assert top_k_mask(np.array([1.0, 5.0, 5.0, 5.0, 5.0]), 2).tolist() == [False, True, True, False, False]


def test_top_k_zero_keeps_all() -> None:
    """k = 0 means off, and so does a k beyond the vocabulary."""
    assert [int(top_k_mask(np.arange(5.0), k).sum()) for k in (0, 1, 5, 9)] == [5, 1, 5, 5]


def test_top_p_keeps_the_token_that_crosses() -> None:
    """Chances of 0.5, 0.3, 0.2 and p = 0.6: the second token takes the sum over 0.6, and is kept."""
    assert top_p_mask(logits_of(0.5, 0.3, 0.2), 0.6).tolist() == [True, True, False]


def test_top_p_looks_at_likelihood_not_at_ids() -> None:
    """The likeliest tokens are kept wherever they stand in the vocabulary."""
    assert top_p_mask(logits_of(0.1, 0.2, 0.7), 0.75).tolist() == [False, True, True]


def test_top_p_keeps_at_least_one() -> None:
    """A p that is almost zero is greedy, not empty."""
    assert top_p_mask(logits_of(0.2, 0.5, 0.3), 1e-300).tolist() == [False, True, False]


def test_top_p_of_one_keeps_all() -> None:
    """p = 1 keeps even a token that rounding hides behind a sum of 1."""
    assert top_p_mask(np.array([50.0, 0.0, -50.0]), 1.0).tolist() == [True, True, True]


def test_top_p_keeps_the_fewest_of_equal_tokens() -> None:
    """Ten equal tokens and p = 0.35: four are needed, and no more are kept."""
    assert int(top_p_mask(np.zeros(10), 0.35).sum()) == 4


def test_min_p_scales_with_the_likeliest() -> None:
    """min-p = 0.5 keeps what is at least half as likely as the likeliest."""
    assert min_p_mask(logits_of(0.5, 0.3, 0.2), 0.5).tolist() == [True, True, False]


def test_penalties() -> None:
    """Presence counts once, frequency each time; an unwritten token keeps its logit."""
    row = penalised(np.zeros(3), np.array([0, 1, 3]), presence=0.5, frequency=0.25)
    assert row.tolist() == [0.0, -0.75, -1.25]


def test_entropy() -> None:
    """Eight equal tokens are three questions away, a certain one none."""
    assert (entropy(np.full(8, 1 / 8)), entropy(np.array([1.0, 0.0]))) == (3.0, 0.0)


def test_a_draw_follows_the_number() -> None:
    """Numbers below 0.25 draw token 0, and the number 0.25 itself draws the next token that has a chance."""
    chances = np.array([0.25, 0.0, 0.75])
    assert [draw(chances, number) for number in (0.0, 0.2499, 0.25, 0.9999)] == [0, 0, 2, 2]


@pytest.mark.parametrize(
    "settings",
    [{"top_p": 0.9}, {"top_p": 0.3}, {"top_p": 1.0}, {"top_k": 5}, {"min_p": 0.1}, {"top_k": 8, "top_p": 0.7}],
    ids=str,
)
def test_the_engine_keeps_the_same_tokens(settings: dict[str, float]) -> None:
    """On 200 random rows your masks keep exactly the tokens that the engine's operators keep."""
    import torch

    from llm_engine.operators.truncation import truncate
    from llm_engine.sampling.params import SamplingParams

    rows = random_rows()
    params = SamplingParams(**settings)  # type: ignore[arg-type]
    engine = truncate(torch.from_numpy(rows.copy()), [params] * len(rows)).isfinite().numpy()
    for row, expected in zip(rows.astype(np.float64), engine, strict=True):
        row = masked(row, min_p_mask(row, params.min_p))
        row = masked(row, top_k_mask(row, params.top_k))
        kept = top_p_mask(row, params.top_p) & np.isfinite(row)
        assert kept.nonzero()[0].tolist() == expected.nonzero()[0].tolist()


def test_how_many_tokens_hold_most_of_the_chance(record_property: Callable[[str, object], None]) -> None:
    """After `def fibonacci(n):` the main model's next token: top-p 0.9 keeps what its distribution needs for 0.9."""
    row = next_token_logits()
    kept = int(top_p_mask(row, 0.9).sum())
    record_property("prediction", kept)
    chances = np.sort(probabilities(row))[::-1]
    assert chances[: kept - 1].sum() < 0.9 <= chances[:kept].sum()


def test_the_entropy_table() -> None:
    """Entropy grows with temperature, and each truncation takes some away."""
    row = next_token_logits()
    by_temperature = [entropy(probabilities(row, t)) for t in (0.25, 0.5, 1.0, 1.5, 2.0)]
    assert by_temperature == sorted(by_temperature)
    whole = by_temperature[2]
    for mask in (top_p_mask(row, 0.9), top_k_mask(row, 10), min_p_mask(row, 0.05)):
        assert entropy(probabilities(masked(row, mask))) < whole
    assert whole < math.log2(len(row))


@cache
def next_token_logits() -> Row:
    """Return the log-probabilities of the main model's next token after a prompt: logits but for a constant."""
    from llm_engine import LLM, SamplingParams

    llm = LLM(str(MODELS / "main"), num_gpu_blocks_override=64, max_model_len=128, max_logprobs=-1)
    params = SamplingParams(temperature=0, max_tokens=1, logprobs=-1)
    (output,) = llm.generate(["def fibonacci(n):"], params, use_tqdm=False)
    (likely,) = output.outputs[0].logprobs or ()
    return np.array([likely[token].logprob for token in sorted(likely)])
