"""Recipes that take a second on a model of the zoo, on text that is always there."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llm_quantize import Recipe, make_recipe

CALIBRATION = {"samples": 8, "length": 64, "text": Path("models/eval/heldout.txt")}


@pytest.fixture(scope="session")
def small() -> Callable[..., Recipe]:
    def make(**given: Any) -> Recipe:
        if given.get("method") not in ("w8a8", "smoothquant", "fp8"):
            given = {"group_size": 32} | given
        return make_recipe(**({"calibration": CALIBRATION} | given))

    return make


@pytest.fixture
def llama() -> Path:
    return Path("models/zoo/llama")
