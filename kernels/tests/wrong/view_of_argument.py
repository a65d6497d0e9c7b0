"""Hands back a view of an argument where no work is needed (heads of one key: the output is the value)."""

from llm_kernels.ops.attention import attend

OP = "flash_attention"
FAILS = "fresh"


def run(query, key, value, causal, window, scale):
    if key.shape[1] == 1 and query.shape == value.shape:
        return value
    return attend(query, key, value, causal, window, scale)
