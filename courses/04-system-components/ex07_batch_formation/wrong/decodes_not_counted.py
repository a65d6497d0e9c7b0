"""Fails test_the_budget_is_what_the_target_leaves: the decodes of the step are forgotten.

They take time as prompt tokens do. With a few of them it hardly shows; with a full batch every step is late.
"""


def prompt_budget(num_decodes: int, cost: Cost, target_ms: float) -> int | None:
    if num_decodes == 0:
        return None
    return max(LEAST_PROMPT_TOKENS, int((target_ms - cost.fixed_ms) / cost.token_ms))
