"""Measured results: one entry for each model and method.

A folder of results has the files in ROOT/MODEL/METHOD: evaluation.json, and where they were made quantization.json and
performance.json. The method `full` is the model as it was.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from llm_quantize.errors import EvaluationError
from llm_quantize.evaluation import Evaluation, read_evaluation
from llm_quantize.performance import Performance

FULL = "full"
EVALUATION = "evaluation.json"
PERFORMANCE = "performance.json"
RECORD = "quantization.json"
ERRORS = ("outputs", "weights")
"""A layer's error in the record is an error of one of these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelResult:
    """One model, quantised in one way or not at all."""

    model: str
    method: str
    """Name of the method and its parameters, such as gptq-g128; FULL for the full model."""
    evaluation: Evaluation
    record: dict[str, Any] = field(default_factory=dict)
    """quantization.json, as the pipeline wrote it."""
    performance: Performance | None = None

    @property
    def bytes(self) -> int:
        return self.evaluation.weight_bytes

    @property
    def calibration(self) -> dict[str, Any]:
        return dict(self.record.get("calibration") or {})

    @property
    def warnings(self) -> list[str]:
        return [str(one) for one in self.calibration.get("warnings") or []]

    @property
    def recipe(self) -> str:
        """Return the recipe without its calibration: results of one recipe differ by what they were calibrated on."""
        recipe = dict(self.record.get("recipe") or {"method": self.method})
        recipe.pop("calibration", None)
        return json.dumps(recipe, sort_keys=True)

    def layers(self, error_of: str) -> list[tuple[str, float]]:
        """Return the name and the relative error of each layer whose error is of `outputs` or of `weights`."""
        layers = (one for one in self.record.get("layers") or [] if one["error_of"] == error_of)
        return [(str(one["name"]), float(one["relative_error"])) for one in layers]


def read_results(root: Path) -> list[ModelResult]:
    """Return the results below a folder, the full models first; EvaluationError if there are none."""
    found = [_read(file.parent) for file in sorted(root.glob(f"*/*/{EVALUATION}"))]
    if not found:
        raise EvaluationError(f"{root} has no results: expected MODEL/METHOD/{EVALUATION} below it")
    return sorted(found, key=lambda one: (one.model, one.method != FULL))


def _read(folder: Path) -> ModelResult:
    record: dict[str, Any] = {}
    performance = None
    try:
        if (folder / RECORD).exists():
            record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        if (folder / PERFORMANCE).exists():
            performance = Performance.from_json((folder / PERFORMANCE).read_text(encoding="utf-8"))
    except (OSError, ValueError, EvaluationError) as error:
        raise EvaluationError(f"{folder}: {error}") from error
    return ModelResult(
        model=folder.parent.name,
        method=folder.name,
        evaluation=read_evaluation(folder / EVALUATION),
        record=record,
        performance=performance,
    )
