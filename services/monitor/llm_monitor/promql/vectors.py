"""Vectors: the values of several series at all steps of a query at once.

A step without a sample is not the same as a sample whose value is NaN (0/0 is one): `present` tells them apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from llm_monitor.series.selection import NAME, Floats, Labels

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.intp]
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


class EvaluationError(ValueError):
    """The expression cannot be evaluated on these series, e.g. as two of them match where one may."""


@dataclass(frozen=True, slots=True)
class Vector:
    labels: list[Labels]
    """One entry per series. A scalar's result is one series without labels."""
    values: Floats
    """Shape (series, steps); NaN where there is no sample."""
    times: Floats
    """Shape (steps,), Unix seconds."""
    present: Bools
    """Shape (series, steps): where there is a sample."""

    @staticmethod
    def of(labels: Sequence[Labels], values: Floats, times: Floats, present: Bools | None = None) -> Vector:
        """Return a vector whose values are NaN wherever nothing is present; by default all is."""
        shape = (len(labels), len(times))
        if values.shape != shape:
            values = np.broadcast_to(values, shape)
        if present is None:
            return Vector(list(labels), values, times, np.ones(shape, bool))
        if present.shape != shape:
            present = np.broadcast_to(present, shape)
        if present.all():
            return Vector(list(labels), values, times, present)
        return Vector(list(labels), np.where(present, values, np.nan), times, present)

    def rows(self, index: Sequence[int] | Ints | Bools) -> Vector:
        """Return the chosen series, in the given order."""
        index = np.asarray(index)
        chosen = np.flatnonzero(index) if index.dtype == bool else index.astype(np.intp)
        labels = [self.labels[row] for row in chosen]
        return Vector(labels, self.values[chosen], self.times, self.present[chosen])

    def with_values(self, values: Floats) -> Vector:
        return Vector.of(self.labels, values, self.times, self.present)

    def where(self, condition: Bools) -> Vector:
        """Return the vector without the samples that do not meet a condition."""
        return Vector.of(self.labels, self.values, self.times, self.present & condition).compact()

    def compact(self) -> Vector:
        """Return the vector without series that have no sample."""
        if not self.labels:
            return self
        some = np.asarray(self.present.any(axis=1))
        return self if some.all() else self.rows(some)

    def relabelled(self, change: Callable[[Labels], Labels]) -> Vector:
        """Return the vector with changed labels; series that become equal are joined."""
        labels = [change(each) for each in self.labels]
        return Vector(labels, self.values, self.times, self.present).joined()

    def without_name(self) -> Vector:
        return self.relabelled(without_name)

    def joined(self) -> Vector:
        """Join series with the same labels. Raises EvaluationError if two of them have a sample at the same step."""
        if len(set(self.labels)) == len(self.labels):
            return self
        order = {labels: row for row, labels in enumerate(dict.fromkeys(self.labels))}
        shape = (len(order), len(self.times))
        values, present = np.full(shape, np.nan), np.zeros(shape, bool)
        for labels, row_values, row_present in zip(self.labels, self.values, self.present, strict=True):
            row = order[labels]
            if (present[row] & row_present).any():
                raise EvaluationError(f"two series of the result have the same labels: {show(labels)}")
            values[row] = np.where(row_present, row_values, values[row])
            present[row] |= row_present
        return Vector(list(order), values, self.times, present)


def concatenate(parts: Sequence[Vector], times: Floats) -> Vector:
    """Return the series of all parts as one vector."""
    if len(parts) == 1:
        return parts[0]
    if not parts:
        return Vector([], np.empty((0, len(times))), times, np.empty((0, len(times)), bool))
    labels = [each for part in parts for each in part.labels]
    return Vector(
        labels,
        np.concatenate([part.values for part in parts]),
        times,
        present=np.concatenate([part.present for part in parts]),
    )


@lru_cache(maxsize=32768)
def without_name(labels: Labels) -> Labels:
    return tuple(pair for pair in labels if pair[0] != NAME)


@lru_cache(maxsize=32768)
def only(labels: Labels, names: tuple[str, ...]) -> Labels:
    """Return the labels of the given names."""
    return tuple(pair for pair in labels if pair[0] in names)


@lru_cache(maxsize=32768)
def without(labels: Labels, names: tuple[str, ...]) -> Labels:
    """Return the labels of all other names, the metric's name left out as well."""
    return tuple(pair for pair in labels if pair[0] not in names and pair[0] != NAME)


def show(labels: Labels) -> str:
    """Return labels as PromQL writes them."""
    name = dict(labels).get(NAME, "")
    quoted = (f'{key}="{value.translate(_ESCAPES)}"' for key, value in labels if key != NAME)
    inner = ", ".join(quoted)
    return f"{name}{{{inner}}}" if inner or not name else name
