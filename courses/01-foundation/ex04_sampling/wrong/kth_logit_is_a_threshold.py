"""Fails test_top_k_keeps_k_even_if_tokens_tie: everything at least as large as the k-th logit is kept."""


def top_k_mask(logits: Row, k: int) -> Mask:
    k = min(k or len(logits), len(logits))
    return logits >= np.sort(logits)[-k]
