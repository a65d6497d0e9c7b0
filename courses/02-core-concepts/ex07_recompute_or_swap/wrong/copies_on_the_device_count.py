"""Fails test_copy_on_write_is_no_swap: every copy counts as moved to or from the host.

Copy on write stays on the device, whose bandwidth is a hundred times the link's.
"""


def counted(events: Iterable[dict[str, Any]]) -> Work:
    steps = tokens = again = moved = 0
    reached: dict[str, int] = {}
    for event in events:
        steps += bool(event["sequences"])
        moved += len(event["copies"])
        for item in event["sequences"]:
            begin, end = item["first_token"], item["first_token"] + item["num_tokens"]
            before = reached.get(item["id"], 0)
            tokens += end - begin
            again += max(0, min(end, before) - begin)
            reached[item["id"]] = max(end, before)
    return Work(steps, tokens, again, moved)
