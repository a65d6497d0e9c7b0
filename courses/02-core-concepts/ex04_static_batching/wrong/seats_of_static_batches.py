"""Fails test_two_causes_of_one_factor: the second factor is what static batches gain from more slots.

Both factors are ratios that can be measured, and they do not multiply to the whole: the way from one server to the
other must pass through one server in between.
"""


def causes(lengths: Ordered[int], static_slots: int, continuous_slots: int) -> tuple[float, float]:
    refilling = static_steps(lengths, static_slots) / continuous_steps(lengths, static_slots)
    return refilling, static_steps(lengths, static_slots) / static_steps(lengths, continuous_slots)
