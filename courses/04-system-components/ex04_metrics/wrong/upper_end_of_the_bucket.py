"""Fails test_a_quantile_inside_a_bucket: the quantile is its bucket's upper bound.

It is a safe answer to "at most how long", but not what PromQL and every dashboard compute.
"""


def quantile(bounds: Ordered[float], counts: Ordered[int], q: float) -> float:
    if counts[-1] == 0:
        return math.nan
    return next((bound for bound, count in zip(bounds, counts, strict=False) if count >= q * counts[-1]), bounds[-1])
