"""Fails test_gaps_are_no_kernels_time: the busy time reaches from the first begin to the last end.

It is what a progress bar shows. The gaps, which are what a profile of a small model is about, are inside it.
"""


def covered(events: Iterable[Event]) -> float:
    events = list(events)
    if not events:
        return 0.0
    return max(event.end for event in events) - min(event.begin for event in events)
