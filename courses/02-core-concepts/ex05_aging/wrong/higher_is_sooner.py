"""Fails test_an_urgent_request_overtakes: a higher number counts as more urgent.

Many schedulers count that way; vLLM and this engine do not. The aging itself is right: nothing starves, and the
mistake shows only in who complains.
"""


def aging(step: int) -> Order:
    def order(sequence: Sequence) -> tuple[int, ...]:
        return (sequence.arrival - sequence.priority * step, sequence.arrival)

    return order
