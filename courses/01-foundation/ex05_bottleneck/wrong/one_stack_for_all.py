"""Fails test_threads_do_not_nest: a call that runs during another is taken for its child, whatever its thread.

The main thread then seems to do nothing while workers run, and its own time can be negative.
"""


def self_times(events: Iterable[Event]) -> dict[str, float]:
    found: dict[str, float] = {}
    stack: list[Event] = []
    for event in sorted(events, key=lambda each: (each.begin, -each.end)):
        while stack and stack[-1].end <= event.begin:
            stack.pop()
        length = event.end - event.begin
        found[event.name] = found.get(event.name, 0.0) + length
        if stack:
            found[stack[-1].name] -= length
        stack.append(event)
    return found
