"""Evaluation of an expression over a source, at all steps at once.

The semantics are Prometheus's: https://prometheus.io/docs/prometheus/latest/querying/basics/. Windows are open at their
start, as since Prometheus 3. A subquery without a step has `SUBQUERY_STEP`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

import numpy as np

from llm_monitor.promql import aggregate, binary, functions, over_time, tree
from llm_monitor.promql.histogram import histogram_quantile
from llm_monitor.promql.parse import RANGE_FUNCTIONS, Expression
from llm_monitor.promql.vectors import EvaluationError, Vector, concatenate
from llm_monitor.promql.windows import Windows, latest, windows
from llm_monitor.series.selection import Floats, Matcher, Series, Source

LOOKBACK: Final = 300.0
"""Seconds for which a sample stays the value of its series if no newer one and no stale marker follows."""
SUBQUERY_STEP: Final = 60.0
MAX_STEPS: Final = 11_000
"""Most steps of a range query, Prometheus's limit."""


Shared = dict[tuple[tree.Node, float, float, int], Vector]
"""Results of aggregations by node and steps."""


@dataclass(frozen=True, slots=True)
class _Query:
    source: Source
    times: Floats
    start: float
    end: float
    shared: Shared = field(default_factory=dict)

    def moments(self, shift: tree.Shift) -> Floats:
        """Return the moment that a selector looks from at each step."""
        fixed = {"start": self.start, "end": self.end}.get(shift.at, shift.at) if shift.at is not None else None  # type: ignore[arg-type]
        base = self.times if fixed is None else np.full(len(self.times), fixed)
        return base - shift.offset


def instant(expression: Expression, source: Source, at: float, *, shared: Shared | None = None) -> Vector:
    """Return the values at one moment; `times` has one step. Raises EvaluationError.

    Queries of the same source and moment can share a dictionary: the sum over a histogram's buckets is then computed
    once for all of its percentiles.
    """
    return _run(expression, _Query(source, np.array([at], float), at, at, {} if shared is None else shared))


def query_range(expression: Expression, source: Source, start: float, end: float, *, step: float) -> Vector:
    """Return the values at start, start + step, … up to end. Raises EvaluationError."""
    if step <= 0 or end < start:
        raise EvaluationError("a range needs a positive step and an end that is not before its start")
    steps = int((end - start) / step + 1e-9) + 1
    if steps > MAX_STEPS:
        raise EvaluationError(f"{steps} steps are more than {MAX_STEPS}; take a larger step")
    return _run(expression, _Query(source, start + step * np.arange(steps, dtype=float), start, end))


def _run(expression: Expression, query: _Query) -> Vector:
    with np.errstate(all="ignore"):
        result = _evaluate(expression.root, query)
    if isinstance(result, Vector):
        return result.compact()
    return Vector.of([()], result[None, :], query.times)


def _evaluate(node: tree.Node, query: _Query) -> Vector | Floats:
    match node:
        case tree.Number(value):
            return np.full(len(query.times), value)
        case tree.Selector():
            return _select(node, query)[0]
        case tree.Negation(argument):
            operand = _evaluate(argument, query)
            return operand.with_values(-operand.values).without_name() if isinstance(operand, Vector) else -operand
        case tree.Call():
            return _call(node, query)
        case tree.Aggregation():
            return _aggregation(node, query)
        case tree.Binary():
            return _binary(node, query)
    raise EvaluationError(f"{type(node).__name__} has no value of its own")


def _aggregation(node: tree.Aggregation, query: _Query) -> Vector:
    key = (node, float(query.times[0]), float(query.times[-1]), len(query.times))
    result = query.shared.get(key)
    if result is None:
        parameter = None if node.parameter is None else _scalar(node.parameter, query)
        result = query.shared[key] = aggregate.aggregate(node, _vector(node.argument, query), parameter)
    return result


def _vector(node: tree.Node, query: _Query) -> Vector:
    result = _evaluate(node, query)
    return result if isinstance(result, Vector) else Vector.of([()], result[None, :], query.times)


def _scalar(node: tree.Node, query: _Query) -> Floats:
    result = _evaluate(node, query)
    if isinstance(result, Vector):
        raise EvaluationError("a scalar is needed, and the argument is a vector")
    return result


def _text(node: tree.Node) -> str:
    if not isinstance(node, tree.Text):
        raise EvaluationError("a string is needed")
    return node.value


def _select(node: tree.Selector, query: _Query) -> tuple[Vector, Floats]:
    moments = query.moments(node.shift)
    series = query.source.select(node.matchers, float(moments.min()) - LOOKBACK, float(moments.max()))
    vector, taken = latest(series, moments, lookback=LOOKBACK, times=query.times)
    return vector, taken


