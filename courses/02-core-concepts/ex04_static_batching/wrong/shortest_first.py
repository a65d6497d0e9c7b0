"""Fails test_no_order_is_better: sorted, with the shortest first.

Answers of like length share a batch, and that is right as long as all batches are full. If the last one is not, it
holds the longest answers alone; with the longest first it holds the shortest.
"""


def best_order(lengths: Ordered[int], size: int) -> list[int]:
    return sorted(lengths)
