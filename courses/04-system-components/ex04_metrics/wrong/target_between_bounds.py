"""Fails test_a_target_is_a_bound: one geometric row from low to high, and the targets wherever they fall.

The share of requests within the target then has to be guessed from the buckets around it, and an alert on it flaps.
"""


def buckets(targets: Iterable[float], low: float, high: float, error: float) -> tuple[float, ...]:
    steps = math.ceil(math.log(high / low) / math.log(1 + error) - 1e-9)
    return (low, *(low * (high / low) ** (step / steps) for step in range(1, steps)), high)
