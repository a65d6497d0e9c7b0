"""Fails test_a_larger_block_can_find_more: the search ends at the first size that finds too little.

Hits do not fall steadily with the size. A prefix of 60 tokens fills 48 tokens of 16-token blocks, and 60 of 20-token
blocks.
"""


def largest_block(prompts: Ordered[Prompt], sizes: Iterable[int], share: float) -> int:
    most, best = predicted(prompts, 1, "hash").hits, None
    for size in sorted(sizes):
        if predicted(prompts, size, "hash").hits < share * most:
            break
        best = size
    if best is None:
        raise ValueError("no size keeps its share")
    return best