def _binary(node: tree.Binary, query: _Query) -> Vector | Floats:
    left = _evaluate(node.left, query)
    if node.operator != "or" and isinstance(left, Vector) and not left.labels:
        return left
    right = _evaluate(node.right, query)
    if isinstance(left, Vector):
        if isinstance(right, Vector):
            return binary.vectors(node, left, right)
        return binary.with_scalar(node, left, right, scalar_left=False)
    if isinstance(right, Vector):
        return binary.with_scalar(node, right, left, scalar_left=True)
    return binary.scalars(node.operator, left, right)


def _ranges(node: tree.Node, query: _Query) -> list[Windows]:
    """Return the windows of a range vector."""
    if isinstance(node, tree.Selector):
        moments = query.moments(node.shift)
        series = query.source.select(node.matchers, float(moments.min()) - node.window, float(moments.max()))
        return list(windows(series, moments, node.window))
    if not isinstance(node, tree.Subquery):
        raise EvaluationError("a range vector is needed")
    moments = query.moments(node.shift)
    step = node.step or SUBQUERY_STEP
    first = np.floor((float(moments.min()) - node.window) / step) + 1
    times = step * np.arange(first, np.floor(float(moments.max()) / step) + 1)
    if len(times) > MAX_STEPS:
        raise EvaluationError(f"a subquery of {len(times)} steps is longer than {MAX_STEPS}; give it a larger step")
    inner = replace(query, times=times)
    vector = _vector(node.argument, inner)
    series = [Series(labels, times, row) for labels, row in zip(vector.labels, vector.values, strict=True)]
    return list(windows(series, moments, node.window)) if len(times) else []


def _over_time(node: tree.Call, query: _Query) -> Vector:
    if node.function == "quantile_over_time":
        q = _scalar(node.arguments[0], query)
        function: over_time.Function = partial(over_time.quantile, q=q)
        fewest = 1
    else:
        function, fewest = over_time.FUNCTIONS[node.function]
    parts = [
        Vector.of(each.labels, function(each), query.times, np.broadcast_to(each.count >= fewest, query.times.shape))
        for each in _ranges(node.arguments[-1], query)
    ]
    vector = concatenate(parts, query.times).compact()
    return vector if node.function == "last_over_time" else vector.without_name()


def _call(node: tree.Call, query: _Query) -> Vector | Floats:
    name, arguments = node.function, node.arguments
    if name == "absent_over_time":
        inner = _over_time(tree.Call("present_over_time", arguments), query)
        return functions.absent(inner, _matchers(arguments[0]))
    if name in RANGE_FUNCTIONS:
        return _over_time(node, query)
    if name == "time":
        return query.times
    if name == "vector":
        return _vector(arguments[0], query)
    if name == "histogram_quantile":
        return histogram_quantile(_scalar(arguments[0], query), _vector(arguments[1], query))
    if name == "timestamp":
        return _timestamp(arguments[0], query)
    vector = _vector(arguments[0], query)
    if name in functions.ELEMENTWISE:
        return vector.with_values(functions.ELEMENTWISE[name](vector.values)).without_name()
    if name in ("clamp", "clamp_min", "clamp_max", "round"):
        return _bounded(name, vector, [_scalar(each, query) for each in arguments[1:]]).without_name()
    if name == "scalar":
        return functions.scalar(vector)
    if name == "absent":
        return functions.absent(vector, _matchers(arguments[0]))
    if name in ("sort", "sort_desc"):
        return functions.sort(vector, descending=name == "sort_desc")
    target, value, *rest = (_text(each) for each in arguments[1:])
    if name == "label_replace":
        return functions.label_replace(vector, target, value, source=rest[0], pattern=rest[1])
    return functions.label_join(vector, target, value, sources=tuple(rest))


def _bounded(name: str, vector: Vector, limits: list[Floats]) -> Vector:
    if name == "round":
        return vector.with_values(functions.rounded(vector.values, limits[0] if limits else np.ones(1)))
    low = limits[0] if name != "clamp_max" else np.full(1, -np.inf)
    high = limits[-1] if name != "clamp_min" else np.full(1, np.inf)
    clamped = vector.with_values(functions.clamp(vector.values, low, high))
    return clamped.where(np.broadcast_to(low <= high, vector.values.shape))


def _timestamp(node: tree.Node, query: _Query) -> Vector:
    if isinstance(node, tree.Selector):
        vector, taken = _select(node, query)
        return vector.with_values(taken).without_name()
    vector = _vector(node, query)
    return vector.with_values(np.broadcast_to(query.times, vector.values.shape)).without_name()


def _matchers(node: tree.Node) -> tuple[Matcher, ...]:
    return node.matchers if isinstance(node, tree.Selector) else ()
