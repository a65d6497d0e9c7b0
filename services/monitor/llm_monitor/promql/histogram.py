"""`histogram_quantile`: quantiles of classic histograms, `bucketQuantile` in Prometheus's promql/quantile.go."""

from __future__ import annotations

import numpy as np

from llm_monitor.promql.vectors import Bools, Vector, concatenate, without
from llm_monitor.series.selection import Floats, Labels


def histogram_quantile(q: Floats, vector: Vector) -> Vector:
    """Return the q-quantile of each histogram; q has one value per step."""
    histograms: dict[Labels, dict[float, int]] = {}
    for row, labels in enumerate(vector.labels):
        bound = _bound(labels)
        if bound is not None:
            histograms.setdefault(without(labels, ("le",)), {}).setdefault(bound, row)
    parts = []
    for labels, rows in histograms.items():
        bounds = np.array(sorted(rows))
        order = [rows[bound] for bound in bounds]
        present = vector.present[order]
        values = np.full(len(vector.times), np.nan)
        # Steps at which the same buckets are present are one computation; almost always that is all steps.
        for pattern in np.unique(present, axis=1).T:
            steps = (present == pattern[:, None]).all(axis=0)
            if pattern.any():
                values[steps] = _quantile(q[steps], bounds[pattern], vector.values[order][pattern][:, steps])
        parts.append(Vector.of([labels], values[None, :], vector.times, np.logical_or.reduce(present, keepdims=True)))
    return concatenate(parts, vector.times).compact()


def _bound(labels: Labels) -> float | None:
    try:
        return float(dict(labels)["le"])
    except (KeyError, ValueError):
        return None


def _quantile(q: Floats, bounds: Floats, counts: Floats) -> Floats:
    """Return quantiles of shape (steps,) from upper bounds (buckets,) and cumulative counts (buckets, steps)."""
    if len(bounds) < 2 or bounds[-1] != np.inf:
        return _outside(q, np.full(len(q), np.nan))
    counts = np.fmax.accumulate(counts, axis=0)
    observations = counts[-1]
    rank = q * observations
    bucket = np.minimum((counts[:-1] < rank).sum(axis=0), len(bounds) - 1)
    steps = np.arange(len(q))
    below = np.maximum(bucket - 1, 0)
    start = np.where(bucket > 0, bounds[below], 0.0)
    before = np.where(bucket > 0, counts[below, steps], 0.0)
    within = (rank - before) / (counts[bucket, steps] - before)
    value = start + (bounds[bucket] - start) * within
    value = np.where((bucket == 0) & (bounds[0] <= 0), bounds[0], value)
    value = np.where(bucket == len(bounds) - 1, bounds[-2], value)
    return _outside(q, np.where(observations == 0, np.nan, value))


def _outside(q: Floats, value: Floats) -> Floats:
    value = np.where(q < 0, -np.inf, np.where(q > 1, np.inf, value))
    usable: Bools = ~np.isnan(q)
    return np.where(usable, value, np.nan)
