"""Fails test_a_request_in_the_queue_was_not_looked_up: the denominator is every prompt that arrived.

A trace ends while requests still wait, and under load they are many. They have missed nothing yet.
"""


def counted(events: Iterable[dict[str, Any]]) -> Hits:
    events = list(events)
    queries = sum(len(event["prompt_token_ids"]) for event in events if event["event"] == "request")
    first = {}
    for event in events:
        for admitted in event.get("admitted", ()):
            first.setdefault(admitted["id"], admitted["cached_tokens"])
    return Hits(queries, sum(first.values()))
