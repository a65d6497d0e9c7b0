"""Fails test_a_second_admission_does_not_count: a preempted sequence is looked up twice.

It finds its own blocks when it comes back, so the rate rises exactly when the cache is too small: a dashboard that
says the opposite of the truth.
"""


def counted(events: Iterable[dict[str, Any]]) -> Hits:
    lengths, queries, hits = {}, 0, 0
    for event in events:
        if event["event"] == "request":
            lengths[event["id"]] = len(event["prompt_token_ids"])
        elif event["event"] == "step":
            for admitted in event["admitted"]:
                queries += lengths[admitted["id"]]
                hits += admitted["cached_tokens"]
    return Hits(queries, hits)
