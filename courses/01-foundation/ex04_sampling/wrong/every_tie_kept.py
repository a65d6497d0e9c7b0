"""Fails test_top_p_keeps_the_fewest_of_equal_tokens: the last chance that is kept becomes a threshold.

Whatever ties with it is kept as well. A flat distribution then is not cut at all.
"""


def top_p_mask(logits: Row, p: float) -> Mask:
    chances = probabilities(logits)
    ordered = np.sort(chances)[::-1]
    last = np.searchsorted(np.cumsum(ordered), min(p, 1.0))
    return chances >= ordered[min(last, len(ordered) - 1)]
