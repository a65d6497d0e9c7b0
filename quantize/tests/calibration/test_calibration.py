"""Calibration sequences: drawn by seed, from text that can calibrate something."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from llm_quantize.calibration import Text, read_sequences, sample
from llm_quantize.calibration.checks import check_count, check_hidden, check_tokens
from llm_quantize.errors import CalibrationError, ModelError
from llm_quantize.settings import Calibration

MODEL = Path("models/zoo/llama")
TEXT = Path("models/eval/heldout.txt")


def test_the_same_seed_draws_the_same_sequences() -> None:
    text = Text.of(TEXT)
    drawn = [sample(text, MODEL, 8, 32, seed=seed) for seed in (0, 0, 1)]
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    assert drawn[0].shape == (8, 32)


def test_windows_do_not_overlap(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("".join(f"{number} " for number in range(3000)))
    rows = sample(Text.of(tmp_path), MODEL, 6, 100, seed=0)
    assert len(rows.unique(dim=0)) == 6


def test_the_default_text_is_there() -> None:
    found = read_sequences(MODEL, Calibration(samples=2, length=16))
    assert found.source.startswith("Python source of transformers")
    assert not found.warnings


def test_sequences_are_cut_to_the_models_context() -> None:
    found = read_sequences(MODEL, Calibration(samples=2, length=64, text=TEXT), context=16)
    assert found.tokens.shape == (2, 16)
    assert "context" in found.warnings[0]


def test_one_token_throughout() -> None:
    tokens = torch.full((4, 32), 7)
    tokens[:, 0] = 0  # the start token
    with pytest.raises(CalibrationError, match="one token"):
        check_tokens(tokens)


def test_a_few_tokens_over_and_over_are_noticed() -> None:
    tokens = torch.tensor([1, 2]).repeat(1, 256).repeat(3, 1)
    warnings = check_tokens(tokens)
    assert warnings == [
        "3 of 3 sequences repeat a few tokens over and over",
        "2 of 3 sequences are copies of others",
    ]


def test_nan_and_constants_are_refused() -> None:
    with pytest.raises(CalibrationError, match="NaN"):
        check_hidden(torch.full((2, 3, 4), torch.nan), "block 1")
    with pytest.raises(CalibrationError, match="same values"):
        check_hidden(torch.ones(2, 3, 4), "block 1")
    check_hidden(torch.randn(2, 3, 4), "block 1")


def test_fewer_tokens_than_inputs_are_said() -> None:
    assert check_count(100, 256, "layer") == [
        "layer: 100 calibration tokens for 256 inputs; damping fills the rest, more text is better"
    ]
    assert check_count(256, 256, "layer") == []


def test_text_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(CalibrationError, match="neither a file nor a folder"):
        Text.of(tmp_path / "missing")
    with pytest.raises(CalibrationError, match="no files that end in"):
        Text.of(tmp_path)
    (tmp_path / "bytes.txt").write_bytes(b"\xff\xfe\x00\xff")
    with pytest.raises(CalibrationError, match="UTF-8"):
        sample(Text.of(tmp_path), MODEL, 1, 8, seed=0)


def test_a_model_without_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"tokenizer\.json"):
        sample(Text.of(TEXT), tmp_path, 1, 8, seed=0)
