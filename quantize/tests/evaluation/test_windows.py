from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llm_quantize.errors import EvaluationError
from llm_quantize.evaluation.model import Loaded, load, token_row
from llm_quantize.evaluation.reference import Reference
from llm_quantize.evaluation.windows import PIECE, cut_pieces, score_windows, spread_windows


@pytest.fixture(scope="module")
def loaded(tiny: Path) -> Loaded:
    return load(tiny)


@pytest.fixture(scope="module")
def text(heldout: Path) -> str:
    return heldout.read_text(encoding="utf-8")[:24_000]


def test_perplexity_is_that_of_the_published_protocol(loaded: Loaded, text: str) -> None:
    row, _ = token_row(loaded, text)
    losses = []
    for begin in range(0, len(row) - 1, 2048):
        ids = torch.tensor(row[begin : begin + 2049])
        losses.append(torch.nn.functional.cross_entropy(loaded.logits(ids[:-1]), ids[1:], reduction="none"))
    expected = math.exp(torch.cat(losses).double().mean())

    scores = score_windows(loaded, text)

    assert scores["perplexity"].figure().value == pytest.approx(expected, rel=1e-6)
    assert sum(scores["perplexity"].weights) == len(row) - 1
    assert 0.2 < scores["next-token"].figure().value < 0.7


def test_kl_is_zero_to_itself_and_grows_with_coarser_weights(
    loaded: Loaded, tiny: Path, text: str, make_rounded: Callable[[Path, int], Path]
) -> None:
    def kl(model: Loaded) -> float:
        return score_windows(model, text, reference=Reference(tiny), items=20)["kl"].figure().value

    to_itself, eight, four = kl(loaded), kl(load(make_rounded(tiny, 8))), kl(load(make_rounded(tiny, 4)))
    assert abs(to_itself) < 1e-6
    assert to_itself < eight < four / 10


@settings(max_examples=50)
@given(lengths=st.lists(st.integers(1, 900), min_size=1, max_size=8), width=st.integers(2, 700))
def test_pieces_hold_every_position_once_within_one_document_and_window(lengths: list[int], width: int) -> None:
    documents = [number for number, length in enumerate(lengths) for _ in range(length)]
    pieces = cut_pieces(documents, width)
    positions = [place for piece in pieces for place in range(piece.first, piece.last)]
    assert positions == list(range(1, len(documents)))
    for piece in pieces:
        assert piece.last - piece.first <= PIECE
        places = range(piece.first, piece.last)
        assert {documents[place] for place in places} == {piece.document}
        assert {(place - 1) // width for place in places} == {piece.window}


def test_fewer_items_come_from_windows_all_over_the_text() -> None:
    pieces = cut_pieces([0] * 20_480, 2048)
    assert spread_windows(pieces, None) == list(range(10))
    assert spread_windows(pieces, 16) == [2, 7]
    assert spread_windows(pieces, 1) == [5]


def test_another_tokenizer_has_no_kl(loaded: Loaded) -> None:
    text = "cafe\u0301 = 1\n" * 50  # qwen2's normalises it
    with pytest.raises(EvaluationError, match="needs one tokenizer"):
        score_windows(loaded, text, reference=Reference(loaded.folder.parent / "qwen2"))


def test_broken_weights_are_said(tiny: Path) -> None:
    broken = load(tiny)
    with torch.no_grad():
        broken.model.model.layers[0].mlp.up_proj.weight[0, 0] = float("nan")
    with pytest.raises(EvaluationError, match=r"perplexity: the score of item 1 is nan; .* weights are broken"):
        score_windows(broken, "x = 1\n" * 20)
