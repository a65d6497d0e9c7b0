"""Fails test_a_lone_prompt_is_not_cut: the limit holds for an idle server as well.

No answer waits for its next token, so there is nothing to protect. The first token of a lone prompt comes later, once
the fixed cost for each piece.
"""


def prompt_budget(num_decodes: int, cost: Cost, target_ms: float) -> int | None:
    most = int((target_ms - cost.fixed_ms) / cost.token_ms)
    return max(LEAST_PROMPT_TOKENS, most - num_decodes)
