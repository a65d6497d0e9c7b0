"""Fails test_the_arithmetic_is_what_happens: request i goes to slot i modulo the number of slots.

A slot with long answers gets a queue of its own while others are empty. It is how a load balancer with round robin
treats servers; the engine has one queue for all slots.
"""


def continuous_steps(lengths: Ordered[int], slots: int) -> int:
    return max(sum(lengths[slot::slots]) for slot in range(slots))
