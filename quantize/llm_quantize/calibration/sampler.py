"""Draw calibration sequences from text: documents in random order, then windows at random, all by one seed.

Each sequence begins with the model's start token, if its tokenizer adds one: the first position of a real prompt has
activations like no other.
"""

from __future__ import annotations

import random
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch import Tensor

from llm_quantize.calibration.text import Text
from llm_quantize.errors import CalibrationError, ModelError

SURPLUS = 4
"""Read this many times the tokens that are needed, and choose among their windows."""


def sample(text: Text, model: Path, samples: int, length: int, *, seed: int) -> Tensor:
    """Return tokens [samples, length]. CalibrationError if the text has too few."""
    tokenizer = _tokenizer(model)
    start = _start_tokens(tokenizer)
    window = length - len(start)
    drawn = random.Random(seed)
    order = drawn.sample(range(len(text.files)), len(text.files))
    stream: list[int] = []
    for index in order:
        if len(stream) >= SURPLUS * samples * window:
            break
        stream += tokenizer.encode(text.read(index), add_special_tokens=False).ids
    windows = len(stream) // window
    if windows < samples:
        raise CalibrationError(
            f"{samples} sequences of {length} tokens need {samples * window} tokens; {text.name} has {len(stream)}: "
            f"give more text, or lower samples to {windows} or length"
        )
    chosen = drawn.sample(range(windows), samples)
    return torch.tensor([[*start, *stream[at * window : (at + 1) * window]] for at in chosen])


def _tokenizer(model: Path) -> Tokenizer:
    try:
        return Tokenizer.from_file(str(model / "tokenizer.json"))
    except Exception as error:  # noqa: BLE001 - tokenizers raises bare Exception
        raise ModelError(f"{model / 'tokenizer.json'} cannot be read: {error}") from None


def _start_tokens(tokenizer: Tokenizer) -> list[int]:
    """Return what the tokenizer puts before a text."""
    ids: list[int] = tokenizer.encode("a", add_special_tokens=True).ids
    plain: list[int] = tokenizer.encode("a", add_special_tokens=False).ids
    at = ids.index(plain[0]) if plain and plain[0] in ids else 0
    return ids[:at]
