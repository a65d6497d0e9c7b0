"""Functions of range vectors: rates of counters, derivatives of gauges, statistics over time.

Rates extrapolate to the window's ends as Prometheus does (`extrapolatedRate` in its promql/functions.go).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from llm_monitor.promql.vectors import Bools
from llm_monitor.promql.windows import Windows
from llm_monitor.series.selection import Floats

Function = Callable[[Windows], Floats]

EXTRAPOLATION_LIMIT = 1.1
"""Mean distances between samples. Rates are not extrapolated to a window's end that is further from a sample."""


def rate(w: Windows) -> Floats:
    return _extrapolated(w, counter=True) / w.seconds


def increase(w: Windows) -> Floats:
    return _extrapolated(w, counter=True)


def delta(w: Windows) -> Floats:
    return _extrapolated(w, counter=False)


def irate(w: Windows) -> Floats:
    last, before = w.last_index(), w.last_index(1)
    change = np.where(w.values[:, last] < w.values[:, before], 0.0, w.values[:, before])
    return (w.values[:, last] - change) / (w.times[last] - w.times[before])


def idelta(w: Windows) -> Floats:
    return w.values[:, w.last_index()] - w.values[:, w.last_index(1)]


def deriv(w: Windows) -> Floats:
    """Return the slope of the line of least squares."""
    return _each_step(w, _slope)


def changes(w: Windows) -> Floats:
    return _between(w, np.diff(w.values, axis=1) != 0)


def resets(w: Windows) -> Floats:
    return _between(w, np.diff(w.values, axis=1) < 0)


def total(w: Windows) -> Floats:
    return _reduced(w, np.add)


def count(w: Windows) -> Floats:
    return np.broadcast_to(w.count.astype(float), (len(w.labels), len(w.until)))


def mean(w: Windows) -> Floats:
    return total(w) / w.count


def variance(w: Windows) -> Floats:
    return _each_step(w, lambda _, values: values.var(axis=1))


def deviation(w: Windows) -> Floats:
    return np.sqrt(variance(w))


def last(w: Windows) -> Floats:
    return w.values[:, w.last_index()]


def quantile(w: Windows, q: Floats) -> Floats:
    """Return each window's q-quantile by linear interpolation; q has one value per step."""
    result = np.full((len(w.labels), len(w.until)), np.nan)
    for step in np.flatnonzero(w.count > 0):
        result[:, step] = quantile_of(w.values[:, w.first[step] : w.stop[step]], float(q[step]))
    return result


def quantile_of(values: Floats, q: float) -> Floats:
    """Return the q-quantile of each row; -Inf and +Inf for a q outside of [0, 1], as Prometheus."""
    if not 0 <= q <= 1:
        return np.full(len(values), np.nan if np.isnan(q) else np.copysign(np.inf, q - 0.5))
    return np.quantile(values, q, axis=1)


FUNCTIONS: Final[dict[str, tuple[Function, int]]] = {
    "rate": (rate, 2),
    "increase": (increase, 2),
    "delta": (delta, 2),
    "irate": (irate, 2),
    "idelta": (idelta, 2),
    "deriv": (deriv, 2),
    "changes": (changes, 1),
    "resets": (resets, 1),
    "sum_over_time": (total, 1),
    "count_over_time": (count, 1),
    "avg_over_time": (mean, 1),
    "min_over_time": (lambda w: _reduced(w, np.minimum), 1),
    "max_over_time": (lambda w: _reduced(w, np.maximum), 1),
    "stddev_over_time": (deviation, 1),
    "stdvar_over_time": (variance, 1),
    "last_over_time": (last, 1),
    "present_over_time": (lambda w: np.ones((len(w.labels), len(w.until))), 1),
}
"""Function by name, with the fewest samples in a window for which it has a result."""


def _extrapolated(w: Windows, *, counter: bool) -> Floats:
    first_index, last_index = w.first_index, w.last_index()
    first = w.values[:, first_index]
    result = w.values[:, last_index] - first
    if counter:
        falls = w.values[:, 1:] < w.values[:, :-1]
        if falls.any():
            resets = np.where(falls, w.values[:, :-1], 0.0)
            gained = np.concatenate([np.zeros((len(w.labels), 1)), np.cumsum(resets, axis=1)], axis=1)
            result = result + gained[:, last_index] - gained[:, first_index]
    first_time, last_time = w.times[first_index], w.times[last_index]
    sampled = last_time - first_time
    mean_distance = sampled / (w.count - 1)
    to_start = first_time - (w.until - w.seconds)
    to_end = w.until - last_time
    if counter:
        # A counter cannot have been negative: it does not reach further back than its zero.
        to_zero = np.where((result > 0) & (first >= 0), sampled * first / result, np.inf)
        to_start = np.minimum(to_start, to_zero)
    limit = mean_distance * EXTRAPOLATION_LIMIT
    to_start = np.where(to_start < limit, to_start, mean_distance / 2)
    to_end = np.where(to_end < limit, to_end, mean_distance / 2)
    return result * ((sampled + to_start + to_end) / sampled)


def _between(w: Windows, events: Bools) -> Floats:
    """Return how many events, each between a sample and the next one, lie in each window."""
    until: Floats = np.concatenate([np.zeros((len(w.labels), 1)), np.cumsum(events, axis=1)], axis=1)
    return until[:, w.last_index()] - until[:, w.first_index]


def _reduced(w: Windows, operation: np.ufunc) -> Floats:
    """Apply an operation to each window: every second result of reduceat for the bounds first, stop, first, stop, …"""
    padded = np.concatenate([w.values, w.values[:, -1:]], axis=1)
    bounds = np.stack([w.first, w.stop], axis=1).ravel()
    results: Floats = operation.reduceat(padded, np.minimum(bounds, w.times.size), axis=1)
    return results[:, ::2]


def _each_step(w: Windows, function: Callable[[Floats, Floats], Floats]) -> Floats:
    result = np.full((len(w.labels), len(w.until)), np.nan)
    for step in np.flatnonzero(w.count > 0):
        window = slice(w.first[step], w.stop[step])
        result[:, step] = function(w.times[window], w.values[:, window])
    return result


def _slope(times: Floats, values: Floats) -> Floats:
    x = times - times.mean()
    return (values - values.mean(axis=1, keepdims=True)) @ x / (x @ x)  # type: ignore[no-any-return]
