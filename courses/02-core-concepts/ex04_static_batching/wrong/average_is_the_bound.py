"""Fails test_two_reasons_for_a_least_number: tokens over slots, rounded up.

More slots do not make one answer shorter: its tokens come one after another. This is why a benchmark's end is slow.
"""


def fewest_steps(lengths: Ordered[int], slots: int) -> int:
    return -(-sum(lengths) // slots)
