"""Fails test_a_batch_starts_when_the_one_before_has_ended: the next request is added as soon as one has ended.

It is continuous batching, written outside the engine. Both servers then take the same steps, and the comparison says
that there is nothing to gain.
"""


def static(engine: Engine, requests: Ordered[Request], size: int) -> int:
    steps = running = index = 0
    while engine.has_work or index < len(requests):
        while running < size and index < len(requests):
            add(engine, index, requests[index])
            index, running = index + 1, running + 1
        running -= sum(1 for output in engine.step() if output.finish_reason)
        steps += 1
    return steps
