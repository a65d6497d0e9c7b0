"""Fails test_a_kernel_inside_another_covers_nothing_new: the end of the latest event counts as what is reached.

A short kernel inside a long one sets it back, and the long one's time is counted again.
"""


def covered(events: Iterable[Event]) -> float:
    total, reached = 0.0, -math.inf
    for event in sorted(events):
        total += max(0.0, event.end - max(event.begin, reached))
        reached = event.end
    return total
