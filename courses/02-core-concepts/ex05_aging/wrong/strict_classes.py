"""Fails test_an_old_request_is_not_overtaken: the class decides, and arrival only among equals.

It is vLLM's `priority` policy. While urgent requests keep coming, the others starve: there is no bound.
"""


def aging(step: int) -> Order:
    def order(sequence: Sequence) -> tuple[int, ...]:
        return (sequence.priority, sequence.arrival)

    return order
