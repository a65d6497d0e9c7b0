"""Aggregations: many series become one per group, or the k largest of each group stay."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from llm_monitor.promql import tree
from llm_monitor.promql.over_time import quantile_of
from llm_monitor.promql.vectors import Bools, Ints, Vector, only, without
from llm_monitor.series.selection import Floats, Labels

Reduce = Callable[[Floats, Bools, Ints], Floats]
"""From values and presence, series sorted by group, and each group's first row, to values of shape (groups, steps)."""


def aggregate(node: tree.Aggregation, vector: Vector, parameter: Floats | None) -> Vector:
    """Return the aggregation of a vector; `parameter` has one value per step where the operator takes one."""
    if not vector.labels:
        return vector
    select = without if node.without else only
    keys = [select(labels, node.labels) for labels in vector.labels]
    groups: dict[Labels, int] = {}
    number = np.array([groups.setdefault(key, len(groups)) for key in keys])
    order = np.argsort(number, kind="stable")
    starts = np.searchsorted(number[order], np.arange(len(groups)))
    values, present = vector.values[order], vector.present[order]
    if node.operator in ("topk", "bottomk"):
        assert parameter is not None
        chosen = _extreme(values if node.operator == "topk" else -values, present, starts, parameter)
        return vector.rows(order).where(chosen)
    if node.operator == "quantile":
        assert parameter is not None
        result = _quantile(values, present, starts, parameter)
    else:
        result = REDUCTIONS[node.operator](values, present, starts)
    return Vector.of(list(groups), result, vector.times, np.logical_or.reduceat(present, starts, axis=0)).compact()


def _sum(values: Floats, present: Bools, starts: Ints) -> Floats:
    return np.add.reduceat(np.where(present, values, 0.0), starts, axis=0)


def _count(values: Floats, present: Bools, starts: Ints) -> Floats:
    return np.add.reduceat(present.astype(float), starts, axis=0)


def _mean(values: Floats, present: Bools, starts: Ints) -> Floats:
    return _sum(values, present, starts) / _count(values, present, starts)


def _variance(values: Floats, present: Bools, starts: Ints) -> Floats:
    sizes = np.diff(np.append(starts, len(values)))
    centre = np.repeat(_mean(values, present, starts), sizes, axis=0)
    return _mean((values - centre) ** 2, present, starts)


REDUCTIONS: Final[dict[str, Reduce]] = {
    "sum": _sum,
    "count": _count,
    "avg": _mean,
    # fmin and fmax leave NaN out, which stands for no sample as well.
    "min": lambda values, _, starts: np.fmin.reduceat(values, starts, axis=0),
    "max": lambda values, _, starts: np.fmax.reduceat(values, starts, axis=0),
    "stdvar": _variance,
    "stddev": lambda values, present, starts: np.sqrt(_variance(values, present, starts)),
    "group": lambda values, _, starts: np.ones((len(starts), values.shape[1])),
}


def _quantile(values: Floats, present: Bools, starts: Ints, q: Floats) -> Floats:
    result = np.full((len(starts), values.shape[1]), np.nan)
    for group, rows in enumerate(np.split(np.arange(len(values)), starts[1:])):
        for step in np.flatnonzero(present[rows].any(axis=0)):
            column = values[rows, step][present[rows, step]]
            result[group, step] = quantile_of(column[None, :], float(q[step]))[0]
    return result


def _extreme(values: Floats, present: Bools, starts: Ints, k: Floats) -> Bools:
    """Return which samples are among the k largest of their group and step; NaN is the smallest value."""
    size = np.where(np.isnan(k), 0, np.clip(k, 0, len(values))).astype(int)
    chosen = np.zeros(values.shape, bool)
    for rows in np.split(np.arange(len(values)), starts[1:]):
        sortable = np.where(present[rows], np.where(np.isnan(values[rows]), -np.inf, values[rows]), -np.inf)
        # Absent samples come last, behind values of -Inf.
        ranking = np.lexsort((~present[rows], -sortable), axis=0) if len(rows) > 1 else np.zeros_like(sortable, int)
        rank = np.argsort(ranking, axis=0)
        chosen[rows] = (rank < size) & present[rows]
    return chosen
