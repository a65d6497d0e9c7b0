"""An expression is evaluated where its range is: in memory, in the history, or by a Prometheus."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from tests.support_samples import BEGIN, Samples

from llm_monitor.promql import EvaluationError, Expression, Vector
from llm_monitor.series.selection import labels_of
from llm_monitor.web.queries import MAX_STEPS, Queries, TooManySteps

HEAD, HISTORY, REMOTE = 1.0, 2.0, 3.0


def samples(value: float, **options: float) -> Samples:
    found = Samples(**options)
    for second in range(100):
        for instance in ("a", "b"):
            found.put(BEGIN + second, "x", value, instance=instance)
    return found


class Remote:
    async def instant(self, _: Expression, at: float) -> Vector:
        return Vector.of([labels_of({"instance": "r"})], np.array([[REMOTE]]), np.array([at]))

    async def query_range(self, expression: Expression, start: float, _: float, *, step: float) -> Vector:
        assert step > 0
        return await self.instant(expression, start)


def queries(remote: Any = None) -> Queries:
    """Return queries whose memory begins at BEGIN + 50."""
    past = samples(HISTORY, resolution=10.0, begin=BEGIN + 50)
    return Queries(samples(HEAD), past, remote=remote, clock=lambda: BEGIN + 99)


@pytest.mark.parametrize(
    ("start", "remote", "expected"),
    [(60, None, HEAD), (20, None, HISTORY), (60, Remote(), HEAD), (20, Remote(), REMOTE)],
)
async def test_the_range_decides_on_the_place(start: float, remote: Any, expected: float) -> None:
    found = queries(remote)
    assert (await found.instant("x", BEGIN + start)).values[0, 0] == expected
    assert (await found.range("x", BEGIN + start, BEGIN + start + 5, 1.0)).values[0, 0] == expected


def test_a_window_fits_the_resolution() -> None:
    found = queries()
    assert found.window(BEGIN + 60, 30.0, 10.0) == 10.0
    assert found.window(BEGIN, 5.0, 10.0) == 40.0
    assert found.window(BEGIN, 60.0, 10.0) == 60.0


async def test_one_expression_that_fails_does_not_take_the_others_along() -> None:
    wrong = "x * on (job) x"
    found = await queries().ranges(["x", wrong], BEGIN + 60, BEGIN + 70, 1.0)
    assert set(found) == {"x"}
    with pytest.raises(EvaluationError):
        await queries().ranges([wrong], BEGIN + 60, BEGIN + 70, 1.0)


async def test_a_range_has_a_limited_number_of_steps() -> None:
    with pytest.raises(TooManySteps, match="at most 11000 steps"):
        await queries().range("x", BEGIN, BEGIN + MAX_STEPS + 1, 1.0)
