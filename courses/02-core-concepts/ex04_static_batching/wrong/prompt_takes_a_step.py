"""Fails test_the_last_batch_can_be_smaller: a step for the prompts, and then a step for each token.

The step that computes a prompt has the logits of its last token, and samples from them: the first token comes with the
prefill. An answer of n tokens takes n steps, not n + 1.
"""


def static_steps(lengths: Ordered[int], size: int) -> int:
    return sum(1 + max(lengths[start : start + size]) for start in range(0, len(lengths), size))
