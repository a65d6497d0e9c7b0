"""Recipes: defaults by method, unknown keys refused, formats that cannot hold a method say which can."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from llm_quantize import make_recipe, read_recipe
from llm_quantize.errors import RecipeError


@pytest.mark.parametrize(
    ("given", "bits", "group_size", "symmetric"),
    [
        ({}, 4, 128, True),
        ({"method": "awq"}, 4, 128, False),
        ({"method": "awq", "format": "gptq"}, 4, 128, True),
        ({"method": "gptq", "format": "awq"}, 4, 128, False),
        ({"method": "smoothquant"}, 8, -1, True),
        ({"method": "fp8"}, 8, -1, True),
        ({"method": "rtn", "bits": 3, "group_size": 64}, 3, 64, True),
    ],
)
def test_defaults(given: dict[str, Any], bits: int, group_size: int, symmetric: bool) -> None:
    recipe = make_recipe(**given)
    assert (recipe.bits, recipe.group_size, recipe.symmetric) == (bits, group_size, symmetric)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"methd": "gptq"}, "no key methd"),
        ({"calibration": {"sample": 3}}, "no key calibration.sample"),
        ({"method": "magic"}, "method"),
        ({"bits": 5}, "no 5 bits; no format can"),
        ({"format": "awq", "bits": 8}, "no 8 bits; compressed-tensors and gptq can"),
        ({"format": "gptq", "symmetric": False}, "compressed-tensors and awq can"),
        ({"format": "awq", "symmetric": True}, "compressed-tensors and gptq can"),
        ({"method": "fp8", "format": "gptq"}, "compressed-tensors"),
        ({"method": "w8a8", "bits": 4}, "8-bit"),
        ({"format": "gptq", "kv_cache": "fp8"}, "no KV cache scales"),
        ({"format": "gptq", "keep": 0.1}, "cannot leave layers in 16 bits"),
        ({"group_size": 0}, "group_size is 0"),
        ({"keep": 1.0}, "keep"),
        ({"calibration": {"samples": 0}}, "samples"),
    ],
)
def test_mistakes(given: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        make_recipe(**given)
    assert "\n" not in str(caught.value)


def test_a_recipe_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("method: awq\ngroup_size: 64\ncalibration: {samples: 16}\n")
    recipe = read_recipe(path)
    assert (recipe.method, recipe.group_size, recipe.calibration.samples) == ("awq", 64, 16)


@pytest.mark.parametrize("text", ["- gptq", "method: [", "\x00"])
def test_a_file_that_is_no_recipe(text: str, tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(RecipeError, match="recipe"):
        read_recipe(tmp_path / "recipe.yaml")
    with pytest.raises(RecipeError, match="cannot be read"):
        read_recipe(tmp_path / "missing.yaml")
