"""Surge: new engines start first where a GPU is to spare."""

from __future__ import annotations

import pytest

from llm_router.control.scaling.surge import surge_percent
from llm_router.settings import Surge


@pytest.mark.parametrize(
    ("gpus", "free", "pending", "percent"),
    [
        (1, [1], 0, 100),
        (1, [0], 0, 0),
        (1, [], 0, 0),
        (1, [0.5, 0.5], 0, 0),
        (0.5, [0.5], 0, 100),
        (2, [1, 1], 0, 0),
        (2, [2, 0], 0, 100),
        (1, [2], 2, 0),
        (1, [3], 2, 100),
        (0, [], 0, 100),
        (0.1, [0.1 + 1e-9], 0, 100),
    ],
)
def test_auto_looks_for_a_spare_gpu(gpus: float, free: list[float], pending: float, percent: int) -> None:
    assert surge_percent("auto", gpus, free, pending) == percent


@pytest.mark.parametrize(("surge", "percent"), [("true", 100), ("false", 0)])
@pytest.mark.parametrize("free", [[], [4.0]])
def test_an_operator_decides(surge: Surge, percent: int, free: list[float]) -> None:
    assert surge_percent(surge, 1, free) == percent
