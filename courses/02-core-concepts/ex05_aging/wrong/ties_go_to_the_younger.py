"""Fails test_a_tie_goes_to_the_older: with equal ranks the more urgent class goes first.

One more request overtakes than the bound says: an off-by-one that a promise to customers would carry.
"""


def aging(step: int) -> Order:
    def order(sequence: Sequence) -> tuple[int, ...]:
        return (sequence.priority * step + sequence.arrival, sequence.priority)

    return order
