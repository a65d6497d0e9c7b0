"""Fails test_what_the_cache_kept_is_not_computed_again: only a sequence that starts at token 0 counts, and then whole.

With a prefix cache it starts where its cached blocks end, so such a count says that preemption is free.
"""


def counted(events: Iterable[dict[str, Any]]) -> Work:
    steps = tokens = again = moved = 0
    reached: dict[str, int] = {}
    for event in events:
        steps += bool(event["sequences"])
        moved += sum(kind != "copy" for kind, *_ in event["copies"])
        for item in event["sequences"]:
            begin, end = item["first_token"], item["first_token"] + item["num_tokens"]
            again += reached.get(item["id"], 0) if begin == 0 else 0
            tokens += end - begin
            reached[item["id"]] = end
    return Work(steps, tokens, again, moved)
