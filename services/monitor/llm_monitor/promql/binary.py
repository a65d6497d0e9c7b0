"""Operators between scalars and vectors: arithmetic, comparison, and sets, with Prometheus's matching of labels.

https://prometheus.io/docs/prometheus/latest/querying/operators/#vector-matching
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from llm_monitor.promql import tree
from llm_monitor.promql.vectors import Bools, EvaluationError, Vector, concatenate, only, show, without
from llm_monitor.series.selection import NAME, Floats, Labels, labels_of

ARITHMETIC: Final[dict[str, Callable[[Floats, Floats], Floats]]] = {
    "+": np.add,
    "-": np.subtract,
    "*": np.multiply,
    "/": np.divide,
    "%": np.fmod,
    "^": np.power,
}
COMPARISONS: Final[dict[str, Callable[[Floats, Floats], Bools]]] = {
    "==": np.equal,
    "!=": np.not_equal,
    ">": np.greater,
    "<": np.less,
    ">=": np.greater_equal,
    "<=": np.less_equal,
}
SETS: Final = ("and", "or", "unless")


def scalars(operator: str, left: Floats, right: Floats) -> Floats:
    """Return the result for two scalars; a comparison has 0 or 1."""
    if operator in ARITHMETIC:
        return ARITHMETIC[operator](left, right)
    return COMPARISONS[operator](left, right).astype(float)


def with_scalar(node: tree.Binary, vector: Vector, scalar: Floats, *, scalar_left: bool) -> Vector:
    """Return the operation between each series and a scalar with one value per step."""
    operands = (scalar, vector.values) if scalar_left else (vector.values, scalar)
    if node.operator in ARITHMETIC:
        return vector.with_values(ARITHMETIC[node.operator](*operands)).without_name()
    holds = COMPARISONS[node.operator](*operands)
    if node.as_bool:
        return vector.with_values(holds.astype(float)).without_name()
    return vector.where(holds)


def vectors(node: tree.Binary, left: Vector, right: Vector) -> Vector:
    """Return the operation between two vectors. Raises EvaluationError where their matching is ambiguous."""
    if node.operator in SETS:
        return _set(node, left, right)
    if node.matching.many == "right":
        return _matched(node, right, left)
    return _matched(node, left, right)


def _signatures(vector: Vector, matching: tree.Matching) -> list[Labels]:
    select = only if matching.on else without
    return [select(labels, matching.labels) for labels in vector.labels]


def _matched(node: tree.Binary, many: Vector, one: Vector) -> Vector:
    """Match each series of `many` with the one of its group; they are the operands in order unless many is 'right'."""
    one_rows = _by_signature(_signatures(one, node.matching))
    for signature, rows in one_rows.items():
        if len(rows) > 1 and (one.present[rows].sum(axis=0) > 1).any():
            raise EvaluationError(f"several series match on the side of one, for {show(signature)}; group them first")
    pairs = [
        (row, other)
        for row, signature in enumerate(_signatures(many, node.matching))
        for other in one_rows.get(signature, ())
    ]
    if not pairs:
        return concatenate([], many.times)
    of_many, of_one = np.array(pairs, np.intp).T
    labels = [_result_labels(node, many.labels[row], one.labels[other]) for row, other in pairs]
    present = many.present[of_many] & one.present[of_one]
    mine, theirs = many.values[of_many], one.values[of_one]
    operands = (theirs, mine) if node.matching.many == "right" else (mine, theirs)
    if node.operator in ARITHMETIC:
        values = ARITHMETIC[node.operator](*operands)
    else:
        holds = COMPARISONS[node.operator](*operands)
        values = holds.astype(float) if node.as_bool else operands[0]
        present = present if node.as_bool else present & holds
    return Vector.of(labels, values, many.times, present).compact().joined()


def _result_labels(node: tree.Binary, many: Labels, one: Labels) -> Labels:
    matching = node.matching
    drop_name = node.operator in ARITHMETIC or node.as_bool
    labels = [pair for pair in many if not (drop_name and pair[0] == NAME)]
    if matching.many is None:
        labels = [pair for pair in labels if (pair[0] in matching.labels) == matching.on]
    if not matching.include:
        return tuple(labels)
    theirs = dict(one)
    return labels_of({**dict(labels), **{name: theirs.get(name, "") for name in matching.include}})


def _set(node: tree.Binary, left: Vector, right: Vector) -> Vector:
    left_signatures, right_signatures = _signatures(left, node.matching), _signatures(right, node.matching)
    if node.operator == "or":
        covered = _presence(right_signatures, left, left_signatures)
        return concatenate([left, right.where(~covered)], left.times).joined()
    matched = _presence(left_signatures, right, right_signatures)
    return left.where(matched if node.operator == "and" else ~matched)


def _presence(wanted: Sequence[Labels], vector: Vector, signatures: Sequence[Labels]) -> Bools:
    """Return for each wanted signature the steps at which a series of the vector has it."""
    rows = _by_signature(signatures)
    nowhere = np.zeros(len(vector.times), bool)
    found = [vector.present[rows[each]].any(axis=0) if each in rows else nowhere for each in wanted]
    return np.array(found, bool).reshape(len(wanted), len(vector.times))


def _by_signature(signatures: Sequence[Labels]) -> dict[Labels, list[int]]:
    rows: dict[Labels, list[int]] = {}
    for row, signature in enumerate(signatures):
        rows.setdefault(signature, []).append(row)
    return rows
