"""Fails test_the_key_never_changes: the rank falls while the request waits.

It is what aging seems to say. The scheduler's lists are sorted by keys that have moved meanwhile: an insertion by
bisection lands in the wrong place, and the order is neither the old nor the new one.
"""

import time


def aging(step: int) -> Order:
    begin = time.monotonic()

    def order(sequence: Sequence) -> tuple[int, ...]:
        waited = int(time.monotonic() - begin) - sequence.arrival
        return (sequence.priority * step - waited, sequence.arrival)

    return order
