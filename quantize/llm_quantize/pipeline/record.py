"""The record of a quantised model, which lies with it as quantization.json."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from llm_quantize.checkpoint import read_json

NAME = "quantization.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerRecord:
    """A layer and its error."""

    name: str
    error_mse: float
    """Mean squared error of an output, or of a weight without calibration."""
    relative_error: float
    """The same as a share of the mean square itself."""
    error_of: str
    """outputs or weights."""
    bits: int
    group_size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockRecord:
    """A block's part of the record."""

    layers: list[LayerRecord]
    kept: list[str]
    """Layers that keep 16 bits."""
    scaled: dict[str, float | None]
    """Norm or layer -> the parameter of the scales that the search chose; None: none."""
    warnings: list[str]

    @classmethod
    def of(cls, given: dict[str, Any]) -> BlockRecord:
        """Return the record that `asdict` turned into JSON."""
        return cls(**(given | {"layers": [LayerRecord(**layer) for layer in given["layers"]]}))


@dataclass(frozen=True, kw_only=True)
class Record:
    """The treatment of a model, and its cost."""

    recipe: dict[str, Any]
    layers: list[LayerRecord]
    kept: list[str]
    scaled: dict[str, float | None]
    seconds: float
    peak_bytes: int
    """Largest memory: of the device if it is a GPU, else of the process."""
    weight_bytes: int
    calibration: dict[str, Any] | None
    """source, samples, length, seed, warnings; None if no text was read."""
    versions: dict[str, str] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        (folder / NAME).write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> Record:
        """Return the record in a folder. ModelError if it has none."""
        given = read_json(folder / NAME)
        return cls(**(given | {"layers": [LayerRecord(**layer) for layer in given["layers"]]}))
