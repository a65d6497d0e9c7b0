"""The full model that others are compared with: it reads a text once, and its logits are kept in a file.

A study compares many methods with one model. In memory there is one window at a time, whatever the text's length.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import torch
from torch import Tensor

from llm_quantize.evaluation.model import Loaded, load, predictions, token_row

MOST_BYTES = 4 * 2**30
"""Size of the file beyond which further windows are computed again."""


class Reference:
    """A model folder, loaded only while something has to be computed."""

    def __init__(self, folder: Path, device: str = "cpu", kept: IO[bytes] | None = None) -> None:
        """`kept`: an empty file for the logits, open for reading and writing; None: compute them each time."""
        self.folder = folder
        self._device = device
        self._kept = kept
        self._end = 0
        self._places: dict[str, tuple[int, tuple[int, ...]]] = {}
        self._rows: dict[str, list[int]] = {}
        self._loaded: Loaded | None = None

    @classmethod
    @contextmanager
    def keeping(cls, folder: Path, device: str, scratch: Path) -> Iterator[Reference]:
        """Keep the logits in a file without a name in the folder `scratch`, which ends with the context."""
        scratch.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=scratch) as kept:
            yield cls(folder, device, kept)

    def loaded(self) -> Loaded:
        """Return the model, which stays in memory until `release`."""
        if self._loaded is None:
            self._loaded = load(self.folder, self._device)
        return self._loaded

    def release(self) -> None:
        self._loaded = None

    def row(self, text: str) -> list[int]:
        """Return the tokens of a text."""
        if text not in self._rows:
            self._rows = {text: token_row(self.loaded(), text)[0]}
        return self._rows[text]

    def predictions(self, ids: Tensor) -> Tensor:
        """Return the logits for each token of a window but its first, on the CPU if they were kept."""
        key = hashlib.blake2b(ids.numpy().tobytes()).hexdigest()
        if key in self._places:
            return self._read(*self._places[key])
        logits = predictions(self.loaded(), ids)
        if self._kept is not None and self._end + logits.nbytes <= MOST_BYTES:
            self._write(key, logits)
        return logits

    def _read(self, place: int, shape: tuple[int, ...]) -> Tensor:
        assert self._kept is not None
        self._kept.seek(place)
        size = torch.Size(shape).numel() * torch.float32.itemsize
        return torch.frombuffer(bytearray(self._kept.read(size)), dtype=torch.float32).view(shape)

    def _write(self, key: str, logits: Tensor) -> None:
        assert self._kept is not None
        try:
            self._kept.seek(self._end)
            self._kept.write(logits.cpu().contiguous().numpy().tobytes())
            self._kept.flush()
        except OSError:  # the disk is full: later windows are computed again
            self._kept = None
            self._places.clear()
            return
        self._places[key] = (self._end, tuple(logits.shape))
        self._end += logits.nbytes
