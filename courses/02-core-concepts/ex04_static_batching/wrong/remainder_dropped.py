"""Fails test_the_last_batch_can_be_smaller: only full batches are served.

64 requests in batches of 8 hide it. With 65, one never gets an answer, and the server looks faster than it is.
"""


def static(engine: Engine, requests: Ordered[Request], size: int) -> int:
    steps = 0
    for batch in range(len(requests) // size):
        for index in range(batch * size, (batch + 1) * size):
            add(engine, index, requests[index])
        while engine.has_work:
            engine.step()
            steps += 1
    return steps
