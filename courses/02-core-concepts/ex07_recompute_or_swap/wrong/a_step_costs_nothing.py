"""Fails test_two_runs_give_the_cost: time is proportional to tokens.

A step reads all weights whether it computes one token or a hundred. Without that, the model says that a small batch is
as efficient as a large one.
"""


def fitted(one: Work, seconds: float, other: Work, other_seconds: float) -> Cost:
    if one.steps * other.tokens == other.steps * one.tokens:
        raise ValueError("the runs do not differ")
    return Cost(0.0, (seconds + other_seconds) / (one.tokens + other.tokens))
