"""Fails test_a_free_slot_is_taken_in_the_next_step: a request is added, served to its end, and then comes the next.

An answer per call is how most client code begins. The engine has no second request to batch with.
"""


def continuous(engine: Engine, requests: Ordered[Request]) -> int:
    steps = 0
    for index, request in enumerate(requests):
        add(engine, index, request)
        while engine.has_work:
            engine.step()
            steps += 1
    return steps
