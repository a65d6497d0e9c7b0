"""The arithmetic of capacity, against values that can be computed by hand."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_deploy.capacity.plan import Engine, Load, Shape, plan, wait_probability
from llm_deploy.errors import UsageError

LOAD = Load(rate=10, prompt=100, output=100, wait=1, objective=0.99)


def test_the_kv_cache_of_known_models() -> None:
    assert Shape(32, 8, 128).kv_bytes(2) == 131_072
    assert Shape.read("models/main").kv_bytes(4) == 2 * 8 * 4 * 32 * 4
    assert Shape.read("32x8x128") == Shape(32, 8, 128)


def test_one_server_is_the_textbooks_queue() -> None:
    """M/M/1: P(W > t) = rho * exp(-(1 - rho) * t / S)."""
    assert wait_probability(1, 0.5, 0) == pytest.approx(0.5)
    assert wait_probability(1, 0.5, 2) == pytest.approx(0.5 * math.exp(-1))
    assert wait_probability(2, 1.0, 0) == pytest.approx(1 / 3)
    assert wait_probability(2, 2.0, 0) == 1.0


@given(rate=st.floats(0.1, 500), wait=st.floats(0.01, 10), objective=st.floats(0.5, 0.999))
def test_the_plan_is_the_smallest_that_keeps_the_objective(rate: float, wait: float, objective: float) -> None:
    load = Load(rate=rate, prompt=100, output=100, wait=wait, objective=objective)
    engine = Engine(kv_memory=1e9, tokens_per_second=2000, max_sequences=32)
    found = plan(Shape(8, 4, 32), 4, engine, load)
    assert found.late <= 1 - objective
    fewer = wait_probability((found.replicas - 1) * found.concurrency, found.offered, wait / found.seconds)
    assert fewer > 1 - objective


def test_a_request_that_does_not_fit_is_refused() -> None:
    with pytest.raises(UsageError, match="does not fit"):
        plan(Shape(32, 8, 128), 2, Engine(kv_memory=1e6, tokens_per_second=1000), LOAD)
