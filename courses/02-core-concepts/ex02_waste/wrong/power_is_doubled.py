"""Fails test_a_power_of_two_for_the_whole_sequence: `1 << final.bit_length()` is the next power, even from a power.

1,024 tokens get a room of 2,048. It is one bit off: `(final - 1).bit_length()`.
"""


def buddy(sequence: Sequence) -> int:
    return 1 << sequence.final.bit_length()
