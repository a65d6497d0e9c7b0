"""Student's t distribution for whole degrees of freedom, computed exactly, for intervals over a few repetitions.

P(|T| <= t) is a finite sum of powers of cos(theta), theta = atan(t / sqrt(dof)): Abramowitz & Stegun, Handbook of
Mathematical Functions, 26.7.3 and 26.7.4.
"""

from __future__ import annotations

import math
from functools import cache


def two_sided_p(t: float, dof: int) -> float:
    """Return P(|T| > |t|): how often chance alone goes at least this far from 0."""
    return max(0.0, 1.0 - _within(abs(t), dof))


@cache
def t_quantile(probability: float, dof: int) -> float:
    """Return the t with P(T <= t) = `probability`, which is at least 0.5: 2.571 for 0.975 and 5."""
    low, high = 0.0, 1.0
    while _within(high, dof) < 2 * probability - 1:
        low, high = high, 2 * high
    for _ in range(60):  # halves an interval of at most its own size: 1e-18 of it is left
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, dof) < 2 * probability - 1 else (low, middle)
    return (low + high) / 2


def _within(t: float, dof: int) -> float:
    """Return P(|T| <= t) for t >= 0."""
    if dof < 1:
        raise ValueError(f"at least 1 degree of freedom, not {dof}")
    if math.isinf(t):
        return 1.0
    theta = math.atan(t / math.sqrt(dof))
    cosine, term, total = math.cos(theta), 1.0, 0.0
    if dof % 2:
        term = cosine
        for power in range(3, dof + 1, 2):  # cos, 2/3 cos^3, (2 4)/(3 5) cos^5, … up to cos^(dof - 2)
            total += term
            term *= cosine * cosine * (power - 1) / power
        return 2 / math.pi * (theta + math.sin(theta) * total)
    for power in range(2, dof + 1, 2):  # 1, 1/2 cos^2, (1 3)/(2 4) cos^4, … up to cos^(dof - 2)
        total += term
        term *= cosine * cosine * (power - 1) / power
    return math.sin(theta) * total
