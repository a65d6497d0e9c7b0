"""Fails test_a_slow_batch_still_takes_prompts: no prompt token if the decodes need all the time.

The decodes are as fast as they can be, and new requests wait until enough answers have ended. Under load that can take
as long as the load lasts.
"""


def prompt_budget(num_decodes: int, cost: Cost, target_ms: float) -> int | None:
    if num_decodes == 0:
        return None
    return max(0, int((target_ms - cost.fixed_ms) / cost.token_ms) - num_decodes)
