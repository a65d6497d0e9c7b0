from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_engine.sampling import logprobs
from llm_engine.server import logprobs as shapes

LOGITS = torch.tensor([[0.5, 0.3, 0.15, 0.05], [0.1, 0.2, 0.3, 0.4]]).log()


def test_the_chosen_token_comes_first_then_the_likeliest_each_with_its_rank() -> None:
    first, second = logprobs.of_rows(LOGITS, [2, 3], 2)
    assert list(first) == [2, 0, 1]
    assert [at.rank for at in first.values()] == [3, 1, 2]
    assert first[0].logprob == pytest.approx(math.log(0.5), abs=1e-6)
    assert list(second) == [3, 2]


def test_none_beside_the_chosen_one_and_all_of_them() -> None:
    assert [list(at) for at in logprobs.of_rows(LOGITS, [2, 3], 0)] == [[2], [3]]
    assert [len(at) for at in logprobs.of_rows(LOGITS, [2, 3], -1)] == [4, 4]


@settings(max_examples=100, deadline=None)
@given(values=st.lists(st.integers(-20, 20).map(float), min_size=3, max_size=12, unique=True), data=st.data())
def test_ranks_count_the_likelier_tokens(values: list[float], data: st.DataObject) -> None:
    token = data.draw(st.integers(0, len(values) - 1))
    (at,) = logprobs.of_rows(torch.tensor([values]), [token], -1)
    assert sum(math.exp(value.logprob) for value in at.values()) == pytest.approx(1, abs=1e-4)
    assert sorted(value.rank for value in at.values()) == list(range(1, len(values) + 1))
    assert at[token].rank == 1 + sum(other > values[token] for other in values)


AT = {7: logprobs.Logprob(-1.0, 3), 8: logprobs.Logprob(-0.5, 1), 9: logprobs.Logprob(float("-inf"), 4)}


PLACES = [
    shapes.Place(5, "é", None, {5: "é"}),
    shapes.Place(7, "seven", AT, {7: "seven", 8: "eight", 9: "eight"}),
]


def test_the_shape_of_completions() -> None:
    assert shapes.of_completion(PLACES, 1, 10) == {
        "text_offset": [10, 11],
        "token_logprobs": [None, -1.0],
        "tokens": ["é", "seven"],
        "top_logprobs": [None, {"seven": -1.0, "eight": -0.5}],
    }


def test_of_two_tokens_with_one_name_the_likelier_is_shown() -> None:
    assert shapes.of_completion(PLACES[1:], -1, 0)["top_logprobs"] == [{"seven": -1.0, "eight": -0.5}]


def test_the_shape_of_chat() -> None:
    def bytes_of(token: int) -> bytes:
        return bytes([token])

    (entry,) = shapes.of_chat(PLACES[1:], 3, bytes_of)["content"]
    assert (entry["token"], entry["bytes"]) == ("seven", [7])
    assert [(top["token"], top["logprob"], top["bytes"]) for top in entry["top_logprobs"]] == [
        ("seven", -1.0, [7]),
        ("eight", -0.5, [8]),
        ("eight", -9999.0, [9]),
    ]
    assert shapes.of_chat(PLACES[1:], 0, bytes_of)["content"][0]["top_logprobs"] == []


def test_the_shape_of_prompts() -> None:
    places = [PLACES[0], shapes.Place(7, "seven", {7: AT[7]}, {7: "seven"})]
    assert shapes.of_prompt(places) == [None, {"7": {"logprob": -1.0, "rank": 3, "decoded_token": "seven"}}]
