"""Fails test_a_call_inside_another_counts_once: each name gets the whole length of its calls.

It is the profiler's column `CPU total`. Good for finding the entrance to a slow region; its shares add up to several
hundred per cent.
"""


def self_times(events: Iterable[Event]) -> dict[str, float]:
    found: dict[str, float] = {}
    for event in events:
        found[event.name] = found.get(event.name, 0.0) + event.end - event.begin
    return found
