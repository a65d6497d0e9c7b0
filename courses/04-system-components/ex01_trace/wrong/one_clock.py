"""Fails test_two_clocks: the seconds of both files are compared as they stand.

Each file counts from its own beginning. The difference is how long after the gateway the engine was started.
"""


def timeline(gateway: list[Event], engine: list[Event], trace_id: str) -> Timeline:
    name, answer = _named(gateway, "enqueue", trace_id), _named(engine, "request", trace_id)
    times = {line["event"]: line["time"] for line in gateway if line.get("id") == name}
    times |= {line["event"]: line["time"] for line in engine if line.get("id") == answer}
    steps = [line for line in engine if line["event"] == "step" and _is_in(line["sequences"], answer)]
    results = [line for line in engine if line["event"] == "result" and _is_in(line["sampled"], answer)]
    return Timeline(
        enqueued=times["enqueue"],
        granted=times["grant"],
        queued=times["request"],
        scheduled=steps[0]["time"],
        first_token=results[0]["time"],
        finished=times["finish"],
        released=times["release"],
        num_steps=len(steps),
    )
