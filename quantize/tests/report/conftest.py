"""Made-up results: scores with a known loss, as the report reads them. Fixtures give the makers to the tests."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from llm_quantize.evaluation import Evaluation
from llm_quantize.evaluation.scores import Scores
from llm_quantize.performance import BatchFigures, Performance, Spread
from llm_quantize.report import FULL, ModelResult

ITEMS = 60


def _result(
    model: str,
    method: str,
    *,
    loss: float = 0.0,
    misses: int = 0,
    size: int = 1000,
    record: dict[str, Any] | None = None,
    token_seconds: float | None = None,
) -> ModelResult:
    """Return a result whose perplexity is exp(loss) times the full one's, and that misses more of the lines."""
    rng = np.random.default_rng(0)
    names = [f"item {number}" for number in range(ITEMS)]
    losses = rng.gamma(2.0, 1.0, ITEMS)
    noise = 0.002 * rng.standard_normal(ITEMS) * (loss != 0)
    hits = [float(number >= 5 + misses) for number in range(ITEMS)]
    scores = {
        "perplexity": Scores("perplexity", names, (losses + loss + noise).tolist(), [1.0] * ITEMS, names),
        "lines": Scores("lines", names, hits, [1.0] * ITEMS, names),
    }
    if method != FULL:
        scores["kl"] = Scores("kl", names, (abs(loss) * losses).tolist(), [1.0] * ITEMS, names)
    evaluation = Evaluation(
        name=f"{model}-{method}",
        reference=None if method == FULL else model,
        weight_bytes=size,
        text="0123456789abcdef",
        device="cpu",
        seconds=1.0,
        versions={"torch": "2"},
        scores=scores,
    )
    performance = _performance(method, token_seconds) if token_seconds else None
    return ModelResult(model=model, method=method, evaluation=evaluation, record=record or {}, performance=performance)


def _performance(name: str, seconds: float, device: str = "a CPU, 1 thread") -> Performance:
    spread = Spread(seconds, 0.9 * seconds, 1.1 * seconds)
    rate = Spread(1 / seconds, 0.9 / seconds, 1.1 / seconds)
    return Performance(
        name=name,
        weight_bytes=1000,
        resident_bytes=10_000,
        device=device,
        server="llm-engine",
        runs=3,
        batches=[BatchFigures(batch=1, ttft=spread, tpot=spread, output_tokens_per_second=rate, requests=9)],
        notes=["batch 1: the client was late: P99 30 ms"],
    )


def _record(seed: int, **recipe: Any) -> dict[str, Any]:
    layers = [
        {"name": f"model.layers.{block}.mlp.{part}_proj", "relative_error": 0.01 * (1 + block), "error_of": "outputs"}
        for block in range(3)
        for part in ("gate", "up", "down")
    ]
    calibration = {"source": "stdlib", "samples": 128, "length": 512, "seed": seed, "warnings": ["few <samples>"]}
    return {
        "seconds": 1.5,
        "peak_bytes": 10**9,
        "recipe": {**recipe, "calibration": {"seed": seed}},
        "layers": layers,
        "calibration": calibration,
    }


@pytest.fixture(scope="session")
def make_result() -> Callable[..., ModelResult]:
    return _result


@pytest.fixture(scope="session")
def make_performance() -> Callable[..., Performance]:
    return _performance


@pytest.fixture(scope="session")
def make_record() -> Callable[..., dict[str, Any]]:
    return _record
