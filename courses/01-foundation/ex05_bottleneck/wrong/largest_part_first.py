"""Fails test_the_largest_part_is_not_the_first_to_work_on: parts are ranked by their time, not by what it can lose.

At batch 1 the linear layers of Llama-3-8B take 86 per cent of a step on an H200, and 95 per cent of that time is needed
to read their weights. A month of work on them is worth less than fusing a few small kernels.
"""


def headroom(milliseconds: Mapping[str, float], floor: Mapping[str, float]) -> list[tuple[str, float]]:
    gains = [(part, max(0.0, spent - floor.get(part, 0.0))) for part, spent in milliseconds.items()]
    return sorted(gains, key=lambda gain: -milliseconds[gain[0]])
