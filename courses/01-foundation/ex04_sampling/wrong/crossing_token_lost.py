"""Fails test_top_p_keeps_the_token_that_crosses: tokens are kept while the sum including them is at most p.

The nucleus is a token too small, and with a confident model it is empty. It is the commonest mistake in top-p code.
"""


def top_p_mask(logits: Row, p: float) -> Mask:
    chances = probabilities(logits)
    order = np.argsort(-chances, kind="stable")
    mask = np.zeros(len(logits), dtype=bool)
    mask[order] = np.cumsum(chances[order]) <= p
    return mask
