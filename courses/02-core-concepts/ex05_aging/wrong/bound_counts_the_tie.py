"""Fails test_the_bound_is_the_one_that_happens: the request that ties is counted among those that overtake."""


def most_overtaking(step: int, priority: int, most_urgent: int) -> int:
    return step * (priority - most_urgent)
