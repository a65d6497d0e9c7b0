"""Surge: new engines start first where a GPU is to spare."""

from __future__ import annotations

import pytest

from llm_router.control.scaling.surge import surge_percent
from llm_router.settings import Surge


@pytest.mark.parametrize(
    ("gpus", "free", "percent"),
    [
        (1, [1], 100),
        (1, [0], 0),
        (1, [], 0),
        (1, [0.5, 0.5], 0),
        (0.5, [0.5], 100),
        (2, [1, 1], 0),
        (2, [2, 0], 100),
        (0, [], 100),
        (0.1, [0.1 + 1e-9], 100),
    ],
)
def test_auto_looks_for_a_spare_gpu(gpus: float, free: list[float], percent: int) -> None:
    assert surge_percent("auto", gpus, free) == percent


@pytest.mark.parametrize(("surge", "percent"), [("true", 100), ("false", 0)])
@pytest.mark.parametrize("free", [[], [4.0]])
def test_an_operator_decides(surge: Surge, percent: int, free: list[float]) -> None:
    assert surge_percent(surge, 1, free) == percent
