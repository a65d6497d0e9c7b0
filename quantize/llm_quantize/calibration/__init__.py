"""Calibration: from text to the token sequences that a model reads while it is quantised.

text      where the text comes from
sampler   draw sequences from it, by seed
checks    notice text that cannot calibrate anything
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from llm_quantize.calibration.checks import check_tokens
from llm_quantize.calibration.sampler import sample
from llm_quantize.calibration.text import Text
from llm_quantize.settings import Calibration

__all__ = ["Sequences", "Text", "check_tokens", "read_sequences", "sample"]


@dataclass(frozen=True)
class Sequences:
    tokens: Tensor
    """[samples, length] int64"""
    source: str
    """Name of the text."""
    warnings: list[str]


def read_sequences(model: Path, settings: Calibration, context: int | None = None) -> Sequences:
    """Return the sequences for the model in a folder, cut to its context.

    CalibrationError if the text is too short or is the same token throughout.
    """
    text = Text.of(settings.text)
    length = min(settings.length, context or settings.length)
    tokens = sample(text, model, settings.samples, length, seed=settings.seed)
    warnings = check_tokens(tokens)
    if length < settings.length:
        warnings.append(f"sequences have {length} tokens, the model's context, and not {settings.length}")
    return Sequences(tokens, text.name, warnings)
