"""Fails test_a_chunk_for_logprobs: whatever is left of a prompt is blamed on the budget.

The budget had 872 tokens left. A larger one would not help the request; leaving out its prompt_logprobs would.
"""


def _served(index: int, sequence: Sequence, step: Step) -> Decision:
    start, num_tokens = step.starts[sequence], step.num_tokens[sequence]
    num_left = max(0, sequence.num_tokens - start - num_tokens)
    admitted = sequence in step.admitted
    return Decision(
        index,
        name_of(sequence),
        Kind.ADMITTED if admitted else Kind.COMPUTED,
        Reason.BUDGET if num_left else None,
        num_tokens=num_tokens,
        num_left=num_left,
        num_cached=start if admitted else 0,
    )
