"""Fails test_computed_again_in_chunks: the mark moves back with the sequence.

The first chunk of the second time lowers it, and the chunks after it look like new work.
"""


def counted(events: Iterable[dict[str, Any]]) -> Work:
    steps = tokens = again = moved = 0
    reached: dict[str, int] = {}
    for event in events:
        steps += bool(event["sequences"])
        moved += sum(kind != "copy" for kind, *_ in event["copies"])
        for item in event["sequences"]:
            begin, end = item["first_token"], item["first_token"] + item["num_tokens"]
            again += max(0, min(end, reached.get(item["id"], 0)) - begin)
            tokens += end - begin
            reached[item["id"]] = end
    return Work(steps, tokens, again, moved)
